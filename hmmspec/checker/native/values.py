"""C types for the values of the core, and the small functions on them: load, store, compare, convert, enumerate.

A scalar is a `V` (int64_t) with the value as in NOTE(values); a set of at most 64 elements a `V` too, its bits; every
other value a struct, made when first needed.  Functions are named by the struct's number: `load3`, `same3`, `cast3_5`.
"""

from __future__ import annotations

from hmmspec.diagnostics import Limit
from hmmspec.system.layout import bits, body_offset, field_offsets, stride, width
from hmmspec.system.types import (
    Array,
    Int,
    Null,
    Queue,
    Range,
    Record,
    Set,
    Type,
    Union,
    cardinality,
    is_scalar,
    offsets,
)


def is_plain(t: Type) -> bool:
    """Whether values of the type are a C `V`."""
    return isinstance(t, Int) or is_scalar(t) or (isinstance(t, Set) and cardinality(t.element) <= 64)


class CValues:
    """The C types of one System; `text` is what they need in the file, in order."""

    def __init__(self) -> None:
        self._numbers: dict[Type, int] = {}
        self._done: set[str] = set()
        self._plain: dict[Type, str] = {}
        self.text: list[str] = []

    def name(self, t: Type) -> str:
        """The C type of a value."""
        return "V" if is_plain(t) else f"T{self._struct(t)}"

    def _struct(self, t: Type) -> int:
        if t in self._numbers:
            return self._numbers[t]
        lines: list[str] = []
        match t:
            case Record(_, fields):
                lines = [f"{self.name(f)} f{i};" for i, (_, f) in enumerate(fields)]
            case Array(index, element):
                lines = [f"{self.name(element)} e[{max(1, cardinality(index))}];"]
            case Queue(capacity, element):
                lines = ["V n;", f"{self.name(element)} e[{capacity}];"]
            case Set(element):
                lines = [f"uint64_t w[{-(-cardinality(element) // 64)}];"]
            case Union(members):
                lines = ["V tag;", *(f"{self.name(m)} m{i};" for i, m in enumerate(members))]
            case _:
                raise AssertionError(f"{t} is plain")
        number = self._numbers[t] = len(self._numbers)
        self.text.append(f"typedef struct {{ {' '.join(lines) or 'char none;'} }} T{number};")
        return number

    # ------------------------------------------------------------ packed states

    def load(self, t: Type, state: str, at: str) -> str:
        """C that reads a value at bit `at` of the packed state `state` (a `const St *`)."""
        if is_plain(t):
            b = bits(t)
            low = t.low if isinstance(t, Range) else 0
            if b == 0:
                return f"((V){literal(low)})"
            read = f"get({state}, {at}, {mask(b)})"
            return f"({read} + {literal(low)})" if low else read
        n = self._struct(t)
        if f"load{n}" not in self._done:
            self._done.add(f"load{n}")
            self._make_load(t, n)
        return f"load{n}({state}, {at})"

    def store(self, t: Type, state: str, at: str, value: str) -> str:
        """C statement that writes a value at bit `at` of the packed state `state` (a `St *`)."""
        if is_plain(t):
            b = bits(t)
            if b == 0:
                return f"(void)({value});"
            low = t.low if isinstance(t, Range) else 0
            return f"put({state}, {at}, {mask(b)}, {value}{minus(low)});"
        n = self._struct(t)
        if f"store{n}" not in self._done:
            self._done.add(f"store{n}")
            self._make_store(t, n)
        return f"store{n}({state}, {at}, {value});"

    def element_at(self, room: int, element: Type, at: str, i: str) -> str:
        """The bit where element number `i` begins, of an array of `room` that begins at `at`."""
        s = stride(room, bits(element))
        if room <= 1 or bits(element) == 0:
            return at
        if s.far == 0:
            return f"{at} + (int)({i}) * {s.near}"
        if s.near == 0:
            return f"{at} + (int)({i}) * {s.far}"
        return f"{at} + (int)({i}) / {s.per} * {s.far} + (int)({i}) % {s.per} * {s.near}"

    def _make_load(self, t: Type, n: int) -> None:
        body = [f"static inline T{n} load{n}(const St *s, int at) {{", f"  T{n} x; memset(&x, 0, sizeof x);"]
        match t:
            case Record(_, fields):
                for i, (off, (_, f)) in enumerate(zip(field_offsets(t), fields, strict=True)):
                    body.append(f"  x.f{i} = {self.load(f, 's', f'at + {off}')};")
            case Array(index, element):
                where = self.element_at(cardinality(index), element, "at", "i")
                body.append(
                    f"  for (int i = 0; i < {cardinality(index)}; i++) x.e[i] = {self.load(element, 's', where)};"
                )
            case Queue(capacity, element):
                where = self.element_at(capacity, element, f"at + {body_offset(t)}", "i")
                body.append(f"  x.n = get(s, at, {mask(width(capacity + 1))});")
                body.append(f"  for (int i = 0; i < x.n; i++) x.e[i] = {self.load(element, 's', where)};")
            case Set(element):
                body.append(f"  for (int i = 0; i < {bits(t) // 64}; i++) x.w[i] = s->w[at / 64 + i];")
            case Union(members):
                body.append(f"  x.tag = get(s, at, {mask(width(len(members)))});")
                for i, m in enumerate(members):
                    body.append(f"  if (x.tag == {i}) x.m{i} = {self.load(m, 's', f'at + {body_offset(t)}')};")
            case _:
                raise AssertionError(t)
        self.text.append("\n".join([*body, "  return x;", "}"]))

    def _make_store(self, t: Type, n: int) -> None:
        body = [f"static inline void store{n}(St *s, int at, T{n} x) {{", f"  clear(s, at, {bits(t)});"]
        match t:
            case Record(_, fields):
                for i, (off, (_, f)) in enumerate(zip(field_offsets(t), fields, strict=True)):
                    body.append("  " + self.store(f, "s", f"at + {off}", f"x.f{i}"))
            case Array(index, element):
                where = self.element_at(cardinality(index), element, "at", "i")
                body.append(
                    f"  for (int i = 0; i < {cardinality(index)}; i++) {self.store(element, 's', where, 'x.e[i]')}"
                )
            case Queue(capacity, element):
                where = self.element_at(capacity, element, f"at + {body_offset(t)}", "i")
                body.append(f"  put(s, at, {mask(width(capacity + 1))}, x.n);")
                body.append(f"  for (int i = 0; i < x.n; i++) {self.store(element, 's', where, 'x.e[i]')}")
            case Set(element):
                body.append(f"  for (int i = 0; i < {bits(t) // 64}; i++) s->w[at / 64 + i] = x.w[i];")
            case Union(members):
                body.append(f"  put(s, at, {mask(width(len(members)))}, x.tag);")
                for i, m in enumerate(members):
                    body.append(f"  if (x.tag == {i}) {{ {self.store(m, 's', f'at + {body_offset(t)}', f'x.m{i}')} }}")
            case _:
                raise AssertionError(t)
        self.text.append("\n".join([*body, "}"]))

    # ------------------------------------------------------------ comparison, constants

    def same(self, t: Type, a: str, b: str) -> str:
        """C for the equality of two values of one type."""
        if is_plain(t):
            return f"({a} == {b})"
        n = self._struct(t)
        if f"same{n}" not in self._done:
            self._done.add(f"same{n}")
            body = [f"static inline int same{n}(T{n} a, T{n} b) {{"]
            match t:
                case Record(_, fields):
                    for i, (_, f) in enumerate(fields):
                        body.append(f"  if (!{self.same(f, f'a.f{i}', f'b.f{i}')}) return 0;")
                case Array(index, element):
                    test = self.same(element, "a.e[i]", "b.e[i]")
                    body.append(f"  for (int i = 0; i < {cardinality(index)}; i++) if (!{test}) return 0;")
                case Queue(_, element):
                    test = self.same(element, "a.e[i]", "b.e[i]")
                    body.append(f"  if (a.n != b.n) return 0;  for (int i = 0; i < a.n; i++) if (!{test}) return 0;")
                case Set(element):
                    body.append(f"  for (int i = 0; i < {bits(t) // 64}; i++) if (a.w[i] != b.w[i]) return 0;")
                case Union(members):
                    body.append("  if (a.tag != b.tag) return 0;")
                    for i, m in enumerate(members):
                        body.append(f"  if (a.tag == {i}) return {self.same(m, f'a.m{i}', f'b.m{i}')};")
                case _:
                    raise AssertionError(t)
            self.text.append("\n".join([*body, "  return 1;", "}"]))
        return f"same{n}({a}, {b})"

    def constant(self, t: Type, value: object) -> str:
        """C for a value known now."""
        if is_plain(t):
            assert isinstance(value, int)
            return literal(int(value))
        n = self._struct(t)
        match t:
            case Record(_, fields):
                assert isinstance(value, tuple)
                inner = [
                    f".f{i} = {self.constant(f, v)}" for i, ((_, f), v) in enumerate(zip(fields, value, strict=True))
                ]
            case Array(_, element):
                assert isinstance(value, tuple)
                inner = [f".e[{i}] = {self.constant(element, v)}" for i, v in enumerate(value)]
            case Queue(_, element):
                assert isinstance(value, tuple)
                inner = [f".n = {len(value)}", *(f".e[{i}] = {self.constant(element, v)}" for i, v in enumerate(value))]
            case Set(element):
                assert isinstance(value, int)
                words = -(-cardinality(element) // 64)
                inner = [f".w[{i}] = {value >> 64 * i & 2**64 - 1}ull" for i in range(words)]
            case Union(members):
                assert isinstance(value, tuple)
                inner = [f".tag = {value[0]}", f".m{value[0]} = {self.constant(members[value[0]], value[1])}"]
            case _:
                raise AssertionError(t)
        return f"((T{n}){{ {', '.join(inner)} }})"

    # ------------------------------------------------------------ conversions

    def cast(self, source: Type, target: Type, value: str, site: int) -> str:
        """C for a value of `source` as one of `target`; a value that does not fit is a fault at `site`."""
        if source == target:
            return value
        if isinstance(source, Int | Range) and isinstance(target, Int | Range):
            if isinstance(target, Int) or (
                isinstance(source, Range) and target.low <= source.low and source.high <= target.high
            ):
                return value
            return f"ranged(c, {value}, {literal(target.low)}, {literal(target.high)}, {site})"
        a, b = self._cast_name(source), self._cast_name(target)
        name = f"cast{a}_{b}"
        if name not in self._done:
            self._done.add(name)
            self._make_cast(source, target, name)
        return f"{name}(c, {value}, {site})"

    def _cast_name(self, t: Type) -> str:
        if not is_plain(t):
            return f"T{self._struct(t)}"
        self._plain.setdefault(t, f"v{len(self._plain)}")
        return self._plain[t]

    def _make_cast(self, source: Type, target: Type, name: str) -> None:
        """One case for each member of the source: to the same member (or the range) of the target, or a fault."""
        body = [f"static inline {self.name(target)} {name}(Ctx *c, {self.name(source)} x, int site) {{"]
        members = source.members if isinstance(source, Union) else (source,)
        for i, m in enumerate(members):
            inner = self._member_value(source, i, "x")
            made = self._inject(target, m, inner)
            test = self._holds(source, i, "x")
            if made is not None:
                body.append(f"  if ({test}) return {made};")
        fallback = self.zero(target)
        body += ["  fault(c, site);", f"  return {fallback};", "}"]
        self.text.append("\n".join(body))

    def zero(self, t: Type) -> str:
        """Some value of the type, for where a fault has been noted."""
        if is_plain(t):
            return literal(t.low if isinstance(t, Range) else 0)
        return f"((T{self._struct(t)}){{ 0 }})"

    def _holds(self, t: Type, member: int, x: str) -> str:
        if not isinstance(t, Union):
            return "1"
        if not is_scalar(t):
            return f"{x}.tag == {member}"
        start = offsets(t)[member]
        return f"{x} >= {start} && {x} < {start + cardinality(t.members[member])}"

    def is_member(self, t: Type, members: tuple[int, ...], x: str) -> str:
        """C test whether the union value `x` (a name) holds one of these members."""
        return "(" + " || ".join(f"({self._holds(t, m, x)})" for m in members) + ")"

    def _member_value(self, t: Type, member: int, x: str) -> str:
        if not isinstance(t, Union):
            return x
        m = t.members[member]
        if not is_scalar(t):
            return f"{x}.m{member}"
        low = m.low if isinstance(m, Range) else 0
        return f"({x} - {offsets(t)[member]} + {literal(low)})"

    def _inject(self, target: Type, m: Type, value: str) -> str | None:
        """The member value as one of the target; None if no member of the target takes it."""
        targets = target.members if isinstance(target, Union) else (target,)
        for i, other in enumerate(targets):
            if other == m:
                return self._wrapped(target, i, value)
        if isinstance(m, Range | Int):
            for i, other in enumerate(targets):
                if isinstance(other, Int):
                    return value
                if isinstance(other, Range):
                    ranged = f"ranged(c, {value}, {literal(other.low)}, {literal(other.high)}, site)"
                    return self._wrapped(target, i, ranged)
        return None

    def _wrapped(self, target: Type, member: int, value: str) -> str:
        if not isinstance(target, Union):
            return value
        m = target.members[member]
        if is_scalar(target):
            low = m.low if isinstance(m, Range) else 0
            return f"({value}{minus(low)} + {offsets(target)[member]})"
        n = self._struct(target)
        body = "0" if isinstance(m, Null) else value
        return f"((T{n}){{ .tag = {member}, .m{member} = {body} }})"

    # ------------------------------------------------------------ enumeration

    def nth(self, t: Type, number: str) -> str:
        """C for the value with this number in the order of `types.values`."""
        if is_scalar(t):
            low = t.low if isinstance(t, Range) else 0
            return f"({number} + {literal(low)})" if low else number
        if isinstance(t, Set) and is_plain(t):
            return number
        raise Limit("parameters of a type that is not scalar are not compiled")


def literal(value: int) -> str:
    """A C constant of type V."""
    if value == -(2**63):
        return "INT64_MIN"
    if not -(2**63) <= value < 2**64:
        raise Limit(f"the number {value} is too large for the native engine")
    return f"{value}ll" if value < 2**63 else f"(V){value}ull"


def minus(low: int) -> str:
    return f" - {literal(low)}" if low else ""


def mask(b: int) -> str:
    return f"{(1 << b) - 1}ull"

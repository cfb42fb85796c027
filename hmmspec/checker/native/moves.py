"""C that applies a renaming of identities to a packed state."""

from __future__ import annotations

from hmmspec.checker.explicit.slots import Anatomy
from hmmspec.checker.native.values import CValues, mask
from hmmspec.system.layout import Layout, bits, body_offset, field_offsets, width
from hmmspec.system.system import System
from hmmspec.system.types import (
    Array,
    Queue,
    Record,
    Set,
    Symmetric,
    ThreadId,
    Type,
    Union,
    cardinality,
    is_scalar,
    offsets,
)


class Functions:
    """Writes functions by type; `text`: those made so far, in order."""

    def __init__(self, system: System, plan: Layout, values: CValues, anatomy: Anatomy) -> None:
        self.system, self.plan, self.values, self.anatomy = system, plan, values, anatomy
        self.base = [sum(t.size for t in anatomy.types[:k]) for k in range(len(anatomy.types))]
        self.text: list[str] = []
        self._numbers: dict[Type, int] = {}
        self._done: set[str] = set()

    def concerned(self, t: Type) -> bool:
        """Whether values of the type can name an identity."""
        return self.anatomy.concerned(t)

    def identity(self, t: Symmetric) -> int:
        """The number of the first identity of a type among those of all types."""
        return self.base[self.anatomy.number[t]]

    def function(self, stem: str, t: Type) -> tuple[str, bool]:
        """The name of the function of this kind for a type, and whether it must be made now."""
        name = f"{stem}_{self._numbers.setdefault(t, len(self._numbers))}"
        new = name not in self._done
        self._done.add(name)
        return name, new

    def parts(self, t: ThreadId) -> list[tuple[int, Type, str, int]]:
        """The index types of a thread, last first: position, type, C that reads its part off an ordinal `o`, and what
        it counts for in the ordinal."""
        out, scale = [], 1
        for position in range(len(t.index) - 1, -1, -1):
            part = t.index[position]
            out.append((position, part, f"(o / {scale} % {cardinality(part)})", scale))
            scale *= cardinality(part)
        return out


class Moves(Functions):
    """`permute` and what it needs."""

    def permute(self) -> list[str]:
        """`permute(s, t, p)`: writes to `t` the state `s` with every identity renamed."""
        fixed = [0] * self.plan.words
        moves = []
        for v in self.system.variables:
            at = self.plan.offsets[v.name]
            if self.concerned(v.type):
                moves.append(f"  {self.move(v.type, str(at), str(at))}")
            else:
                set_bits(fixed, at, bits(v.type))
        keep = [f"  t->w[{i}] = s->w[{i}] & {hex(w)}ull;" for i, w in enumerate(fixed)]
        if len(keep) > 64:
            table = ", ".join(f"{hex(w)}ull" for w in fixed)
            keep = [
                f"  static const uint64_t fixed[] = {{ {table} }};",
                "  for (int i = 0; i < WORDS; i++) t->w[i] = s->w[i] & fixed[i];",
            ]
        return ["static void permute(const St *s, St *t, const Renaming *p) {", *keep, *moves, "}"]

    def move(self, t: Type, source: str, target: str) -> str:
        """C statement: the value at bit `source` of `s`, renamed, to bit `target` of `t` (which is 0 there)."""
        b = bits(t)
        if b == 0:
            return ";"
        if not self.concerned(t):
            if b <= 64:
                return f"put_in(t, {target}, get(s, {source}, {mask(b)}));"
            return f"for (int w = 0; w < {b // 64}; w++) t->w[({target}) / 64 + w] = s->w[({source}) / 64 + w];"
        if is_scalar(t):
            return f"put_in(t, {target}, {self.renamed(t)}(get(s, {source}, {mask(b)}), p));"
        name, new = self.function("move", t)
        if new:
            self._make_move(t, name)
        return f"{name}(s, {source}, t, {target}, p);"

    def renamed(self, t: Type) -> str:
        """The C function from an ordinal to that of the renamed value."""
        name, new = self.function("renamed", t)
        if not new:
            return name
        body = []
        match t:
            case Symmetric():
                body.append(f"return p->to[{self.identity(t)} + o];")
            case ThreadId():
                terms = []
                for _, part, read, scale in self.parts(t):
                    inner = f"{self.renamed(part)}({read}, p)" if self.concerned(part) else read
                    terms.append(f"{scale} * {inner}")
                body.append(f"return {' + '.join(terms)};")
            case Union(members):
                for start, m in zip(offsets(t), members, strict=True):
                    inner = f"{start} + {self.renamed(m)}(o - {start}, p)" if self.concerned(m) else "o"
                    body.append(f"if (o < {start + cardinality(m)}) return {inner};")
                body.append("return o;")
            case _:
                raise AssertionError(t)
        self.text.append(f"static inline int {name}(V o, const Renaming *p) {{ {' '.join(body)} }}")
        return name

    def _make_move(self, t: Type, name: str) -> None:
        body: list[str] = []
        match t:
            case Record(_, fields):
                for off, (_, f) in zip(field_offsets(t), fields, strict=True):
                    body.append(self.move(f, f"from + {off}", f"to + {off}"))
            case Array(index, element):
                n = cardinality(index)
                there = f"{self.renamed(index)}(i, p)" if self.concerned(index) else "i"
                source = self.values.element_at(n, element, "from", "i")
                target = self.values.element_at(n, element, "to", "j")
                body.append(
                    f"for (int i = 0; i < {n}; i++) {{ int j = {there}; {self.move(element, source, target)} }}"
                )
            case Queue(capacity, element):
                head = mask(width(capacity + 1))
                body.append(f"V n = get(s, from, {head}); put_in(t, to, n);")
                source = self.values.element_at(capacity, element, f"from + {body_offset(t)}", "i")
                target = self.values.element_at(capacity, element, f"to + {body_offset(t)}", "i")
                body.append(f"for (int i = 0; i < n; i++) {self.move(element, source, target)}")
            case Set(element):
                there = f"int j = {self.renamed(element)}(i, p);"
                if bits(t) <= 64:
                    body.append(f"uint64_t held = get(s, from, {mask(bits(t))}), r = 0;")
                    body.append("for (; held; held &= held - 1) { int i = __builtin_ctzll(held); ")
                    body.append(f"{there} r |= 1ull << j; }} put_in(t, to, r);")
                else:
                    body.append(f"for (int w = 0; w < {bits(t) // 64}; w++)")
                    body.append("for (uint64_t held = s->w[from / 64 + w]; held; held &= held - 1) {")
                    body.append(f"int i = w * 64 + __builtin_ctzll(held); {there} put_in(t, to + j, 1); }}")
            case Union(members):
                body.append(f"V tag = get(s, from, {mask(width(len(members)))}); put_in(t, to, tag);")
                off = body_offset(t)
                for i, m in enumerate(members):
                    body.append(f"if (tag == {i}) {{ {self.move(m, f'from + {off}', f'to + {off}')} }}")
            case _:
                raise AssertionError(t)
        head = f"static inline void {name}(const St *s, int from, St *t, int to, const Renaming *p) {{"
        self.text.append("\n".join([head, *(f"  {line}" for line in body), "}"]))


def set_bits(words: list[int], at: int, n: int) -> None:
    """Set n bits from bit `at` on."""
    for bit in range(at, at + n):
        words[bit // 64] |= 1 << bit % 64

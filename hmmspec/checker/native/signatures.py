"""C that visits each place of a packed state: what it holds apart from identities, and which identities occur in its
indices and in its value, each in a role (where).  From this `canon.c` makes signatures that no renaming changes."""

from __future__ import annotations

from zlib import crc32

from hmmspec.checker.native.moves import Functions
from hmmspec.checker.native.values import mask
from hmmspec.system.layout import bits, body_offset, field_offsets, width
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

INDEX_ROLE, VALUE_ROLE = 1 << 40, 2 << 40


class Signatures(Functions):
    """`signatures` and what it needs.  `places`, `namings`, `outer`: how many places with identities a state has at
    most, how many identities these can name in all, and how many the indices of one place."""

    places = namings = outer = 0

    def signatures(self) -> list[str]:
        """`signatures(k, s)`: for each place of the state `begin_place` .. `end_place`; rows that belong to one
        identity alone are added to its signature directly."""
        out = ["static void signatures(Canon *k, const St *s) {"]
        rows: dict[Symmetric, list[tuple[int, Type]]] = {}
        for v in self.system.variables:
            t, at = v.type, self.plan.offsets[v.name]
            if not self.concerned(t) or bits(t) == 0:
                continue
            if isinstance(t, Array) and isinstance(t.index, Symmetric) and not self.concerned(t.element):
                if bits(t.element) <= 64:
                    rows.setdefault(t.index, []).append((at, t.element))
                    continue
            group = crc32(v.name.encode())
            out += [f"  {{ const uint64_t g0 = {group}ull << 32;", *self.visit(t, str(at), 0, 1, 0), "  }"]
        for symmetric, owned in rows.items():
            out += self._rows(symmetric, owned)
        return [*out, "}"]

    def _rows(self, t: Symmetric, owned: list[tuple[int, Type]]) -> list[str]:
        """One number for as many rows as fit."""
        out, key, used = [], [], 0
        for number, (at, element) in enumerate(owned):
            b = bits(element)
            read = f"get(s, {self.values.element_at(t.size, element, str(at), 'i')}, {mask(b)})"
            key.append(f"(uint64_t){read} << {used}")
            used += b
            if number + 1 == len(owned) or used + bits(owned[number + 1][1]) > 64:
                salt = f"{number + 1}ull * 0xa0761d6478bd642full"
                add = f"k->sig[{self.identity(t)} + i] += mix({salt} + mix({' | '.join(key)}));"
                out.append(f"  for (int i = 0; i < {t.size}; i++) {add}")
                key, used = [], 0
        return out

    # ------------------------------------------------------------ places

    def visit(self, t: Type, at: str, depth: int, times: int, outer: int) -> list[str]:
        """The places of a value at bit `at`; `g{depth}` says where it is; there are `times` such values; up to `outer`
        identities occur in the indices on the way."""
        if bits(t) == 0 or not (outer or self.concerned(t)):
            return []
        g = f"g{depth}"
        match t:
            case Array(index, element):
                i, n = f"i{depth}", cardinality(index)
                inner = outer + self.most_namings(index)
                inside = self.visit(element, self.values.element_at(n, element, at, i), depth + 1, times * n, inner)
                if not inside:
                    return []
                heads = [f"  for (int {i} = 0; {i} < {n}; {i}++) {{"]
                if not self.concerned(index):
                    return [*heads, f"  const uint64_t g{depth + 1} = mix({g} + {i});", *inside, "  }"]
                role = INDEX_ROLE + depth
                heads += [
                    f"  const int outer{depth} = k->outer, from{depth} = k->namings;",
                    f"  const uint64_t g{depth + 1} = mix({g} + {self.scalar(index)}(k, {i}, mix({role}ull)));",
                    f"  to_outer(k, from{depth});",
                ]
                return [*heads, *inside, f"  k->outer = outer{depth};", "  }"]
            case Record(_, fields):
                out: list[str] = []
                for number, (off, (_, f)) in enumerate(zip(field_offsets(t), fields, strict=True)):
                    inside = self.visit(f, f"{at} + {off}", depth + 1, times, outer)
                    if inside:
                        out += [f"  {{ const uint64_t g{depth + 1} = mix({g} + {number});", *inside, "  }"]
                return out
            case _:
                self.places += times
                self.namings += times * (outer + self.most_namings(t))
                self.outer = max(self.outer, outer)
                held = self.value(t, at, f"mix({VALUE_ROLE}ull)")
                return [f"  {{ int from = begin_place(k); uint64_t h = {held}; end_place(k, from, mix({g} ^ h)); }}"]

    def most_namings(self, t: Type) -> int:
        """How many identities a value can name."""
        if not self.concerned(t):
            return 0
        match t:
            case Symmetric():
                return 1
            case ThreadId(_, index):
                return sum(self.most_namings(i) for i in index)
            case Union(members):
                return max(self.most_namings(m) for m in members)
            case Record(_, fields):
                return sum(self.most_namings(f) for _, f in fields)
            case Array(index_type, element):
                return cardinality(index_type) * (self.most_namings(index_type) + self.most_namings(element))
            case Set(element):
                return cardinality(element) * self.most_namings(element)
            case Queue(capacity, element):
                return capacity * self.most_namings(element)
            case _:
                return 0

    # ------------------------------------------------------------ values

    def scalar(self, t: Type) -> str:
        """The C function that notes the identities of an ordinal `o`, in roles made from `role`; gives the ordinal with
        each of them made the first."""
        name, new = self.function("scalar", t)
        if not new:
            return name
        body = []
        match t:
            case Symmetric():
                body.append(f"names(k, {self.identity(t)} + o, role); return 0;")
            case ThreadId():
                body.append("V r = 0;")
                for position, part, read, scale in self.parts(t):
                    inner = f"{self.scalar(part)}(k, {read}, mix(role + {position}))" if self.concerned(part) else read
                    body.append(f"r += {scale} * {inner};")
                body.append("return r;")
            case Union(members):
                for number, (start, m) in enumerate(zip(offsets(t), members, strict=True)):
                    inner = (
                        f"{self.scalar(m)}(k, o - {start}, mix(role + {number}))"
                        if self.concerned(m)
                        else f"o - {start}"
                    )
                    body.append(f"if (o < {start + cardinality(m)}) return {start} + {inner};")
                body.append("return o;")
            case _:
                raise AssertionError(t)
        self.text.append(f"static inline V {name}(Canon *k, V o, uint64_t role) {{ {' '.join(body)} }}")
        return name

    def value(self, t: Type, at: str, role: str) -> str:
        """C that notes the identities of the value at bit `at`; gives a hash of the rest of it."""
        b = bits(t)
        if b == 0:
            return "0ull"
        if not self.concerned(t):
            return f"(uint64_t)get(s, {at}, {mask(b)})" if b <= 64 else f"hash_words(s, {at}, {b // 64})"
        if is_scalar(t):
            return f"(uint64_t){self.scalar(t)}(k, get(s, {at}, {mask(b)}), {role})"
        name, new = self.function("value", t)
        if new:
            self._make_value(t, name)
        return f"{name}(k, s, {at}, {role})"

    def _make_value(self, t: Type, name: str) -> None:
        body = ["uint64_t h = 0;"]
        match t:
            case Record(_, fields):
                for number, (off, (_, f)) in enumerate(zip(field_offsets(t), fields, strict=True)):
                    body.append(f"h = mix(h + {self.value(f, f'at + {off}', f'mix(role + {number})')});")
            case Array(index, element):
                n = cardinality(index)
                where = self.values.element_at(n, element, "at", "i")
                seen = f"{self.scalar(index)}(k, i, mix(role + 1))" if self.concerned(index) else "i"
                body.append(f"for (int i = 0; i < {n}; i++) {{ uint64_t e = {seen};")
                body.append(f"  h += mix({self.value(element, where, 'mix(role + 2 + e)')} + mix(e)); }}")
            case Queue(capacity, element):
                where = self.values.element_at(capacity, element, f"at + {body_offset(t)}", "i")
                body.append(f"V n = get(s, at, {mask(width(capacity + 1))}); h = n;")
                body.append(f"for (int i = 0; i < n; i++) h = mix(h + {self.value(element, where, 'mix(role + i)')});")
            case Set(element):
                note = f"int from = k->namings; uint64_t e = {self.scalar(element)}(k, i, role); h += mix(e);"
                if not isinstance(element, Symmetric):
                    note += " for (int j = from; j < k->namings; j++) k->role[j] = mix(k->role[j] + e);"
                words = "(uint64_t)get(s, at, " + mask(bits(t)) + ")" if bits(t) <= 64 else "s->w[at / 64 + w]"
                body.append(f"for (int w = 0; w < {max(1, bits(t) // 64)}; w++)")
                body.append(f"  for (uint64_t held = {words}; held; held &= held - 1) {{")
                body.append(f"    int i = w * 64 + __builtin_ctzll(held); {note} (void)from; }}")
            case Union(members):
                body.append(f"V tag = get(s, at, {mask(width(len(members)))});")
                for i, m in enumerate(members):
                    held = self.value(m, f"at + {body_offset(t)}", f"mix(role + {i})")
                    body.append(f"if (tag == {i}) h = mix(mix({i}) + {held});")
            case _:
                raise AssertionError(t)
        head = f"static inline uint64_t {name}(Canon *k, const St *s, int at, uint64_t role) {{"
        self.text.append("\n".join([head, *(f"  {line}" for line in body), "  return h;", "}"]))

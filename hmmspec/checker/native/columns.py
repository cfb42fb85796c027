"""Canonical forms by sorting alone.

Where each place of a state belongs to one identity at most (by its indices) and no value names an identity, all that
there is to an identity is its column: the contents of its places, in an order common to all identities of the type.
Columns are packed into numbers, sorted, and written back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from hmmspec.checker.explicit.slots import Anatomy
from hmmspec.checker.native.moves import set_bits
from hmmspec.checker.native.values import mask
from hmmspec.system.layout import Layout, bits, field_offsets, stride
from hmmspec.system.system import System
from hmmspec.system.types import Array, Record, Symmetric, Type, cardinality

MOST_CELLS = 1500  # each becomes a line of C, twice
NETWORK = 16  # identities up to which a sorting network is written out


@dataclass
class _Columns:
    """For each type: what cell (a key common to all identities, width) -> identity -> where it is."""

    anatomy: Anatomy
    cells: list[dict[tuple[tuple[int, ...], int], dict[int, int]]]
    fixed: list[int]
    count: int = field(default=0)

    def place(self, t: Type, at: int, key: tuple[int, ...], owner: tuple[int, int] | None) -> bool:
        """Note the cells of a value at bit `at`; whether that can be done."""
        b = bits(t)
        if b == 0:
            return True
        if not self.anatomy.concerned(t):
            if owner is None:
                set_bits(self.fixed, at, b)
                return True
            for part in range(0, b, 64):
                cell = self.cells[owner[0]].setdefault(((*key, part), min(64, b - part)), {})
                if owner[1] in cell:
                    return False
                cell[owner[1]] = at + part
                self.count += 1
            return self.count <= MOST_CELLS
        match t:
            case Array(index, element):
                n = cardinality(index)
                s = stride(n, bits(element))
                for i in range(n):
                    named = self.anatomy.ordinal_namings(index, i)
                    if len(named) > 1 or (named and owner is not None):
                        return False
                    role = (*named[0][0], named[0][1]) if named else ()
                    own = named[0][1:] if named else owner
                    inner = (*key, *role, self.anatomy.erase_ordinal(index, i))
                    if not self.place(element, at + i // s.per * s.far + i % s.per * s.near, inner, own):
                        return False
                return True
            case Record(_, fields):
                parts = enumerate(zip(field_offsets(t), fields, strict=True))
                return all(self.place(f, at + off, (*key, number), owner) for number, (off, (_, f)) in parts)
            case _:
                return False


def columns(system: System, plan: Layout, types: Sequence[Symmetric]) -> str | None:
    """`canonical`, `canonical_renaming` and `orbit_size`; None where sorting is not enough."""
    found = _Columns(Anatomy(types), [{} for _ in types], [0] * plan.words)
    for number, v in enumerate(system.variables):
        if not found.place(v.type, plan.offsets[v.name], (number,), None):
            return None
    words = [_packed(cells) for cells in found.cells]
    reads, sorts, writes, perms, sizes = [], [], [], [], []
    for k, (t, key_words) in enumerate(zip(types, words, strict=True)):
        n, m = t.size, max(1, len(key_words))
        reads += _reads(k, n, key_words)
        sorts += _network(f"k{k}", n) if m == 1 and n <= NETWORK else [f"  sort_columns(&k{k}[0][0], {n}, {m});"]
        writes += _writes(k, n, key_words)
        perms.append(f"  order_columns(&k{k}[0][0], {n}, {m}, to + type_base[{k}]);")
        sizes.append(f"  if (!(n = arrangements(&k{k}[0][0], {n}, {m}, n))) return 0;")
    keep = [f"  t.w[{i}] = in->w[{i}] & {hex(w)}ull;" for i, w in enumerate(found.fixed)]
    return "\n".join(
        [
            HELPERS,
            *("static int canonical(const St *in, St *out) {", *reads, *sorts, "  St t;"),
            *(*keep, *writes, "  *out = t;", "  return 1;", "}"),
            *("static void canonical_renaming(const St *in, St *out, uint16_t *to) {", *reads, *perms),
            *("  canonical(in, out);", "}"),
            *(
                "static uint64_t orbit_size(const St *in) {",
                *reads,
                "  uint64_t n = 1;",
                *sorts,
                *sizes,
                "  return n;",
                "}",
            ),
        ]
    )


_Word = list[tuple[int, int, dict[int, int]]]  # in one word of the key: from which bit, how wide, identity -> where


def _packed(cells: dict[tuple[tuple[int, ...], int], dict[int, int]]) -> list[_Word]:
    """Cells in words of 64 bits, as far as can be in the order in which they lie in the state."""
    out: list[_Word] = []
    room = 0
    for (_, wide), at in sorted(cells.items(), key=lambda c: c[1][0]):
        if room < wide:
            out.append([])
            room = 64
        out[-1].append((64 - room, wide, at))
        room -= wide
    return out


def _runs(cells: _Word, i: int) -> list[tuple[int, int, int]]:
    """The cells of one identity in one word of its column, as pieces that one instruction can gather: the word of the
    state, the bits of it, and from which bit of the column's word."""
    out: list[tuple[int, int, int]] = []
    last = -1
    for low, wide, at in cells:
        word, bit = divmod(at[i], 64)
        held = mask_of(wide) << bit
        if out and out[-1][0] == word and last <= bit:
            out[-1] = (word, out[-1][1] | held, out[-1][2])
        else:
            out.append((word, held, low))
        last = bit + wide
    return out


def mask_of(wide: int) -> int:
    return (1 << wide) - 1


def _reads(k: int, n: int, words: list[_Word]) -> list[str]:
    out = [f"  uint64_t k{k}[{n}][{max(1, len(words))}];"]
    if not words:
        return [*out, f"  memset(k{k}, 0, sizeof k{k});"]
    gathered, single = [], []
    for w, cells in enumerate(words):
        for i in range(n):
            parts = " | ".join(f"(uint64_t)get(in, {at[i]}, {mask(wide)}) << {low}" for low, wide, at in cells)
            single.append(f"  k{k}[{i}][{w}] = {parts};")
            parts = " | ".join(f"GATHER(in->w[{word}], {hex(m)}ull) << {low}" for word, m, low in _runs(cells, i))
            gathered.append(f"  k{k}[{i}][{w}] = {parts};")
    return [*out, "#ifdef GATHER", *gathered, "#else", *single, "#endif"]


def _writes(k: int, n: int, words: list[_Word]) -> list[str]:
    scattered, single = [], []
    for w, cells in enumerate(words):
        for i in range(n):
            for low, wide, at in cells:
                single.append(f"  put_in(&t, {at[i]}, k{k}[{i}][{w}] >> {low} & {mask(wide)});")
            for word, m, low in _runs(cells, i):
                scattered.append(f"  t.w[{word}] |= SCATTER(k{k}[{i}][{w}] >> {low}, {hex(m)}ull);")
    return ["#ifdef GATHER", *scattered, "#else", *single, "#endif"] if words else []


def _network(name: str, n: int) -> list[str]:
    """Batcher's odd-even merge sort, without the exchanges that leave the range; those in a line are independent."""
    pairs: list[tuple[int, int, int]] = []
    step = 0
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                near = range(j, j + min(k, n - j - k))
                pairs.extend((step, i, i + k) for i in near if i // (p * 2) == (i + k) // (p * 2))
            step += 1
            k //= 2
        p *= 2
    lines = []
    for _, together in groupby(pairs, key=lambda pair: pair[0]):
        lines.append("  " + " ".join(f"EXCHANGE({name}[{a}][0], {name}[{b}][0])" for _, a, b in together))
    return lines


HELPERS = """\
/* On early Zen these two are slower than taking the cells one by one. */
#if defined __BMI2__ && !defined __znver1__ && !defined __znver2__
#include <immintrin.h>
#define GATHER(word, bits) _pext_u64(word, bits)
#define SCATTER(value, bits) _pdep_u64(value, bits)
#endif
#define EXCHANGE(a, b) { uint64_t x = a, y = b; a = x < y ? x : y; b = x < y ? y : x; }

static inline int column_less(const uint64_t *a, const uint64_t *b, int words) {
  for (int w = 0; w < words; w++) if (a[w] != b[w]) return a[w] < b[w];
  return 0;
}

static inline void sort_columns(uint64_t *k, int n, int words) {
  for (int i = 1; i < n; i++)
    for (int j = i; j > 0 && column_less(k + j * words, k + (j - 1) * words, words); j--)
      for (int w = 0; w < words; w++) {
        uint64_t x = k[j * words + w]; k[j * words + w] = k[(j - 1) * words + w]; k[(j - 1) * words + w] = x;
      }
}

/* Where each column goes. */
static inline void order_columns(const uint64_t *k, int n, int words, uint16_t *to) {
  for (int i = 0; i < n; i++) {
    to[i] = 0;
    for (int j = 0; j < n; j++)
      to[i] += column_less(k + j * words, k + i * words, words)
               || (j < i && !column_less(k + i * words, k + j * words, words));
  }
}

/* `so_far` times the number of ways to arrange sorted columns, equal ones not told apart; 0 if that is too large. */
static inline uint64_t arrangements(const uint64_t *k, int n, int words, uint64_t so_far) {
  for (int i = 0, run = 0; i < n; i++) {
    run = i && !column_less(k + (i - 1) * words, k + i * words, words) ? run + 1 : 1;
    __uint128_t more = (__uint128_t)so_far * (unsigned)(i + 1) / (unsigned)run;
    if (more >> 64) return 0;
    so_far = (uint64_t)more;
  }
  return so_far;
}
"""

"""C that finds one representative of each orbit of states under renamings of the identities of symmetric types.

Three ways, of one meaning.  Where every place of the state belongs to one identity at most and no value names one, a
state is a heap of columns, and sorting them is all there is to it (`columns`).  Where there are few renamings, all are
tried.  Otherwise `canon.c` does the work with what is generated for the system: `permute`, which applies a renaming to
a packed state (`moves`), and `signatures`, which tells what each place of a state holds and which identities occur
there.

NOTE(native-symmetry): all ways give these to the engine:
    canonical(in, out)                  the representative; 0 if ties were too many and it is not the only one
    canonical_renaming(in, out, to)     also a renaming that leads there: number of an identity -> its new ordinal
    orbit_size(s)                       how many states are renamings of `s`; 0: not known, or more than 64 bits
Identities are numbered through all the types, in the order given.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from math import factorial, prod
from pathlib import Path

from hmmspec.checker.explicit.slots import Anatomy
from hmmspec.checker.native.columns import columns
from hmmspec.checker.native.moves import Moves
from hmmspec.checker.native.signatures import Signatures
from hmmspec.checker.native.values import CValues
from hmmspec.diagnostics import Limit
from hmmspec.system.layout import Layout
from hmmspec.system.system import System
from hmmspec.system.types import Symmetric

TRIES = 50_000  # candidates and branches looked at for one state before any representative is taken
FEW = 12  # renamings up to which all are tried
MOST_IDENTITIES = 1024
MOST_PLACES = 1 << 18
SEARCH = Path(__file__).with_name("canon.c")
VISITORS_GO_HERE = "/* ---------------------------------------------------------------- cells */"

BASICS = """\
/* ---------------------------------------------------------------- renamings of identities */

typedef struct { uint16_t to[N_IDS]; } Renaming;     /* by number of the identity: its new ordinal */
typedef struct Canon Canon;

static inline uint64_t mix(uint64_t x) {
  __uint128_t m = (__uint128_t)(x ^ 0x9e3779b97f4a7c15ull) * 0xd6e8feb86659fd93ull;
  return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static inline uint64_t hash_words(const St *s, int at, int n) {
  uint64_t h = 0;
  for (int i = 0; i < n; i++) h = mix(h + s->w[at / 64 + i]);
  return h;
}

static inline void put_in(St *t, int at, uint64_t v) { t->w[at >> 6] |= v << (at & 63); }
"""


def symmetry_heading(types: Sequence[Symmetric], tries: int | None = None) -> list[str]:
    """Macros and tables for these types; `tries`: other than TRIES.

    Raises Limit for more identities than are provided for.
    """
    if not types:
        return ["#define HAS_SYMMETRY 0"]
    base = [sum(t.size for t in types[:k]) for k in range(len(types) + 1)]
    if base[-1] > MOST_IDENTITIES:
        raise Limit(f"more than {MOST_IDENTITIES} identities of symmetric types")
    numbers = [k for k, t in enumerate(types) for _ in range(t.size)]
    return [
        "#define HAS_SYMMETRY 1",
        f"#define N_TYPES {len(types)}",
        f"#define N_IDS {base[-1]}",
        f"#define CANON_TRIES {TRIES if tries is None else tries}",
        f"static const int type_base[] = {{ {', '.join(map(str, base))} }};",
        f"static const int type_of[] = {{ {', '.join(map(str, numbers))} }};",
    ]


def symmetry_text(
    system: System, plan: Layout, values: CValues, types: Sequence[Symmetric], shortcuts: bool = True
) -> str:
    """The functions of NOTE(native-symmetry); `shortcuts`: the general way only where no other can be taken."""
    if not types:
        return ""
    if shortcuts:
        sorting = columns(system, plan, types)
        if sorting is not None:
            return f"{BASICS}\n{sorting}\n"
    anatomy = Anatomy(types)
    moves, places = Moves(system, plan, values, anatomy), Signatures(system, plan, values, anatomy)
    permute = moves.permute()
    if prod(factorial(t.size) for t in types) <= FEW and shortcuts:
        return "\n".join([BASICS, *moves.text, *permute, _try_all(types), ""])
    signatures = places.signatures()
    if places.places > MOST_PLACES or places.namings > MOST_PLACES:
        raise Limit("a state names too many identities")
    limits = [
        f"#define MAX_MEETINGS {places.places}",
        f"#define MAX_NAMINGS {places.namings + places.outer}",
        f"#define MAX_OUTER {places.outer}",
    ]
    before, after = SEARCH.read_text().split(VISITORS_GO_HERE)
    return "\n".join([BASICS, *limits, *moves.text, *permute, before, *places.text, *signatures, after, ""])


def _try_all(types: Sequence[Symmetric]) -> str:
    """The least of all renamed states.  Each renaming is a constant, so that the compiler can work with it."""
    every = list(product(*(permutations(range(t.size)) for t in types)))
    tables = [", ".join(str(i) for of_type in by for i in of_type) for by in every]
    apply = [f"permute(in, &t, &renaming_{number});" for number in range(len(every))]
    copy = [f"memcpy(to, renaming_{number}.to, sizeof renaming_{number}.to)" for number in range(len(every))]
    return "\n".join(
        [
            *(f"static const Renaming renaming_{i} = {{ {{ {to} }} }};" for i, to in enumerate(tables)),
            "static int canonical(const St *in, St *out) {\n  St least = *in, t;",
            *(f"  {a} if (less(&t, &least)) least = t;" for a in apply[1:]),
            "  *out = least;\n  return 1;\n}",
            "static void canonical_renaming(const St *in, St *out, uint16_t *to) {\n  St t;\n  canonical(in, out);",
            *(f"  {a} if (equal(&t, out)) {{ {c}; return; }}" for a, c in zip(apply, copy, strict=True)),
            "}\nstatic uint64_t orbit_size(const St *in) {\n  St t;\n  uint64_t same = 0;",
            *(f"  {a} same += equal(&t, in);" for a in apply),
            f"  return {len(every)} / same;\n}}",
        ]
    )

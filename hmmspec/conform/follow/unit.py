"""The C text of one bound System for sets.c: its rules and observations, and tables of where members and identities
stand in a packed state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hmmspec.checker.explicit.slots import Anatomy, slots
from hmmspec.checker.native.canon import BASICS, symmetry_heading
from hmmspec.checker.native.exprs import Exprs, Scope
from hmmspec.checker.native.moves import Moves
from hmmspec.checker.native.packing import places
from hmmspec.checker.native.rules import Rules
from hmmspec.checker.native.unit import PACKED
from hmmspec.checker.native.values import CValues, is_plain
from hmmspec.conform.follow.bind import Bound
from hmmspec.diagnostics import Limit
from hmmspec.system.layout import bits, layout
from hmmspec.system.system import System
from hmmspec.system.types import Symmetric, Type, cardinality, is_scalar

SETS = Path(__file__).with_name("sets.c")
MOST_MEMBERS = 64  # of a type: they are the bits of a mask

_HEAD = """\
#define _GNU_SOURCE
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int64_t V;
typedef struct { uint64_t w[WORDS]; } St;

#define SCRIPT 4096                  /* choices on one way through a step */

typedef struct Ctx {
  struct Sets *sets;
  int fault, failed, overflow;       /* what went wrong with the step at work */
  uint32_t skip;                     /* an outcome that is none */
  size_t begin;                      /* where its outcomes begin */
  int script[SCRIPT], ways[SCRIPT], script_length, at;
} Ctx;

static inline void emit(Ctx *c, const St *s, const St *t, int rule, V number);
static inline void emit_outcome(Ctx *c, const St *s, const St *t, int rule, V number);
static inline void begin_outcomes(Ctx *c);
static inline void emit_fault(Ctx *c, const St *s, int rule, V number);
"""


def text_for(bound: Bound, members: Sequence[Symmetric]) -> str:
    """The whole text.  Raises Limit for what is not compiled: numbers beyond 64 bits, large sets, many members."""
    system = bound.system
    if any(t.size > MOST_MEMBERS for t in members):
        raise Limit(f"more than {MOST_MEMBERS} members of a type")
    plan = layout(system)
    values = CValues()
    exprs = Exprs(system, plan, values)
    rules = Rules(exprs)
    bodies = [rules.rule(r) for r in system.rules]
    observations = _observations(system, exprs)
    assumed = _assumed(system, exprs)
    words = max(1, -(-len(system.rules) // 64))
    most = max((len(r.params) for r in system.rules), default=0)
    heading = [
        f"#define WORDS {plan.words}",
        f"#define N_RULES {len(system.rules)}",
        f"#define RULE_WORDS {words}",
        f"#define MOST_PARAMS {most}",
        f"#define N_HIDDEN {len(bound.hidden)}",
        f"#define HAS_ASSUMES {int(bool(system.assumes))}",
        f"#define N_MEMBERS {len(members)}",
    ]
    identities = _Identities(system, plan.offsets, bound.unseen)
    renaming: list[str] = []
    if identities.any:
        moves = Moves(system, plan, values, Anatomy(bound.unseen))
        permute = moves.permute()
        renaming = [BASICS, *moves.text, *permute, *identities.tables()]
    return "\n".join(
        [
            *heading,
            *(symmetry_heading(bound.unseen) if identities.any else ["#define N_IDS 0"]),
            _HEAD,
            PACKED.read_text(encoding="utf-8"),
            *values.text,
            *exprs.functions,
            *bodies,
            *_take(system),
            _table("int", "hidden_rule", bound.hidden),
            *observations,
            *assumed,
            *renaming,
            *_Members(system, plan.offsets, members).tables(),
            SETS.read_text(encoding="utf-8"),
        ]
    )


def _table(kind: str, name: str, numbers: Iterable[int]) -> str:
    return f"static const {kind} {name}[] = {{ {' '.join(f'{n},' for n in numbers) or '0'} }};"


def _masks(types: Iterable[Type]) -> list[int]:
    out = []
    for t in types:
        if bits(t) > 63:
            raise Limit("a set of more than 63 elements")
        out.append((1 << bits(t)) - 1)
    return out


def _take(system: System) -> list[str]:
    """`take`: one rule with the arguments whose ordinals are in `a`."""
    most = max(1, *(len(r.params) for r in system.rules)) if system.rules else 1
    sizes = [[cardinality(p.type) for p in r.params] for r in system.rules]
    rows = ", ".join("{ " + ", ".join(map(str, [*row, *[1] * (most - len(row))])) + " }" for row in sizes)
    cases = []
    for r in system.rules:
        args = "".join(f", a[{k}]" for k in range(len(r.params)))
        cases.append(f"  case {r.number}: one_{r.number}(c, s{args}); break;")
    return [
        f"static const int param_size[][{most}] = {{ {rows or '{ 1 }'} }};",
        _table("int", "n_params", [len(r.params) for r in system.rules]),
        "static void take(Ctx *c, const St *s, int rule, const int *a) {\n  (void)a;\n  switch (rule) {",
        *cases,
        "  }\n}",
    ]


def _observations(system: System, exprs: Exprs) -> list[str]:
    """`observe`: the value of an observation; those that are no numbers cannot be asked for."""
    out = ["static void observe(Ctx *c, const St *s, int which, const int *a, V *value) {", "  (void)a;"]
    out.append("  switch (which) {")
    for number, o in enumerate(system.observations):
        if not is_plain(o.type) or not all(is_scalar(p.type) for p in o.params):
            continue
        scope = Scope()
        names = []
        for k, p in enumerate(o.params):
            x = exprs.fresh(p.name)
            names.append(f"const V {x} = {exprs.values.nth(p.type, f'a[{k}]')}; (void){x};")
            scope = scope.bind(p.name, x)
        out.append(f"  case {number}: {{ {' '.join(names)} *value = {exprs.expr(o.body, scope)}; break; }}")
    return [*out, "  }", "  (void)c; (void)s; (void)value;", "}"]


def _assumed(system: System, exprs: Exprs) -> list[str]:
    out = ["static int assumed(Ctx *c, const St *t) {"]
    for a in system.assumes:
        holds = exprs.expr(a.body, Scope("t"))
        out.append(f"  {{ V holds = {holds}; if (c->fault) return 1; if (!holds) return 0; }}")
    return [*out, "  (void)c; (void)t; return 1;", "}"]


def _starts(system: System, offsets: dict[str, int]) -> list[tuple[int, Type]]:
    """Where each slot begins, in bits, and what it holds."""
    return [found for v in system.variables for found in places(v.type, offsets[v.name])]


class _Identities:
    """What `normal` looks at, as in `Normal`: slots that name identities, and those that each identity indexes."""

    def __init__(self, system: System, offsets: dict[str, int], types: Sequence[Symmetric]) -> None:
        self.any = bool(types)
        anatomy = Anatomy(types)
        base = [sum(t.size for t in types[:k]) for k in range(len(types))]
        self.anchors: list[tuple[int, Type, list[list[int]]]] = []
        self.own: list[list[tuple[int, Type]]] = [[] for t in types for _ in range(t.size)]
        for (at, held), slot in zip(_starts(system, offsets), slots(system.variables), strict=True):
            indices = [(k, i) for t, o in slot.index for _, k, i in anatomy.ordinal_namings(t, o)]
            if not indices and anatomy.concerned(slot.type) and is_scalar(slot.type):
                named = [
                    [base[k] + i for _, k, i in anatomy.ordinal_namings(slot.type, o)]
                    for o in range(cardinality(slot.type))
                ]
                self.anchors.append((at, held, named))
            elif len(indices) == 1 and not anatomy.concerned(slot.type):
                if not is_plain(slot.type):
                    raise Limit("queues in what an identity of a symmetric type indexes")
                k, i = indices[0]
                self.own[base[k] + i].append((at, held))

    def tables(self) -> list[str]:
        names: list[int] = []
        begin: list[int] = []
        first: list[int] = []
        for _, _, named in self.anchors:
            first.append(len(begin))
            for ids in named:
                begin.append(len(names))
                names += ids
        own = [place for places_ in self.own for place in places_]
        ends = [sum(map(len, self.own[:i])) for i in range(len(self.own) + 1)]
        return [
            f"#define N_ANCHORS {len(self.anchors)}",
            _table("int", "anchor_at", [at for at, _, _ in self.anchors]),
            _table("uint64_t", "anchor_mask", _masks(t for _, t, _ in self.anchors)),
            _table("int", "anchor_names", first),
            _table("int", "name_begin", [*begin, len(names)]),
            _table("uint16_t", "name_of", names),
            _table("int", "own_begin", ends),
            _table("int", "own_at", [at for at, _ in own]),
            _table("uint64_t", "own_mask", _masks(t for _, t in own)),
        ]


class _Members:
    """What `sets_mentions` looks at, as in `Sets.mentions`: slots that concern members, by index or by value."""

    def __init__(self, system: System, offsets: dict[str, int], types: Sequence[Symmetric]) -> None:
        self.types = types
        anatomy = Anatomy(types)
        self.rows: list[tuple[int, Type, list[int], list[list[int]] | None]] = []
        for (at, held), slot in zip(_starts(system, offsets), slots(system.variables), strict=True):
            index = [0] * len(types)
            indices = [(k, i) for t, o in slot.index for _, k, i in anatomy.ordinal_namings(t, o)]
            for k, i in indices:
                index[k] |= 1 << i
            look: list[list[int]] | None = None
            if anatomy.concerned(slot.type):
                if not is_scalar(slot.type):
                    raise Limit("members in sets or queues")
                look = []
                for o in range(cardinality(slot.type)):
                    row = [0] * len(types)
                    for _, k, i in anatomy.ordinal_namings(slot.type, o):
                        row[k] |= 1 << i
                    look.append(row)
            if indices or look is not None:
                if not is_plain(slot.type):
                    raise Limit("queues in what a member indexes")
                self.rows.append((at, held, index, look))

    def tables(self) -> list[str]:
        looked: list[list[int]] = []
        first: list[int] = []
        for _, _, _, look in self.rows:
            first.append(-1 if look is None else len(looked))
            looked += look or []
        n = max(1, len(self.types))
        return [
            f"#define N_SLOTS {len(self.rows)}",
            _table("int", "slot_at", [at for at, _, _, _ in self.rows]),
            _table("uint64_t", "slot_mask", _masks(t for _, t, _, _ in self.rows)),
            _table("int", "slot_look", first),
            f"static const uint64_t slot_index[][{n}] = {{ {_rows(index for _, _, index, _ in self.rows)} }};",
            f"static const uint64_t look[][{n}] = {{ {_rows(looked)} }};",
        ]


def _rows(rows: Iterable[Sequence[int]]) -> str:
    return ", ".join("{ " + (", ".join(f"{n}ull" for n in row) or "0") + " }" for row in rows) or "{ 0 }"


def member_slots(bound: Bound, members: Sequence[Symmetric]) -> list[int]:
    """The numbers of the slots that `sets_mentions` looks at, in its order."""
    anatomy = Anatomy(members)
    out = []
    for number, slot in enumerate(slots(bound.system.variables)):
        indexed = any(anatomy.ordinal_namings(t, o) for t, o in slot.index)
        if indexed or anatomy.concerned(slot.type):
            out.append(number)
    return out

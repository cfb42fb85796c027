"""C for the findings about locks: who holds what, and at which waits threads stand (locks.c does the rest).

Lock elements are numbered lock by lock, thread instances thread by thread, by the ordinals of their indices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path

from hmmspec.checker.explicit.lock_table import waits
from hmmspec.checker.explicit.locks import standing
from hmmspec.checker.native.exprs import Exprs, Scope, comment, low_of
from hmmspec.checker.native.rules import Rules, has_choice
from hmmspec.checker.native.values import is_plain, minus
from hmmspec.diagnostics import Limit
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.layout import bits
from hmmspec.system.types import Array, Set, ThreadId, Type, Union, cardinality, from_ordinal, project

LOCKS = Path(__file__).with_name("locks.c")
MOST_ELEMENTS = 1024
MOST_INSTANCES = 4096


@dataclass(frozen=True)
class LockText:
    """heading: macros that the engine needs; text: the rest, behind the rules; elements: how many lock elements (none
    where no step waits for one)."""

    heading: tuple[str, ...]
    text: tuple[str, ...]
    elements: int


class _Numbers:
    """The numbering of lock elements and thread instances."""

    def __init__(self, system: core.System) -> None:
        self.elements: dict[str, int] = {}
        count = 0
        for lock in system.locks:
            self.elements[lock.name] = count
            count += prod(cardinality(t) for t in lock.index)
        self.count = count
        self.instances: dict[str, int] = {}
        people = 0
        for thread in system.threads:
            self.instances[thread.name] = people
            people += prod(cardinality(t) for t in thread.index)
        self.people = people

    def instance(self, t: Type, value: int) -> int:
        """The instance that an owner value names; -1 for none."""
        if isinstance(t, Union):
            number, inner = project(t, value)
            assert isinstance(inner, int)
            return self.instance(t.members[number], inner)
        # A lock that no thread takes has an owner type of a thread that does not exist.
        return self.instances[t.thread] + value if isinstance(t, ThreadId) and t.thread in self.instances else -1


def lock_text(system: core.System, exprs: Exprs, finding: int) -> LockText:
    """C for the locks of a system; `finding` is the number of `lock_cycle`.  Raises Limit where they are too many."""
    waiting = [r for r in system.rules if r.thread is not None and any(True for _ in waits(r.body))]
    numbers = _Numbers(system)
    if not system.locks or not waiting:
        return LockText(("#define HAS_LOCKS 0",), (), 0)
    if numbers.count > MOST_ELEMENTS or numbers.people > MOST_INSTANCES:
        raise Limit(f"more than {MOST_ELEMENTS} locks or {MOST_INSTANCES} threads")
    flags = ", ".join(str(int(r in waiting)) for r in system.rules)
    heading = (
        "#define HAS_LOCKS 1",
        f"#define HAS_READERS {int(any(k.readers is not None for k in system.locks))}",
        f"#define N_ELEMENTS {numbers.count}",
        f"#define ELEMENT_WORDS {-(-numbers.count // 64)}",
        f"#define N_INSTANCES {numbers.people}",
        f"#define INSTANCE_WORDS {-(-numbers.people // 64)}",
        f"#define FINDING_LOCK_CYCLE {finding}",
        f"static const unsigned char rule_waits[] = {{ {flags} }};",
    )
    probes = _Probes(exprs, numbers)
    text = (
        LOCKS.read_text(encoding="utf-8"),
        *_held(system, exprs, numbers),
        *_instances(system, numbers),
        *(probes.probe(r, system) for r in waiting),
        *_dispatch(system, waiting, numbers),
    )
    return LockText(heading, text, numbers.count)


def _cells(system: core.System) -> Iterator[tuple[str, tuple[int, ...], E.Expr, bool]]:
    """What holds locks: (lock, index ordinals, the variable's element, whether it is a set of readers)."""
    for lock in system.locks:
        for name in (lock.owner, lock.readers):
            if name is None:
                continue
            v = system.variable(name)
            for way in product(*(range(cardinality(t)) for t in lock.index)):
                e: E.Expr = E.Var(v.name, v.type)
                for t, i in zip(lock.index, way, strict=True):
                    assert isinstance(e.type, Array)
                    e = E.Index(e, E.Const(from_ordinal(t, i), t), e.type.element)
                yield lock.name, way, e, name == lock.readers


def _held(system: core.System, exprs: Exprs, numbers: _Numbers) -> list[str]:
    """`locks_held` and `lock_holders`."""
    tables: dict[Type, str] = {}
    for _, _, e, readers in _cells(system):
        t = e.type.element if readers and isinstance(e.type, Set) else e.type
        tables.setdefault(t, f"instances_{len(tables)}")
    out = []
    for t, name in tables.items():
        members = ", ".join(str(numbers.instance(t, i)) for i in range(cardinality(t)))
        out.append(f"static const int {name}[] = {{ {members} }};")
    locks = {k.name: k for k in system.locks}
    counts, holders = [], []
    for lock, way, e, readers in _cells(system):
        number = 0
        for t, i in zip(locks[lock].index, way, strict=True):
            number = number * cardinality(t) + i
        number += numbers.elements[lock]
        value = exprs.expr(e, Scope())
        if not readers:
            counts.append(f"({value} != 0)")
            table = tables[e.type]
            holders.append(f"  {{ V v = {value}; if (v) add_bit(by[{number}].w, {table}[v]); }}")
            continue
        assert isinstance(e.type, Set)
        counts.append(f"({exprs.expr(E.Size(e), Scope())} != 0)")
        n, words = cardinality(e.type.element), bits(e.type) // 64
        held = f"V v[] = {{ {value} }};" if is_plain(e.type) else f"{exprs.values.name(e.type)} x = {value};"
        source = "(uint64_t)v[0]" if is_plain(e.type) or not words else "x.w[i / 64]"
        table = tables[e.type.element]
        test = f"if ({source} >> i % 64 & 1) add_bit(by[{number}].w, {table}[i]);"
        holders.append(f"  {{ {held} for (int i = 0; i < {n}; i++) {test} }}")
    return [
        *out,
        f"static int locks_held(const St *s) {{ return {' + '.join(counts)}; }}",
        "static void lock_holders(const St *s, Who *by) {",
        *holders,
        "}",
    ]


def _own(r: core.Rule) -> int:
    """How many combinations of a thread's own arguments there are to one instance."""
    return prod(cardinality(p.type) for p in r.params[r.index_arity :])


def _instances(system: core.System, numbers: _Numbers) -> list[str]:
    first = ", ".join("-1" if r.thread is None else str(numbers.instances[r.thread]) for r in system.rules)
    own = ", ".join(f"{_own(r)}ll" for r in system.rules)
    return [
        "static int instance_of(int rule, V number) {",
        f"  static const int first[] = {{ {first} }};",
        f"  static const V own[] = {{ {own} }};",
        "  return first[rule] < 0 ? -1 : first[rule] + (int)(number / own[rule]);",
        "}",
    ]


def _dispatch(system: core.System, waiting: list[core.Rule], numbers: _Numbers) -> list[str]:
    cases = [f"  case {r.number}: probe_{r.number}(c, s, k, number); break;" for r in waiting]
    each: list[str] = []
    for t in system.threads:
        first = numbers.instances[t.name]
        own = [r for r in waiting if r.thread == t.name]
        if not own:
            continue
        people = prod(cardinality(i) for i in t.index)
        each.append(f"  if (who >= {first} && who < {first + people}) {{")
        for r in own:
            n = _own(r)
            loop = f"for (V i = 0; i < {n} && !k->out; i++)"
            each.append(f"    {loop} probe_{r.number}(c, s, k, (V)(who - {first}) * {n} + i);")
        each.append("  }")
    return [
        "static void probe(Ctx *c, const St *s, Locks *k, int rule, V number) {",
        "  switch (rule) {",
        *cases,
        "  default: break;",
        "  }",
        "}",
        "static void probe_all(Ctx *c, const St *s, Locks *k, int who) {",
        *each,
        "  (void)c; (void)s; (void)k; (void)who;",
        "}",
    ]


class _Probes(Rules):
    """Rules that tell at which waits they stand instead of what they lead to.

    `k->out` is set where some way does not end at a wait for a lock.
    """

    def __init__(self, exprs: Exprs, numbers: _Numbers) -> None:
        super().__init__(exprs)
        self.numbers = numbers

    def probe(self, r: core.Rule, system: core.System) -> str:
        """`probe_N` for one combination of arguments, by number.  The guard is asked for where the thread stands."""
        scope = Scope()
        lines: list[str] = []
        rest = 1
        for p in reversed(r.params):
            x = self.exprs.fresh(p.name)
            n = cardinality(p.type)
            lines.append(f"  const V {x} = {self.values.nth(p.type, f'(number / {rest} % {n})')}; (void){x};")
            scope = scope.bind(p.name, x)
            rest *= n
        guard = self.exprs.expr(standing(r.guard, system), scope)
        return "\n".join(
            [
                f"/* {comment(r.name)}: its waits */",
                f"static void probe_{r.number}(Ctx *c, const St *s, Locks *k, V number) {{",
                *lines,
                f"  if (!{guard}) {{ (void)number; c->fault = 0; return; }}",
                *self._waits(r, scope),
                "}",
            ]
        )

    def _waits(self, r: core.Rule, scope: Scope) -> list[str]:
        body = self.block(r.body, replace(scope, state="&t"), "break")
        gone = "    if (c->fault || c->failed) { k->out = 1; c->fault = c->failed = 0; }"
        if not has_choice(r.body):
            return ["    do { St t = *s;", *body, "    k->out = 1; (void)t; } while (0);", gone]
        return [
            "    c->script_length = 0;",
            "    do { c->at = 0; do { St t = *s;",
            *body,
            "    k->out = 1; (void)t; } while (0);",
            gone,
            "    } while (next_script(c));",
        ]

    def statement(self, s: core.Stmt, scope: Scope, leave: str) -> tuple[list[str], Scope]:
        if not isinstance(s, core.Guard):
            return super().statement(s, scope, leave)
        e, x = self.exprs, self.exprs.fresh("over")
        lines = [f"    V {x} = {e.expr(s.condition, scope)};", *self.check_fault((s.condition,), leave)]
        if s.waits is None:
            return [*lines, f"    if (!{x}) {{ k->out = 1; {leave}; }}"], scope
        number = "0ll"
        for i in s.waits.index:
            number = f"({number} * {cardinality(i.type)} + ({e.expr(i, scope)}{minus(low_of(i.type))}))"
        first = self.numbers.elements[s.waits.lock]
        return [*lines, f"    wait_for(k, {first} + {number}, {x} != 0);", f"    if (!{x}) {leave};"], scope

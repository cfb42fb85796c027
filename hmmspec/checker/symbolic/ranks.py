"""No cyclic wait, for any number of threads and locks: by an order of the locks that every thread keeps.

Where threads wait for one another in a circle, each holds the lock that the one before it waits for.  So there is no
circle if the locks have an order in which everyone who waits for one holds only locks before it.  Locks of an array
over a type with bounds are told apart, those over a type without are all at one place.  Whoever only tries a lock
waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from hmmspec.checker.explicit.lock_table import waits
from hmmspec.checker.explicit.locks import standing
from hmmspec.checker.symbolic.cells import Id, Wording, name_of
from hmmspec.checker.symbolic.evaluate import Scope
from hmmspec.checker.symbolic.formulas import FALSE, Formula
from hmmspec.checker.symbolic.open_encoding import OpenEncoding
from hmmspec.checker.symbolic.open_steps import Wait
from hmmspec.checker.symbolic.steps import Step
from hmmspec.system import expr as E
from hmmspec.system.system import LockInfo, Rule, System, ThreadInfo
from hmmspec.system.types import (
    BOOL,
    Array,
    Enum,
    Set,
    ThreadId,
    Type,
    Union,
    cardinality,
    show_value,
    values,
)

Satisfiable = Callable[[Sequence[Formula]], bool | None]

MOST_PLACES = 16  # of one array of locks; a larger one is all at one place
ME = " me"  # a name that no spec has


@dataclass(frozen=True)
class Rank:
    """The locks in an order in which they are taken."""

    order: tuple[str, ...]


@dataclass(frozen=True)
class NoRank:
    """Two locks that have no order, and who takes the second while it holds the first."""

    pair: tuple[str, str]
    reason: str


@dataclass(frozen=True, order=True)
class Place:
    """Some locks, at one place in the order: a lock, or those of an array with this index where it has bounds.

    read_too: of an rwlock; shared: held to read.
    """

    lock: str
    index: tuple[object, ...]  # None: any
    shown: str
    read_too: bool = False
    shared: bool = False

    def __str__(self) -> str:
        return f"read {self.shown}" if self.shared else self.shown


@dataclass(frozen=True)
class Attempt:
    """Someone waits for `wanted` (`read`: to read it) while it holds `held`: `condition` says when."""

    rule: Rule
    held: Place
    wanted: Place
    read: bool
    condition: Formula

    def follows(self, order: Sequence[str]) -> bool:
        """Whether what is held comes before what is waited for.  An order tells readers apart or it does not."""
        if any(name.startswith("read ") for name in order):
            return all(order.index(str(self.held)) < order.index(str(w)) for w in self.blockers())
        return order.index(self.held.shown) < order.index(self.wanted.shown)

    def blockers(self) -> list[Place]:
        """Who holds what is waited for in one of these ways keeps the waiter out: readers do not wait for readers."""
        exclusive = replace(self.wanted, shared=False)
        return [exclusive] if self.read or not self.wanted.read_too else [exclusive, replace(self.wanted, shared=True)]

    def __str__(self) -> str:
        what = f"another {self.wanted.shown}" if self.wanted.shown == self.held.shown else self.wanted.shown
        return f"{self.rule.name} waits for {what} while it holds {self.held}"


def rank(encoding: OpenEncoding, known: Sequence[Formula], satisfiable: Satisfiable) -> Rank | NoRank:
    """An order for the locks of a System.

    known: what holds in every state that is reached.  satisfiable: whether there is a state with all of this; None: not
    decided.  Raises Limit.
    """
    places = _Places(encoding)
    found = [(a, satisfiable([*known, a.condition])) for a in _attempts(encoding, places)]
    can = [a for a, answer in found if answer is not False]
    by_name = {(a.held.shown, a.wanted.shown): a for a in reversed(can)}
    order = _order([str(p) for p in places.all if not p.shared], list(by_name))
    if not isinstance(order, list):
        return Rank(order)
    by_mode = [(str(a.held), str(w)) for a in can for w in a.blockers()]
    finer = _order([str(p) for p in places.all], by_mode)
    if not isinstance(finer, list):
        return Rank(finer)
    circle = [by_name[edge] for edge in order]
    unsure = any(answer is None for a, answer in found if a in circle)
    said = "; ".join(map(str, circle)) + (" (not all of it was decided in time)" if unsure else "")
    return NoRank((circle[0].held.shown, circle[0].wanted.shown), said)


def obligations(encoding: OpenEncoding, order: Sequence[str]) -> Iterator[Attempt]:
    """What must not be, in any state that is reached, for this to be an order of the locks: whatever else may be
    waited for is in order."""
    return (a for a in _attempts(encoding, _Places(encoding)) if not a.follows(order))


def _order(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> tuple[str, ...] | list[tuple[str, str]]:
    """The names in an order that every edge follows, or else a shortest circle of edges."""
    rest = list(dict.fromkeys(names))
    out: list[str] = []
    while rest:
        free = [n for n in rest if not any(b == n and a in rest for a, b in edges)]
        if not free:
            return min((c for n in rest if (c := _circle(n, edges))), key=len)
        out += free
        rest = [n for n in rest if n not in free]
    return tuple(out)


def _circle(start: str, edges: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A shortest way from here back to here."""
    found: dict[str, list[tuple[str, str]]] = {start: []}
    todo = [start]
    while todo:
        here = todo.pop(0)
        for a, b in edges:
            if a == here:
                if b == start:
                    return [*found[here], (a, b)]
                if b not in found:
                    found[b] = [*found[here], (a, b)]
                    todo.append(b)
    return []


# ---------------------------------------------------------------- who waits for what


def _attempts(encoding: OpenEncoding, places: _Places) -> Iterator[Attempt]:
    f = encoding.f
    for step, wait in waits_of(encoding):
        for wanted in places.of(wait.wait.lock):
            there = f.all([step.valid, wait.arrives, places.is_one(wait, wanted)])
            if there == FALSE:
                continue
            for held in places.all:
                both = encoding.v.logic.some_of(wait.names, f.both(there, places.holds(wait, held)))
                if both != FALSE:
                    yield Attempt(step.rule, held, wanted, wait.wait.read, both)


def waits_of(encoding: OpenEncoding) -> Iterator[tuple[Step, Wait]]:
    """Every place where a thread waits for a lock, whether it is scheduled or not."""
    system = encoding.system
    for r in system.rules:
        if r.thread is not None and any(True for _ in waits(r.body)):
            step = encoding.stepper.step(replace(r, guard=standing(r.guard, system)), encoding.state)
            for wait in encoding.stepper.waits:
                yield step, wait


class _Places:
    """The places of the locks of an encoding."""

    def __init__(self, encoding: OpenEncoding) -> None:
        self.encoding = encoding
        self.locks = {k.name: k for k in encoding.system.locks if isinstance(k.owner_type, Union)}
        self.all = [p for k in self.locks.values() for p in self._of_lock(k)]

    def of(self, lock: str) -> list[Place]:
        return [p for p in self.all if p.lock == lock and not p.shared]

    def _of_lock(self, k: LockInfo) -> Iterator[Place]:
        bounded = [not self.encoding.v.is_open(t) for t in k.index]
        total = 1
        for t, b in zip(k.index, bounded, strict=True):
            total *= cardinality(t) if b else 1
        fine = total <= MOST_PLACES
        options = [list(values(t)) if b and fine else [None] for t, b in zip(k.index, bounded, strict=True)]
        for index in product(*options):
            shown = k.name + "".join(
                f"[{'..' if x is None else show_value(t, x)}]" for t, x in zip(k.index, index, strict=True)
            )
            read_too = k.readers is not None
            yield Place(k.name, index, shown, read_too)
            if read_too:
                yield Place(k.name, index, shown, read_too, True)

    def is_one(self, wait: Wait, place: Place) -> Formula:
        """Whether what is waited for is at this place."""
        v = self.encoding.v
        return self.encoding.f.all(
            v.equal(t, here, v.constant(t, x))
            for t, here, x in zip(self.locks[place.lock].index, wait.index, place.index, strict=True)
            if x is not None
        )

    def holds(self, wait: Wait, place: Place) -> Formula:
        """Whether who waits holds some lock at this place."""
        me = E.Local(ME, self.locks[wait.wait.lock].owner_type)
        scope = Scope(wait.state, None, {ME: wait.me})
        found, wrong = self.encoding.e.evaluate(_held(self.encoding.system, self.locks[place.lock], me, place), scope)
        held: Formula = self.encoding.f.both(found, wrong ^ 1)  # an error: no thread of this kind takes it
        return held


def _held(system: System, k: LockInfo, me: E.Expr, place: Place) -> E.Expr:
    """That `me` holds some lock at a place."""
    binders: list[E.Binder] = []
    index: list[E.Expr] = []
    for i, (t, x) in enumerate(zip(k.index, place.index, strict=True)):
        if x is None:
            binders.append(E.Binder(f" {i}", t, E.OverType(t)))
        index.append(E.Local(f" {i}", t) if x is None else E.Const(x, t))
    body = _is_held(system, k, me, index, place.shared)
    return E.Quant("exists", tuple(binders), None, body, BOOL) if binders else body


def _is_held(system: System, k: LockInfo, me: E.Expr, index: Sequence[E.Expr], shared: bool) -> E.Expr:
    if not shared:
        owner = _element(system, k.owner, index)
        return E.Compare("==", owner, _cast(me, owner.type))
    assert k.readers is not None
    readers = _element(system, k.readers, index)
    assert isinstance(readers.type, Set)
    return E.InSet(_cast(me, readers.type.element), readers)


def _element(system: System, variable: str, index: Sequence[E.Expr]) -> E.Expr:
    e: E.Expr = E.Var(variable, system.variable(variable).type)
    for i in index:
        assert isinstance(e.type, Array)
        e = E.Index(e, i, e.type.element)
    return e


def _cast(e: E.Expr, t: Type) -> E.Expr:
    return e if e.type == t else E.Cast(e, t)


# ---------------------------------------------------------------- what helps


def empty_hands(system: System) -> Iterator[E.Expr]:
    """Candidates for invariants: a thread that stands at this label holds none of these locks (to read, to write).

    What a thread holds is told by where it stands; a rank needs to know.
    """
    taken = Wording(system).taken
    for t in system.threads:
        me_type = ThreadId(t.name, t.index)
        for k in system.locks:
            if not isinstance(k.owner_type, Union) or me_type not in k.owner_type.members:
                continue
            named = _named((*t.index, *k.index), taken)
            names, index = named[: len(t.index)], named[len(t.index) :]
            me = E.Cast(E.MakeThreadId(tuple(names), me_type), k.owner_type)
            binders = tuple(E.Binder(n.name, n.type, E.OverType(n.type)) for n in named)
            for shared in (False, True) if k.readers is not None else (False,):
                held = _is_held(system, k, me, index, shared)
                free = replace(held, op="!=") if isinstance(held, E.Compare) else E.Not(held)
                for stands in _stands(system, t, names):
                    body = E.Logic("=>", stands, free)
                    yield E.Quant("forall", binders, None, body, BOOL) if binders else body


def _named(types: Sequence[Type], taken: frozenset[str]) -> list[E.Local]:
    """A name for an element of each type: cpu_1, page_1, page_2; value_1 where the type has no name."""
    out: list[E.Local] = []
    for t in types:
        id_ = Id(getattr(t, "name", None) or "value", sum(x.type == t for x in out))
        out.append(E.Local(name_of(id_, taken | {x.name for x in out}), t))
    return out


def _stands(system: System, t: ThreadInfo, names: Sequence[E.Expr]) -> Iterator[E.Expr]:
    """Where a thread may stand: at a label, or somewhere inside a procedure."""
    point = None if t.point is None else _element(system, t.point, names)
    place = _element(system, t.place, names)
    for label in range(len(t.labels)):
        here: E.Expr = E.Compare("==", place, E.Const(label, place.type))
        if point is not None:
            here = E.Logic("&&", here, E.Compare("==", point, E.Const(0, point.type)))
        yield here
    if point is not None:
        assert isinstance(point.type, Enum)
        for number in range(1, len(point.type.literals)):
            yield E.Compare("==", point, E.Const(number, point.type))


__all__ = ["Attempt", "NoRank", "Place", "Rank", "empty_hands", "obligations", "rank"]

"""Findings about locks: cyclic waits, and locks taken in both orders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import itemgetter

from hmmspec.checker.explicit.findings import Args, Finding, Findings
from hmmspec.checker.explicit.monitors import Faults, Steps
from hmmspec.checker.explicit.slots import Anatomy, slots
from hmmspec.system.expr import TRUE, Expr, Logic, Var, walk
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import Block, Either, For, Guard, IfElse, LockInfo, Rule, System
from hmmspec.system.types import Set, ThreadId, Type, Union, cardinality, from_ordinal, ordinal, project, show_value

# A thread instance as (thread, ordinal of its index), a lock element as (lock, index values).
Instance = tuple[str, int]
Element = tuple[str, tuple[object, ...]]


def show_element(lock: LockInfo, index: tuple[object, ...]) -> str:
    return lock.name + "".join(f"[{show_value(t, v)}]" for t, v in zip(lock.index, index, strict=True))


def waits(block: Block) -> Iterator[Guard]:
    """The guards in a block that wait for a lock."""
    for s in block:
        match s:
            case Guard() if s.waits is not None:
                yield s
            case IfElse(_, then, otherwise):
                yield from waits(then)
                yield from waits(otherwise)
            case For(_, _, body):
                yield from waits(body)
            case Either(branches):
                for b in branches:
                    yield from waits(b)
            case _:
                pass


@dataclass(frozen=True)
class _Held:
    """One slot of a lock's owner or readers variable."""

    slot: int
    element: Element
    type: Type

    def holders(self, value: object) -> list[Instance]:
        """Who holds it, given what is in the slot."""
        assert isinstance(value, int)
        t = self.type
        if isinstance(t, Set):
            elements = (from_ordinal(t.element, i) for i in range(cardinality(t.element)) if value >> i & 1)
            return [_instance(t.element, v) for v in elements]
        return [_instance(t, value)] if value else []


def _members(t: Type) -> tuple[Type, ...]:
    return t.members if isinstance(t, Union) else (t,)


def _instance(t: Type, value: int) -> Instance:
    if isinstance(t, Union):
        number, inner = project(t, value)
        assert isinstance(inner, int)
        return _instance(t.members[number], inner)
    assert isinstance(t, ThreadId)
    return (t.thread, value)


class LockTable:
    """Who holds which lock, read off packed states."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.locks = {k.name: k for k in system.locks}
        self.cells: list[_Held] = []
        owners = {k.owner: k for k in system.locks}
        readers = {k.readers: k for k in system.locks if k.readers is not None}
        for here, slot in enumerate(slots(system.variables)):
            lock = owners.get(slot.variable) or readers.get(slot.variable)
            if lock is not None:
                index = tuple(from_ordinal(t, o) for t, o in slot.index)
                self.cells.append(_Held(here, (lock.name, index), slot.type))
        places = [c.slot for c in self.cells]
        self._take = itemgetter(*places) if len(places) > 1 else itemgetter(slice(places[0], places[0] + 1))
        self.has_readers = bool(readers)
        self.threads = {t.thread: t for k in system.locks for t in _members(k.owner_type) if isinstance(t, ThreadId)}

    def values(self, s: State) -> tuple[object, ...]:
        """What is in the slots of all locks: all 0 where nothing is held."""
        return tuple(self._take(s))

    def held_by(self, values: tuple[object, ...], who: Instance) -> list[Element]:
        """The lock elements that an instance holds, in any mode."""
        return list(
            dict.fromkeys(c.element for c, v in zip(self.cells, values, strict=True) if v and who in c.holders(v))
        )

    def show_instance(self, who: Instance) -> str:
        return show_value(self.threads[who[0]], who[1])

    def show_element(self, element: Element) -> str:
        return show_element(self.locks[element[0]], element[1])


def instance_of(rule: Rule, args: Args) -> Instance:
    """Which thread instance a step belongs to."""
    assert rule.thread is not None
    number = 0
    for p, v in zip(rule.params[: rule.index_arity], args, strict=False):
        assert isinstance(v, int)
        number = number * cardinality(p.type) + ordinal(p.type, v)
    return rule.thread, number


class LockOrder:
    """Notes which lock is acquired while which other is held, up to renaming of identities."""

    def __init__(self, interp: Interpreter, findings: Findings) -> None:
        self.interp = interp
        self.system = interp.system
        self.table = LockTable(self.system)
        self.waiting = [any(True for _ in waits(r.body)) for r in self.system.rules]
        self.anatomy = Anatomy(self.system.symmetric)
        self._seen: set[object] = set()
        # canonical (held, acquired) -> where it was first seen
        self.edges: dict[object, tuple[Element, Element, Finding]] = {}

    def see(self, number: int, s: State, steps: Steps, faults: Faults) -> None:
        values = self.table.values(s)
        if not any(values):
            return
        rules = self.system.rules
        for rule, args, t in steps:
            if not self.waiting[rule]:
                continue
            after = self.table.values(t)
            key = (rule, args[: rules[rule].index_arity], values, after)
            if key in self._seen:
                continue
            self._seen.add(key)
            self._note(number, s, (rule, args, t), values, after)

    def _note(
        self,
        number: int,
        s: State,
        step: tuple[int, Args, State],
        values: tuple[object, ...],
        after: tuple[object, ...],
    ) -> None:
        who = instance_of(self.system.rules[step[0]], step[1])
        held = self.table.held_by(values, who)
        new = [e for e in self.table.held_by(after, who) if e not in held]
        if not held or not new:
            return
        # What the step took besides, by trylock, does not count.
        asked = {(a.lock, a.lock_index) for a in self.interp.lock_attempts(s, step[0]) if a.lock is not None and a.free}
        for acquired in new:
            if acquired not in asked:
                continue
            for h in held:
                key = self._pattern(h, acquired)
                if key not in self.edges:
                    self.edges[key] = (h, acquired, Finding(number, step=step))

    def _pattern(self, first: Element, second: Element) -> object:
        """The same for pairs that are renamings of one another."""
        names: dict[tuple[int, int], int] = {}
        out: list[object] = []
        for lock, index in (first, second):
            out.append(lock)
            for t, v in zip(self.table.locks[lock].index, index, strict=True):
                out.append(self.anatomy.erase(t, v))
                for role, k, i in self.anatomy.namings(t, v):
                    out.append((role, k, names.setdefault((k, i), len(names))))
        return tuple(out)

    def both_orders(self) -> list[Finding]:
        """One finding for each pair of locks that is taken in both orders."""
        out: list[Finding] = []
        done: set[object] = set()
        for key, (held, acquired, found) in self.edges.items():
            back = self._pattern(acquired, held)
            if back not in self.edges or key in done:
                continue
            done.update((key, back))
            other = self.edges[back]
            out.append(replace(found, message=self._say(held, acquired, found, other)))
        return out

    def _say(self, held: Element, acquired: Element, found: Finding, other: tuple[Element, Element, Finding]) -> str:
        show, rules = self.table.show_element, self.system.rules
        assert found.step is not None and other[2].step is not None
        here, there = rules[found.step[0]].name, rules[other[2].step[0]].name
        return (
            f"{show(held)} and {show(acquired)} are taken in both orders: {here} takes {show(acquired)} while holding"
            f" {show(held)}, {there} takes {show(other[1])} while holding {show(other[0])}"
        )


class CyclicWaits:
    """Looks for threads that wait for locks which they hold among themselves.

    What counts is what the threads want, not whether they are scheduled: guards are asked without their `runs when`.
    """

    def __init__(self, interp: Interpreter, findings: Findings) -> None:
        self.findings = findings
        self.system = interp.system
        self.table = LockTable(self.system)
        waiting = [r for r in self.system.rules if r.thread is not None and any(True for _ in waits(r.body))]
        self.rules = [r.number for r in waiting]
        places = frozenset(v.name for v in self.system.variables if v.kind in ("label", "point"))
        wanted = {r.number: replace(r, guard=_where(r.guard, places)) for r in waiting}
        self.probe = (
            Interpreter(replace(self.system, rules=tuple(wanted.get(r.number, r) for r in self.system.rules)))
            if any(wanted[r.number].guard != r.guard for r in waiting)
            else interp
        )
        self.known: set[str] = set()

    def see(self, number: int, s: State, steps: Steps, faults: Faults) -> None:
        values = self.table.values(s)
        held = len(values) - values.count(0)
        if held == 0 or (held == 1 and not self.table.has_readers) or self.findings.full("lock_cycle"):
            return
        rules = self.system.rules
        moving = {instance_of(rules[r], args) for r, args, _ in (*steps, *faults) if rules[r].thread is not None}
        stuck = self._stuck(s, moving)
        while True:
            out = [who for who, ways in stuck.items() if not all(any(h in stuck for h in hs) for _, hs in ways)]
            if not out:
                break
            for who in out:
                del stuck[who]
        if stuck:
            self.findings.add("lock_cycle", Finding(number, message=self._say(stuck)))

    def _stuck(self, s: State, moving: set[Instance]) -> dict[Instance, list[tuple[Element, list[Instance]]]]:
        """The threads that can do nothing but wait for locks: what they wait for, and who holds it."""
        blocked: dict[Instance, list[tuple[Element, list[Instance]]]] = {}
        out: set[Instance] = set(moving)
        values = self.table.values(s)
        holders: dict[Element, list[Instance]] = {}
        for cell, v in zip(self.table.cells, values, strict=True):
            holders.setdefault(cell.element, []).extend(cell.holders(v))
        for number in self.rules:
            attempts = self.probe.lock_attempts(s, number)
            if not attempts:
                continue
            rule = self.system.rules[number]
            out.update(instance_of(rule, args) for args in self.probe.enabled(s, number))
            for a in attempts:
                if a.free:
                    continue
                who = instance_of(rule, a.args)
                if a.lock is None:
                    out.add(who)
                else:
                    element = (a.lock, a.lock_index)
                    blocked.setdefault(who, []).append((element, holders[element]))
        return {who: ways for who, ways in blocked.items() if who not in out}

    def _say(self, stuck: dict[Instance, list[tuple[Element, list[Instance]]]]) -> str:
        # Every member has a holder among the members: following them leads into a circle.
        line = [next(iter(stuck))]
        hops: list[tuple[Element, Instance]] = []
        while True:
            element, holders = stuck[line[-1]][0]
            holder = next(h for h in holders if h in stuck)
            hops.append((element, holder))
            if holder in line:
                break
            line.append(holder)
        first = line.index(hops[-1][1])
        show, name = self.table.show_element, self.table.show_instance
        return "; ".join(
            f"{name(who)} waits for {show(element)}, held by {name(holder)}"
            for who, (element, holder) in list(zip(line, hops, strict=True))[first:]
        )


def _where(guard: Expr, places: frozenset[str]) -> Expr:
    """The part of a thread step's guard that says where the thread stands."""
    parts: list[Expr] = []

    def split(e: Expr) -> None:
        if isinstance(e, Logic) and e.op == "&&":
            split(e.left)
            split(e.right)
        else:
            parts.append(e)

    split(guard)
    kept: Expr = TRUE
    for e in parts:
        if any(isinstance(x, Var) for x in walk(e)) and all(x.name in places for x in walk(e) if isinstance(x, Var)):
            kept = e if kept == TRUE else Logic("&&", kept, e)
    return kept

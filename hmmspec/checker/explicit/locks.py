"""Findings about locks: cyclic waits, and locks taken in both orders."""

from __future__ import annotations

from dataclasses import replace

from hmmspec.checker.explicit.findings import Args, Finding, Findings
from hmmspec.checker.explicit.lock_table import Element, Instance, LockTable, instance_of, waits
from hmmspec.checker.explicit.monitors import Faults, Steps
from hmmspec.checker.explicit.slots import Anatomy, slots
from hmmspec.system.expr import TRUE, Expr, Logic, Var, walk
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import Rule, System, ThreadInfo


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
            if self._noted(number, s, (rule, args, t), values, after):
                self._seen.add(key)

    def _noted(
        self,
        number: int,
        s: State,
        step: tuple[int, Args, State],
        values: tuple[object, ...],
        after: tuple[object, ...],
    ) -> bool:
        """Note what the step shows; whether one like it, with the same locks held before and after, shows no more."""
        who = instance_of(self.system.rules[step[0]], step[1])
        held = self.table.held_by(values, who)
        new = [e for e in self.table.held_by(after, who) if e not in held]
        pairs = [(h, acquired, self._pattern(h, acquired)) for acquired in new for h in held]
        if all(key in self.edges for _, _, key in pairs):
            return True
        # What the step took besides, by trylock, does not count.
        attempts = (a for a in self.interp.lock_attempts(s, step[0]) if a.args == step[1])
        asked = {(a.lock, a.lock_index) for a in attempts if a.lock is not None and a.free}
        for h, acquired, key in pairs:
            if acquired in asked and key not in self.edges:
                self.edges[key] = (h, acquired, Finding(number, step=step))
        return all(acquired in asked for acquired in new)

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
        # With other identities the same step may take them the other way round.
        first, second = (held, acquired) if other[:2] == (held, acquired) else other[1::-1]
        return (
            f"{show(held)} and {show(acquired)} are taken in both orders: {here} takes {show(acquired)} while holding"
            f" {show(held)}, {there} takes {show(first)} while holding {show(second)}"
        )


class _Standing:
    """Where the instances of one thread stand, read off packed states."""

    def __init__(self, thread: ThreadInfo, system: System, waiting: list[Rule]) -> None:
        cells = slots(system.variables)
        self.place = next(i for i, c in enumerate(cells) if c.variable == thread.place)
        self.point = next((i for i, c in enumerate(cells) if c.variable == thread.point), None)
        own = [r for r in waiting if r.thread == thread.name]
        self.at = [[r.number for r in own if r.label == label] for label in thread.labels]
        self.inside = [r.number for r in own if r.label not in thread.labels]  # of a procedure

    def rules(self, s: State, instance: int) -> list[int]:
        if self.point is not None and s[self.point + instance]:
            return self.inside
        label = s[self.place + instance]
        assert isinstance(label, int)
        return self.at[label]


class CyclicWaits:
    """Looks for threads that wait for locks which they hold among themselves.

    What counts is what the threads want, not whether they are scheduled: guards are asked without their `runs when`.
    """

    def __init__(self, interp: Interpreter, findings: Findings) -> None:
        self.findings = findings
        self.system = interp.system
        self.table = LockTable(self.system)
        waiting = [r for r in self.system.rules if r.thread is not None and any(True for _ in waits(r.body))]
        wanted = {r.number: replace(r, guard=standing(r.guard, self.system)) for r in waiting}
        self.probe = (
            Interpreter(replace(self.system, rules=tuple(wanted.get(r.number, r) for r in self.system.rules)))
            if any(wanted[r.number].guard != r.guard for r in waiting)
            else interp
        )
        self._stands = {t.name: _Standing(t, self.system, waiting) for t in self.system.threads}
        self._anywhere = {
            name: [r.number for r in waiting if r.thread == name] for name in {r.thread for r in waiting if r.thread}
        }
        self._holders: dict[tuple[object, ...], frozenset[Instance]] = {}

    def see(self, number: int, s: State, steps: Steps, faults: Faults) -> None:
        values = self.table.values(s)
        held = len(values) - values.count(0)
        if held == 0 or (held == 1 and not self.table.has_readers) or self.findings.full("lock_cycle"):
            return
        # Where there is a circle, those in it that hold a lock are one too: nobody else need be looked at.
        holders = self._holders.get(values)
        if holders is None:
            holders = self._holders[values] = self.table.holders(values)
        if len(holders) < 2:
            return
        rules = self.system.rules
        moving = {instance_of(rules[r], args) for r, args, _ in (*steps, *faults) if rules[r].thread is not None}
        waiting = {who: self._rules(s, who) for who in holders if who not in moving}
        asked = {who: numbers for who, numbers in waiting.items() if numbers}
        if len(asked) < 2:
            return
        stuck = self._stuck(s, values, asked)
        while True:
            out = [who for who, ways in stuck.items() if not all(any(h in stuck for h in hs) for _, hs in ways)]
            if not out:
                break
            for who in out:
                del stuck[who]
        if stuck:
            self.findings.add("lock_cycle", Finding(number, message=self._say(stuck)))

    def _rules(self, s: State, who: Instance) -> list[int]:
        """The steps with waits that the thread instance may stand before."""
        stands = self._stands.get(who[0])
        return self._anywhere.get(who[0], []) if stands is None else stands.rules(s, who[1])

    def _stuck(
        self, s: State, values: tuple[object, ...], asked: dict[Instance, list[int]]
    ) -> dict[Instance, list[tuple[Element, list[Instance]]]]:
        """Those asked that can do nothing but wait for locks: what they wait for, and who holds it."""
        blocked: dict[Instance, list[tuple[Element, list[Instance]]]] = {}
        out: set[Instance] = set()
        holders: dict[Element, list[Instance]] = {}
        for cell, v in zip(self.table.cells, values, strict=True):
            holders.setdefault(cell.element, []).extend(cell.holders(v))
        for number in sorted({n for numbers in asked.values() for n in numbers}):
            rule = self.system.rules[number]
            out.update(instance_of(rule, args) for args in self.probe.enabled(s, number))
            for a in self.probe.lock_attempts(s, number):
                if a.free:
                    continue
                who = instance_of(rule, a.args)
                if a.lock is None:
                    out.add(who)
                else:
                    element = (a.lock, a.lock_index)
                    blocked.setdefault(who, []).append((element, holders[element]))
        return {who: ways for who, ways in blocked.items() if who in asked and who not in out}

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


def standing(guard: Expr, system: System) -> Expr:
    """The part of a thread step's guard that says where the thread stands."""
    places = frozenset(v.name for v in system.variables if v.kind in ("label", "point"))
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

"""Run a trace again: is it what the spec does, and does it show what it is said to show?

Reads only the plain data of a `Trace` (names and shown values), so it also checks traces that were saved to a file or
come from another engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from hmmspec.checker.explicit.edges import Units
from hmmspec.checker.explicit.findings import Findings
from hmmspec.checker.explicit.locks import CyclicWaits
from hmmspec.checker.explicit.monitors import DeadlockMonitor
from hmmspec.checker.explicit.temporal import bindings, sides
from hmmspec.checker.trace import Step, changes, show_args
from hmmspec.checker.verdict import Trace, TraceStep
from hmmspec.system.expr import Expr
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import Invariant, LeadsTo, Property, Reachable, Recoverable, StepProperty, System


def verify(system: System, trace: Trace, property: str | None = None) -> list[str]:
    """What does not fit, in words; nothing if the trace is a run of the system.

    property: also check that the run violates (or, for a `reachable`, shows) this property or built-in finding.
    """
    check = _Check(system, trace)
    check.follow()
    if property is not None and not check.wrong:
        check.shows(property)
    return check.wrong


class _Check:
    def __init__(self, system: System, trace: Trace) -> None:
        self.system, self.trace = system, trace
        self.interp = Interpreter(system)
        self.wrong: list[str] = []
        self.states: list[State] = []
        self.steps: list[Step] = []
        self.start_errs = False

    # ------------------------------------------------------------ is it a run

    def follow(self) -> None:
        trace = self.trace
        try:
            start = self.interp.start_of(trace.initial)
            erred = start is None and not trace.initial and self._start_errs()
        except SpecFault:
            start, erred = None, True
        if start is None:
            self.start_errs = erred
            if not erred or trace.initial:
                self.wrong.append("the first state is no start of the spec" + self._nearest(trace.initial))
            return
        self.states = [start]
        for number, step in enumerate(trace.steps, 1):
            found = self._step(number, step)
            if found is None:
                return
            self.steps.append(found)
            self.states.append(found[2])
        if trace.final is not None and not self._final(trace.final):
            self.wrong.append(f"after step {len(trace.steps)}: no {trace.final.rule} ends in an error here")
        if trace.loop is not None:
            self._loop(trace.loop)

    def _start_errs(self) -> bool:
        """A first value errs, or else, by the SpecFault that is raised, an assume in some start state."""
        for _ in self.interp.initial():
            pass
        return self.interp.initial_fault is not None

    def _nearest(self, cells: Mapping[str, str]) -> str:
        try:
            first = next(self.interp.initial(), None)
        except SpecFault:
            return ""
        if first is None:
            return ""
        known = self.interp.cells(first)
        strange = sorted(set(cells) ^ set(known))
        if strange:
            return f": there is no cell {strange[0]}" if strange[0] in cells else f": {strange[0]} is missing"
        return ": " + ", ".join(f"{c.cell} is {c.after}, not {c.before}" for c in changes(known, cells)[:3])

    def _candidates(self, step: TraceStep) -> Iterator[Step]:
        for rule, args, after in self.interp.expand(self.states[-1])[0]:
            r = self.system.rules[rule]
            if r.name == step.rule and show_args(r, args) == tuple(tuple(a) for a in step.args):
                yield rule, args, after

    def _step(self, number: int, step: TraceStep) -> Step | None:
        candidates = list(self._candidates(step))
        wanted = dict(step.cells)
        for c in candidates:
            if self.interp.cells(c[2]) == wanted:
                return c
        shown = ", ".join(f"{n} = {v}" for n, v in step.args)
        if not candidates:
            self.wrong.append(f"step {number}: {step.rule}({shown}) is not possible here")
        else:
            differ = changes(self.interp.cells(candidates[0][2]), wanted)
            said = ", ".join(f"{c.cell} = {c.after or 'nothing'} (really {c.before})" for c in differ[:3])
            self.wrong.append(f"step {number}: {step.rule}({shown}) does not lead to {said}")
        return None

    def _final(self, final: TraceStep) -> set[str]:
        """The properties that the failing step breaks: it may fail in several ways."""
        found = set()
        for rule, args, fault in self.interp.expand(self.states[-1])[1]:
            r = self.system.rules[rule]
            if r.name == final.rule and show_args(r, args) == tuple(tuple(a) for a in final.args):
                found.add(fault.name)
        return found

    def _loop(self, loop: int) -> None:
        if not 0 <= loop <= len(self.trace.steps):
            self.wrong.append(f"there is no state {loop} to return to")
        elif self.states[loop] != self.states[-1]:
            self.wrong.append(f"the last state is not state {loop}: the loop does not close")
        else:
            self._fair(loop)

    def _fair(self, loop: int) -> None:
        """The loop is fair to every unit: weak and strong fairness as the spec has them."""
        units = Units(self.system)
        taken: set[int] = set()
        enabled: list[set[int]] = []
        for s in self.states[loop:]:
            steps, faults = self.interp.expand(s)
            enabled.append({u for rule, args, _ in (*steps, *faults) for u in units.sets[units.set_of(rule, args)]})
        for rule, args, _ in self.steps[loop:]:
            taken |= units.sets[units.set_of(rule, args)]
        always, ever = set.intersection(*enabled), set.union(*enabled)
        for u in sorted((always | {u for u in ever if units.strong(u)}) - taken):
            entry, _ = units.keys[u]
            self.wrong.append(f"the loop is not fair to {self.system.fairness[entry].name}")

    # ------------------------------------------------------------ does it show the property

    def shows(self, name: str) -> None:
        found = next((p for p in self.system.properties if p.name == name), None)
        fits = self._property(found) if found is not None else self._built_in(name)
        if not fits:
            self.wrong.append(f"the run does not show {name}")

    def _property(self, p: Property) -> bool:
        last = self.states[-1]
        match p:
            case Invariant(_, _, body):
                return not self.interp.predicate(body)(last)
            case Reachable(_, _, body):
                return self.interp.predicate(body)(last)
            case StepProperty(_, _, body):
                return len(self.states) > 1 and not self.interp.step_predicate(body)(self.states[-2], last)
            case Recoverable(_, _, body):
                return self._never_again(self._calmly(body))
            case LeadsTo():
                return self._unanswered(p)
            case _:
                return self.trace.final is not None and p.name in self._final(self.trace.final)

    def _never_again(self, holds: Callable[[State], bool]) -> bool:
        seen, todo = {self.states[-1]}, [self.states[-1]]
        while todo:
            s = todo.pop()
            if holds(s):
                return False
            for _, _, t in self.interp.expand(s)[0]:
                if t not in seen:
                    seen.add(t)
                    todo.append(t)
        return True

    def _unanswered(self, p: LeadsTo) -> bool:
        """For some value of the binders P holds somewhere, and Q neither there nor ever after."""
        if self.trace.loop is None:
            return False
        for binding in bindings(self.interp, p, self.states, all_values=True):
            left, right = (self._calmly(e) for e in sides(p, binding))
            for at, s in enumerate(self.states):
                if left(s) and not any(right(t) for t in self.states[min(at, self.trace.loop) :]):
                    return True
        return False

    def _calmly(self, e: Expr) -> Callable[[State], bool]:
        """Whether it holds; where it errs, it does not (that is a finding of its own)."""
        holds = self.interp.predicate(e)

        def calm(s: State) -> bool:
            try:
                return holds(s)
            except SpecFault:
                return False

        return calm

    def _built_in(self, name: str) -> bool:
        if self.trace.final is not None:
            return name in self._final(self.trace.final)
        if not self.states:
            return name == "spec_error" and self.start_errs
        last, findings = self.states[-1], Findings()
        steps, faults = self.interp.expand(last)
        match name:
            case "deadlock":
                DeadlockMonitor(self.interp, findings).see(0, last, steps, faults)
                return bool(findings.of("deadlock") or findings.of("stuck"))
            case "lock_cycle":
                CyclicWaits(self.interp, findings).see(0, last, steps, faults)
                return bool(findings.of("lock_cycle"))
            case "spec_error":
                return self._some_property_errs()
            case _:
                return True

    def _some_property_errs(self) -> bool:
        last = self.states[-1]
        for p in self.system.properties:
            try:
                match p:
                    case Invariant(_, _, body) | Reachable(_, _, body) | Recoverable(_, _, body):
                        self.interp.predicate(body)(last)
                    case StepProperty(_, _, body) if len(self.states) > 1:
                        self.interp.step_predicate(body)(self.states[-2], last)
                    case LeadsTo():
                        for binding in bindings(self.interp, p, self.states, all_values=True):
                            for e in sides(p, binding):
                                self.interp.predicate(e)(last)
                    case _:
                        pass
            except SpecFault:
                return True
        for t in self.system.terminal:
            try:
                self.interp.predicate(t.body)(last)
            except SpecFault:
                return True
        return False

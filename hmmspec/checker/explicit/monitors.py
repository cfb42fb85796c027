"""What is looked at while the search runs: each new state, each expanded state with its steps.

All that is asked of a new state (invariants, goals of `reachable`, left sides of implications not yet seen true) is one
compiled predicate that is true where there is nothing to see; only where it is false does anything look closer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Literal, Protocol

from hmmspec.checker.explicit.findings import Args, Finding, Findings
from hmmspec.system.analyse import Analysis
from hmmspec.system.expr import TRUE, Expr, Logic, Not
from hmmspec.system.faults import Fault, SpecFault
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import Invariant, Reachable, StepProperty, System

Steps = list[tuple[int, Args, State]]
Faults = list[tuple[int, Args, Fault]]


class Monitor(Protocol):
    """Sees every expanded state once, with all steps out of it."""

    def see(self, number: int, s: State, steps: Steps, faults: Faults) -> None: ...


@dataclass
class Question:
    """One expression asked of every new state.  role: 'never false' (an invariant), 'once true' (a goal); can_err: it
    is asked of all states, since in some it may be a spec error."""

    name: str
    role: Literal["invariant", "reachable", "vacuity"]
    body: Expr
    holds: Callable[[State], bool]
    can_err: bool = False

    @property
    def quiet(self) -> Expr:
        return self.body if self.role == "invariant" else Not(self.body)


class StateQuestions:
    """The compiled question: `nothing_new(s)` is true where no open question has an answer worth noting (and may raise
    SpecFault); else `look(number, s)` notes it."""

    def __init__(self, interp: Interpreter, findings: Findings, antecedents: dict[str, Expr]) -> None:
        self.interp, self.findings = interp, findings
        self.open: list[Question] = []
        can_err = Analysis(interp.system).can_fault
        for p in interp.system.properties:
            if isinstance(p, Invariant):
                self.open.append(Question(p.name, "invariant", p.body, interp.predicate(p.body), can_err(p.body)))
            elif isinstance(p, Reachable):
                self.open.append(Question(p.name, "reachable", p.body, interp.predicate(p.body), can_err(p.body)))
        for name, e in antecedents.items():
            self.open.append(Question(name, "vacuity", e, interp.predicate(e)))
        self.answered: set[str] = set()  # vacuity questions seen true
        self._compile()

    def _compile(self) -> None:
        parts = [q.quiet for q in self.open]
        self.idle = not parts
        self.nothing_new = self.interp.truth(reduce(lambda a, b: Logic("&&", a, b), parts) if parts else TRUE)

    def look(self, number: int, s: State) -> None:
        """Answer each open question for this state; close those that need no more answers."""
        still: list[Question] = []
        for q in self.open:
            more = True
            try:
                holds = q.holds(s)
            except SpecFault as e:
                if q.role == "vacuity":
                    self.answered.add(q.name)  # it is not worth a warning where it cannot even be evaluated
                    continue
                self.findings.unjudged.add(q.name)
                message = f"in {q.role} '{q.name}'"
                self.findings.add("spec_error", Finding(number, error=e.fault, message=message))
                still.append(q)
                continue
            if (q.role == "invariant" and not holds) or (q.role == "reachable" and holds):
                more = self.findings.add(q.name, Finding(number))
            elif q.role == "vacuity" and holds:
                self.answered.add(q.name)
                more = False
            if more or q.can_err:
                still.append(q)
        if len(still) != len(self.open):
            self.open = still
            self._compile()


class StepMonitor:
    """Checks the step properties on every transition."""

    def __init__(self, interp: Interpreter, findings: Findings) -> None:
        self.findings = findings
        self.interp = interp
        can_err = Analysis(interp.system).can_fault
        self.can_err = {p.name for p in interp.system.properties if isinstance(p, StepProperty) and can_err(p.body)}
        self.open = [
            (p.name, p.body, interp.step_predicate(p.body))
            for p in interp.system.properties
            if isinstance(p, StepProperty)
        ]
        self._compile()

    def _compile(self) -> None:
        bodies = [body for _, body, _ in self.open]
        together = reduce(lambda a, b: Logic("&&", a, b), bodies) if bodies else TRUE
        self.all_hold = self.interp.truth(together, step=True)

    def see(self, number: int, s: State, steps: Steps, faults: Faults) -> None:
        if not self.open:
            return
        all_hold = self.all_hold
        for step in steps:
            try:
                fine = all_hold(s, step[2])
            except SpecFault:
                fine = False
            if not fine:
                self._look(number, s, step)
                all_hold = self.all_hold

    def _look(self, number: int, s: State, step: tuple[int, Args, State]) -> None:
        full = False
        for name, _, holds in self.open:
            try:
                if not holds(s, step[2]):
                    full |= not self.findings.add(name, Finding(number, step=step)) and name not in self.can_err
            except SpecFault as e:
                self.findings.unjudged.add(name)
                message = f"in step property '{name}'"
                self.findings.add("spec_error", Finding(number, step=step, error=e.fault, message=message))
        if full:
            self.open = [o for o in self.open if o[0] in self.can_err or not self.findings.full(o[0])]
            self._compile()


class DeadlockMonitor:
    """Judges states without a step: right where a `terminal` holds, or, without any, where all threads have stopped."""

    def __init__(self, interp: Interpreter, findings: Findings) -> None:
        self.interp, self.findings = interp, findings
        self.terminal = [(t, interp.predicate(t.body)) for t in interp.system.terminal]
        self.places = [(t.place, len(t.labels) - 1) for t in interp.system.threads]

    def see(self, number: int, s: State, steps: Steps, faults: Faults) -> None:
        if steps or faults or self.may_rest(number, s):
            return
        if self.interp.dropped_by_assume(s):
            self.findings.add("stuck", Finding(number))
        else:
            self.findings.add("deadlock", Finding(number))

    def may_rest(self, number: int, s: State) -> bool:
        """Whether it is right that nothing moves here."""
        for t, holds in self.terminal:
            try:
                if holds(s):
                    return True
            except SpecFault as e:
                message = f"in terminal '{t.name}'" if t.name else "in a terminal"
                self.findings.add_now("spec_error", Finding(number, error=e.fault, message=message))
                self.findings.unjudged.add("deadlock")
                return True
        if self.terminal or not self.places:
            return False
        return all(_all_equal(self.interp.read(s, place), stopped) for place, stopped in self.places)


def _all_equal(value: object, wanted: int) -> bool:
    if isinstance(value, tuple):
        return all(_all_equal(v, wanted) for v in value)
    return value == wanted


def has_step_properties(system: System) -> bool:
    return any(isinstance(p, StepProperty) for p in system.properties)

"""Is something kept by every step, in states with any number of identities?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import z3

from hmmspec.checker.symbolic.formulas import FALSE, Formula
from hmmspec.checker.symbolic.open_encoding import OpenEncoding
from hmmspec.checker.symbolic.samples import Instances, Sizes
from hmmspec.checker.symbolic.steps import Step
from hmmspec.checker.symbolic.translate import Translation
from hmmspec.system import expr as E
from hmmspec.system.analyse import Analysis

# Z3's own measure of its work, for each second that it is given: limits by it are the same on every machine.
WORK = 5_000_000
PATIENCE = 4  # times these seconds by the clock, at most
MOST = 4  # identities of each type in instances where something is looked for


@dataclass(frozen=True)
class Claim:
    """Something to keep: an expression over the state (`step`: over a step, that no step may break), or (`expr` None)
    the finding `name`, that no step may end in."""

    name: str
    expr: E.Expr | None
    step: bool = False


class Induction:
    """Questions about one encoding.  seconds: for each."""

    def __init__(self, encoding: OpenEncoding, instances: Instances, seconds: float = 5.0) -> None:
        self.encoding, self.instances, self.seconds = encoding, instances, seconds
        self.translation = Translation(encoding.f)
        self.f = encoding.f
        self._holds: dict[Claim, Formula] = {}
        self._bad: dict[tuple[Claim, int], Formula] = {}
        self._reads: dict[Claim, frozenset[str]] = {}
        self._analysis = Analysis(encoding.system)
        self.asked = 0
        self.spent = 0.0

    def holds(self, c: Claim) -> Formula:
        """The claim in the state, without an error."""
        if c not in self._holds:
            assert c.expr is not None
            found = self.encoding.before(c.expr)
            self._holds[c] = self.f.both(found.holds, found.wrong ^ 1)
        return self._holds[c]

    def broken(self, c: Claim, step: Step) -> Formula:
        """A step of this rule breaks the claim."""
        key = c, step.rule.number
        if key not in self._bad:
            if c.expr is None:
                self._bad[key] = self.f.any(x.condition for x in step.findings if x.name == c.name)
            else:
                found = self.encoding.across(c.expr, step) if c.step else self.encoding.after(c.expr, step)
                self._bad[key] = self.f.both(step.enabled, self.f.both(found.holds, found.wrong ^ 1) ^ 1)
        return self._bad[key]

    def _untouched(self, c: Claim, step: Step) -> bool:
        """Whether the claim is about nothing that the step changes."""
        if c.expr is None or c.step:
            return False
        if c not in self._reads:
            self._reads[c] = self._analysis.reads(c.expr)
        state = self.encoding.state
        return all(step.after[name] is state[name] for name in self._reads[c])

    def start_breaks(self, c: Claim) -> bool | None:
        """Whether the claim fails in some start state; None: not decided."""
        if c.step or c.expr is None:
            return False
        return self.satisfiable([self.encoding.start(), self.holds(c) ^ 1])

    def kept(self, claims: Iterable[Claim], step: Step, known: Iterable[Claim]) -> bool | Sizes | None:
        """Whether every step of the rule, out of states in which `known` holds, keeps these claims.  Sizes: one does
        not, with so many identities; None: not decided."""
        bad = self.f.any(self.broken(c, step) for c in claims if not self._untouched(c, step))
        if bad == FALSE:
            return True
        return self._refuted([*(self.holds(k) for k in known if not k.step and k.expr is not None), bad])

    def _refuted(self, formulas: Sequence[Formula]) -> bool | Sizes | None:
        answer, model = self._check(formulas)
        if answer != z3.sat:
            return True if answer == z3.unsat else None
        sizes = []
        for name in self.instances.every:
            sort = self.translation.sorts.get(name)
            universe = None if sort is None else model.get_universe(sort)
            sizes.append((name, min(MOST, max(1, len(universe or ())))))
        return Sizes(tuple(sizes))

    def satisfiable(self, formulas: Sequence[Formula]) -> bool | None:
        """Whether there is a state (and step) with all of this; None: not decided in time."""
        answer, _ = self._check(formulas)
        return None if answer == z3.unknown else bool(answer == z3.sat)

    def _check(self, formulas: Sequence[Formula]) -> tuple[Any, Any]:
        """What Z3 says, and its model: its bare solver, and where that does not know the one that simplifies first."""
        terms = [self.translation.term(f) for f in (self.encoding.axioms, *formulas)]
        begin = time.monotonic()
        for solver in (z3.SimpleSolver(), z3.Solver()):
            solver.set("rlimit", round(WORK * self.seconds))
            solver.set("timeout", round(1000 * PATIENCE * self.seconds))
            solver.add(*terms)
            answer = solver.check()
            if answer != z3.unknown:
                break
        self.spent += time.monotonic() - begin
        self.asked += 1
        return answer, solver.model() if answer == z3.sat else None

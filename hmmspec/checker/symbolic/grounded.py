"""Induction in one instance: quick questions to Z3 about plain boolean formulas.

Whatever is missing for a proof shows in small instances already; there it is looked for.  What is found is then shown
for all sizes by `induction`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hmmspec.checker.symbolic.cells import Slot, slots
from hmmspec.checker.symbolic.circuits import circuits
from hmmspec.checker.symbolic.encoding import Encoding
from hmmspec.checker.symbolic.evaluate import Scope
from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula
from hmmspec.checker.symbolic.lemmas import Lemma
from hmmspec.checker.symbolic.ranks import empty_hands
from hmmspec.checker.symbolic.samples import Sizes
from hmmspec.checker.symbolic.sat import Undecided
from hmmspec.system import expr as E
from hmmspec.system.analyse import Analysis
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import Invariant, Predicate, Reachable, Recoverable, StepProperty, System


@dataclass(frozen=True)
class Known:
    """A claim, whatever the size of the instance: a lemma; the invariant or step property of this name; that no step
    ends in the finding of this name; that judging the property `judged` is no error; the candidate `hands` of
    `empty_hands`.

    Names are unique.
    """

    name: str
    lemma: Lemma | None = None
    judged: str = ""
    hands: int = -1

    def __hash__(self) -> int:
        return hash(self.name)

    def expr(self, system: System) -> E.Expr | None:
        """The claim in an instance; None: a finding."""
        if self.lemma is not None:
            return self.lemma.expr(system)
        if self.hands >= 0:
            return list(empty_hands(system))[self.hands]
        if self.judged:
            body = next(p.body for p in judged(system) if p.name == self.judged)
            return E.Logic("||", body, E.Not(body))
        found = [p.body for p in system.properties if p.name == self.name and isinstance(p, Invariant | StepProperty)]
        return found[0] if found else None

    def is_step(self, system: System) -> bool:
        """Whether it is about steps, not states."""
        if self.lemma is not None or self.hands >= 0:
            return False
        name = self.judged or self.name
        states = (p.name for p in (*system.properties, *system.terminal) if not isinstance(p, StepProperty))
        return not any(n == name for n in states) or (not self.judged and self.expr(system) is None)


def judged(system: System) -> list[Invariant | StepProperty | Reachable | Recoverable | Predicate]:
    """What is judged in every state or on every step, and so must not be an error there."""
    kinds = Invariant | StepProperty | Reachable | Recoverable
    return [*(p for p in system.properties if isinstance(p, kinds)), *system.terminal]


@dataclass(frozen=True)
class Hole:
    """A step of a rule that breaks a claim, out of a state in which all claims hold.

    cells: those of the state (by place in `Grounded.slots`) that matter: with the same arguments and choices every
    state that agrees in them has such a step; queues: what is in these may matter, too, and is no cell.  Both are found
    by `Grounded.lifted`.
    """

    claim: Known
    rule: int
    state: State
    cells: tuple[int, ...] = ()
    queues: tuple[str, ...] = ()


class Grounded:
    """Questions about one instance.  They end after `until` (time.process_time()): TimeoutError."""

    def __init__(self, interp: Interpreter, sizes: Sizes, until: float) -> None:
        self.interp, self.sizes, self.until = interp, sizes, until
        self.encoding = Encoding(interp)
        self.f = self.encoding.f
        self.slots: list[Slot] = slots(interp.system)
        self._owner = {(s.cell.variable, a): i for i, s in enumerate(self.slots) for a in s.atoms}
        self._queued = set(self.encoding.atoms) - self._owner.keys()  # parts of queues
        self.circuit = circuits(self.f)
        self._holds: dict[Known, Formula] = {}
        self._bad: dict[tuple[Known, int], Formula] = {}
        self._worst: dict[Known, Formula] = {}
        self._reads: dict[Known, frozenset[str]] = {}
        self._exprs: dict[Known, E.Expr | None] = {}
        self._analysis = Analysis(interp.system)
        self._parts = list(dict.fromkeys(self.encoding.parts()))
        self.circuit.require(self.encoding.valid)
        self.asked = 0
        self._last: tuple[Formula, dict[int, bool]]

    # ------------------------------------------------------------ formulas

    def holds(self, c: Known) -> Formula:
        """The claim holds in the state, without an error (of a step or a finding: nothing)."""
        if c.is_step(self.interp.system):
            return TRUE
        if c not in self._holds:
            value, wrong = self.encoding.e.evaluate(self._expr(c), Scope(self.encoding.state))
            self._holds[c] = self.f.both(value, wrong ^ 1)
        return self._holds[c]

    def bad(self, c: Known, rule: int) -> Formula:
        """A step of the rule breaks the claim."""
        if (c, rule) not in self._bad:
            self._bad[c, rule] = self._made(c, rule)
        return self._bad[c, rule]

    def worst(self, c: Known) -> Formula:
        """Some step breaks the claim."""
        if c not in self._worst:
            self._worst[c] = self.f.any(self.bad(c, r) for r in range(len(self.encoding.steps)))
        return self._worst[c]

    def _made(self, c: Known, rule: int) -> Formula:
        step = self.encoding.steps[rule]
        e = self._expr(c)
        if e is None:
            return self.f.any(x.condition for x in step.findings if x.name == c.name)
        if not c.is_step(self.interp.system):
            if c not in self._reads:
                self._reads[c] = self._analysis.reads(e)
            state = self.encoding.state
            if all(step.after[name] is state[name] for name in self._reads[c]):
                return FALSE
            scope = Scope(step.after)
        else:
            scope = Scope(self.encoding.state, step.after)
        value, wrong = self.encoding.e.evaluate(e, scope)
        return self.f.both(step.enabled, self.f.both(value, wrong ^ 1) ^ 1)

    def _expr(self, c: Known) -> Any:
        if c not in self._exprs:
            self._exprs[c] = c.expr(self.interp.system)
        return self._exprs[c]

    # ------------------------------------------------------------ questions

    def _check(self, assumed: Sequence[Formula]) -> bool:
        if time.process_time() > self.until:
            raise TimeoutError
        self.asked += 1
        try:
            return self.circuit.solve(assumed)
        except Undecided:
            raise TimeoutError from None

    def needed(self, claims: Iterable[Known], c: Known) -> tuple[Known, ...] | None:
        """The claims that make every step keep c, or None: they do not."""
        bad = self.worst(c)
        if bad == FALSE:
            return ()
        by = {self.holds(k): k for k in claims}
        by.pop(TRUE, None)
        if self._check([*by, bad]):
            return None
        core = self.circuit.core()
        return tuple(k for f, k in by.items() if f in core)

    def hole(self, c: Known) -> Hole:
        """What was found when `needed` said None last."""
        bad = [self.bad(c, r) for r in range(len(self.encoding.steps))]
        rule = self.circuit.values(bad).index(True)
        leaves = self.circuit.values([2 * node for node in self.f.atoms])
        self._last = bad[rule], dict(zip(self.f.atoms, leaves, strict=True))
        parts = dict(zip(self._parts, self.circuit.values(self._parts), strict=True))
        return Hole(c, rule, self.interp.build(self.encoding.values(parts.__getitem__)))

    def lifted(self, hole: Hole) -> Hole:
        """The last hole with the cells that matter."""
        bad, _ = self._last
        leaves = (self.f.atoms[node] for node in self.f.below([bad]) if self.f.parts[node] is None and node)
        queued = [atom[0] for atom in leaves if atom in self._queued and isinstance(atom, tuple)]
        return replace(hole, cells=self._lifted(*self._last), queues=tuple(sorted(set(queued))))

    def _lifted(self, bad: Formula, holds: dict[int, bool]) -> tuple[int, ...]:
        """The cells that the formula needs to be as they are.  holds: of each leaf."""
        fixed: list[Formula] = [bad ^ 1]
        by_cell: dict[int, list[Formula]] = {}
        for node in self.f.below([bad]):
            if self.f.parts[node] is not None or node == 0:
                continue
            atom = self.f.atoms[node]
            literal = 2 * node ^ (not holds[node])
            if atom in self._owner:
                by_cell.setdefault(self._owner[atom], []).append(literal)
            else:
                fixed.append(literal)  # an argument or a choice, or a part of a queue

        def follows(cells: Iterable[int]) -> set[int] | None:
            if self._check([*fixed, *(x for i in cells for x in by_cell[i])]):
                return None
            core = self.circuit.core()
            return {i for i in cells if any(x in core for x in by_cell[i])}

        kept = follows(by_cell)
        assert kept is not None
        for i in sorted(kept):
            if i in kept:
                less = follows(sorted(kept - {i}))
                if less is not None:
                    kept = less
        return tuple(sorted(kept))

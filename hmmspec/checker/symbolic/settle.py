"""One finite instance, settled with Z3 alone: each safety property has a shortest run that violates it, or a proof.

Bounded search finds the runs.  Proofs: k-induction for few states, which costs little; then property-directed
reachability (`pdr`) for all that is left together, whose invariant is checked once more (`invariant`).  Where PDR says
that some run is bad, bounded search goes on until it has the shortest one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from hmmspec.checker.check import judge_expectations, report_on
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.bounded import Bounded
from hmmspec.checker.symbolic.cube_words import Words
from hmmspec.checker.symbolic.encoding import Encoding, Shown
from hmmspec.checker.symbolic.evaluate import Scope
from hmmspec.checker.symbolic.formulas import FALSE, Formula
from hmmspec.checker.symbolic.invariant import Invariant
from hmmspec.checker.symbolic.kinduction import KInduction
from hmmspec.checker.symbolic.pdr import Pdr
from hmmspec.checker.symbolic.predicates import Cube, Predicates
from hmmspec.checker.symbolic.sat import Undecided
from hmmspec.checker.symbolic.unrolling import Unrolling
from hmmspec.checker.symbolic.visits import Visits
from hmmspec.checker.verdict import InstanceReport, Level, Progress, Proof, Status, Verdict
from hmmspec.system import system as core
from hmmspec.system.system import System
from hmmspec.system.types import show_value

INDUCTION = 2  # states of k-induction that are tried first
DEEPEST = 60  # where PDR gave up: steps that bounded search and k-induction go on for
QUERY = 20.0  # seconds of one question
LEMMAS = 20  # that a proof shows


def prove_instance(
    system: System, options: CheckOptions, progress: Callable[[Progress], None] | None = None
) -> InstanceReport:
    """Prove or refute every safety property of one instance.

    What is proved has Level.INDUCTIVE and a `Proof` with `every=()`: of k-induction with its depth, of PDR with lemmas.
    A goal ('reachable') that was proved to be out of reach is VIOLATED with Level.INDUCTIVE.  What no proof and no run
    was found for is UNKNOWN, with Level.BOUNDED after a search of all runs of `bounded` steps.  Raises Limit for what
    is too large to encode.
    """
    begin = time.monotonic()
    settling = Settling(system, options, progress)
    explored = settling.run()
    report = report_on(explored, options)
    verdicts = tuple(settling.verdict(v) for v in report.verdicts)
    report = replace(report, verdicts=verdicts, states=None, bounded=max(0, settling.done), coverage=())
    report = replace(report, remark=settling.remark)
    if options.expectations:
        report = judge_expectations(report, system.expectation)
    return replace(report, wall_seconds=time.monotonic() - begin)


def prove_properties(
    system: System,
    names: Sequence[str],
    seconds: float,
    query: float = QUERY,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Verdict, ...]:
    """The same of these properties (or findings) alone: one verdict each, in this order.  Raises Limit."""
    options = CheckOptions(engine="z3", seconds=seconds, expectations=False)
    settling = Settling(system, options, progress, names, query)
    found = {v.property: v for v in report_on(settling.run(), options).verdicts}
    return tuple(settling.verdict(found[name]) for name in names)


class Settling(Bounded):
    """One instance; `run` once.  names: judge these alone; query: seconds of one question to Z3.

    proofs: of what was proved; done: every run of so many steps was looked at.
    """

    def __init__(
        self,
        system: System,
        options: CheckOptions,
        progress: Callable[[Progress], None] | None = None,
        names: Sequence[str] | None = None,
        query: float = QUERY,
    ) -> None:
        super().__init__(system, 1 << 30, options, progress, names)
        self.query = query
        self.proofs: dict[str, Proof] = {}
        self.remarks: dict[str, str] = {}
        self.remark = ""
        self.still: dict[str, Shown] = {}
        self._params = tuple((name, show_value(t, value)) for name, value, t in system.params)

    # ------------------------------------------------------------ the search

    def _search(self) -> None:
        self.encoding = encoding = Encoding(self.interp)
        self.still = self._asked_for(encoding)
        self.unjudged = encoding.unjudged
        self.goals = {p.name for p in self.system.properties if isinstance(p, core.Reachable)}
        self.unrolling = Unrolling(encoding)
        if not self._started(self.unrolling):
            return
        self.induction = KInduction(encoding, lambda: self._tick("induction"), self.query)
        self._deepen()
        try:
            if not self.induction.sat.solve([self.induction.copies[0].literal(encoding.start())]):
                self.runs.complete = True  # there is no start state: nothing to check
                return
            self._induct(INDUCTION)
            self._reach()
        except Undecided:
            self.remark = f"a question to Z3 took more than {self.query:g} s"
            self._go_on()

    def _tick(self, what: str) -> None:
        self.meter.tick(f"bounded search and {what}", self.runs.stored, 0, 0, max(0, self.done))

    def _deepen(self) -> None:
        """Look at all runs of one step more."""
        steps = self.done + 1
        self.unrolling.states(steps + 1)
        anything = self.encoding.f.any(self._bad(s) for s in self.still.values())
        if self.still and self._ask(self.unrolling, anything, steps, "anything"):
            for name, shown in list(self.still.items()):
                if self._found(self.unrolling, shown, steps):
                    del self.still[name]
        self.done = steps

    def _induct(self, deepest: int) -> None:
        """k-induction, for up to so many states; bounded search goes before."""
        while self.still and self.induction.depth < deepest:
            self.induction.longer()
            if self.done < self.induction.depth - 1:
                self._deepen()
            depth = self.induction.depth
            if self.induction.all_seen():
                for name in list(self.still):
                    self._proved(name, Proof(fixed=self._params, depth=depth, method="k-induction"))
                return
            # Goals are reached, as a rule: induction would say nothing of them.
            found = self.induction.show({n: s for n, s in self.still.items() if n not in self.goals})
            for name, shape in found.items():
                uses = tuple(n for n in shape.uses if n in self._declared())
                self._proved(name, Proof(fixed=self._params, depth=shape.depth, method="k-induction", uses=uses))

    def _declared(self) -> set[str]:
        return {p.name for p in self.system.properties}

    def _proved(self, name: str, proof: Proof) -> None:
        self.proofs[name] = proof
        shown = self.still.pop(name)
        self.induction.proved(shown)
        self.unrolling.always([self._bad(shown) ^ 1])

    def _go_on(self) -> None:
        """Bounded search and k-induction, while PDR does not get on."""
        while self.still and self.done < DEEPEST:
            try:
                self._induct(self.induction.depth + 1)
            except Undecided:
                self._deepen()

    # ------------------------------------------------------------ reachability

    def _reach(self) -> None:
        """PDR: the safety properties together, then the goals."""
        if not self.still:
            return
        predicates = Predicates(self.encoding)
        visits = Visits(predicates, self.interp, lambda: self._tick("random runs"))
        pdr = Pdr(predicates, visits, lambda n: self._tick(f"PDR (frame {n})"), self.query)
        # What is expected to hold comes first: it is shown without looking at what is not.
        wanted = (self.system.expectation.violates or frozenset()) - self.goals
        for names in (set(self.still) - wanted - self.goals, wanted, self.goals):
            while some := {n: s for n, s in self.still.items() if n in names}:
                bad = self.encoding.f.any(self._bad(s) for s in some.values())
                cubes = pdr.run(bad, self.encoding.f.any(self._bad(s) for s in self.induction.known) ^ 1)
                if cubes is not None:
                    self._by_invariant(predicates, cubes, some)
                    continue
                while all(n in self.still for n in some):  # there is a run: the shortest is wanted
                    self._deepen()

    def _by_invariant(self, predicates: Predicates, cubes: Iterable[Cube], some: Mapping[str, Shown]) -> None:
        known = self.induction.known
        invariant = Invariant(predicates, cubes, known, lambda: self._tick("the invariant"))
        found = invariant.needed(some)
        for cube in dict.fromkeys(c for needed in found.values() for c in needed.cubes):
            for renamed in predicates.orbit(cube):
                self.unrolling.always([predicates.formula(x ^ 1) for x in sorted(renamed)])
        words = Words(predicates)
        for name, needed in found.items():
            lemmas = words.lemmas(needed.cubes)
            if len(lemmas) > LEMMAS:
                self.remarks[name] = f"{len(lemmas)} lemmas, of which {LEMMAS} are shown"
            uses = tuple(n for n in needed.uses if n in self._declared())
            self._proved(name, Proof(fixed=self._params, lemmas=tuple(lemmas[:LEMMAS]), method="pdr", uses=uses))

    def _bad(self, shown: Shown) -> Formula:
        return self.encoding.f.either(shown.state, shown.step)

    # ------------------------------------------------------------ verdicts

    def verdict(self, v: Verdict) -> Verdict:
        """What was proved is so; what was looked for and not found is so within the bound; nothing else is."""
        if v.status is not Status.UNKNOWN:
            return v
        remark = "; ".join(x for x in (v.remark, *self._remarks(v)) if x)
        proof = self.proofs.get(v.property)
        looked_for = v.property not in self._not_looked_for() and self.done >= 0 and not self.runs.complete
        if proof is None and looked_for and v.property not in self.still:
            proof = Proof(fixed=self._params, method="k-induction")  # nothing in the spec can show it
        if proof is not None:
            status = Status.VIOLATED if v.kind == "reachable" else Status.HOLDS
            told = "; ".join(x for x in ("no reachable state makes it true", remark) if x)
            return replace(
                v,
                status=status,
                level=Level.INDUCTIVE,
                proof=proof,
                expected=status is Status.HOLDS,
                remark=told if status is Status.VIOLATED else remark,
            )
        if v.property in self._not_looked_for():
            return replace(v, remark=self.unjudged.get(v.property, ""))
        return replace(v, level=Level.BOUNDED if self.done >= 0 else Level.INCOMPLETE, remark=remark)

    def _remarks(self, v: Verdict) -> Iterator[str]:
        if v.property in self.remarks:
            yield self.remarks[v.property]
        if v.property == "deadlock" and self.system.assumes:
            yield "states that only an assume keeps from moving on are not looked for"
        if v.property in self.proofs and "spec_error" not in self.proofs and self._may_err(v.property):
            yield "wherever it can be evaluated (see spec_error)"

    def _may_err(self, name: str) -> bool:
        """Whether evaluating it can be an error in some state."""
        for p in self.system.properties:
            if p.name == name and isinstance(p, core.Invariant | core.Reachable):
                return self.encoding.e.evaluate(p.body, Scope(self.encoding.state))[1] != FALSE
        return False

"""Bounded search: is there a run of at most k steps that shows something?  Z3 is asked length by length, so the first
run that is found is a shortest one; the interpreter runs it once more, and what it shows is what is reported.

A. Biere et al., "Symbolic model checking without BDDs", 1999.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from itertools import pairwise

from hmmspec.checker.check import judge_expectations, report_on
from hmmspec.checker.explicit.engine import Explored, told_apart
from hmmspec.checker.explicit.findings import Finding, Findings
from hmmspec.checker.explicit.limits import LimitReached, Limits, Meter
from hmmspec.checker.explicit.looker import Looker, length
from hmmspec.checker.explicit.search import Graph, assume_error, first_value_error
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.encoding import Encoding, Shown
from hmmspec.checker.symbolic.formulas import FALSE
from hmmspec.checker.symbolic.unrolling import Unrolling
from hmmspec.checker.verdict import InstanceReport, Level, Progress, Status, Verdict
from hmmspec.diagnostics import InternalError
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import LeadsTo, Recoverable, System


def check_bounded(
    system: System, depth: int, options: CheckOptions, progress: Callable[[Progress], None] | None = None
) -> InstanceReport:
    """What runs of at most `depth` steps show, as `check` does.  Raises Limit for what is too large to encode."""
    begin = time.monotonic()
    search = Bounded(system, depth, options, progress)
    explored = search.run()
    report = report_on(explored, options)
    # Both orders of two locks are not looked for, and would be a warning only.
    bounded = tuple(search.verdict(v) for v in report.verdicts if v.property != "lock_order")
    report = replace(report, verdicts=bounded, states=None, bounded=max(0, search.done))
    if options.expectations:
        report = judge_expectations(report, system.expectation)
    return replace(report, wall_seconds=time.monotonic() - begin)


SLICE = 0.5  # seconds that Z3 works between two looks at the clock and at the keyboard


@dataclass
class Runs(Graph):
    """The runs that were found, as the explicit engine's graph: each run's states in a row."""

    found: list[State] = field(default_factory=list)
    before: list[int] = field(default_factory=list)

    @property
    def stored(self) -> int:
        return len(self.found)

    def path(self, number: int) -> list[int]:
        out = [number]
        while self.before[out[-1]] >= 0:
            out.append(self.before[out[-1]])
        return out[::-1]

    def add(self, run: list[State]) -> int:
        """Keep a run; the number of its last state."""
        for k, s in enumerate(run):
            self.found.append(s)
            self.before.append(len(self.found) - 2 if k else -1)
        return len(self.found) - 1


class Bounded:
    """One bounded search; `run` once.  names: look for these alone, None for everything.

    Raises Limit for a System that is too large to encode.
    """

    def __init__(
        self,
        system: System,
        depth: int,
        options: CheckOptions,
        progress: Callable[[Progress], None] | None = None,
        names: Collection[str] | None = None,
    ) -> None:
        self.system, self.depth, self.options, self.names = system, depth, options, names
        self.interp = Interpreter(system)
        self.meter = Meter(system.name, system.instance, Limits(None, options.seconds, options.memory), progress)
        self.findings = Findings(1)
        self.runs = Runs()
        self.done = -1  # every run of so many steps was looked at
        self.unjudged: dict[str, str] = {}

    def run(self) -> Explored:
        """Search; limits and interrupts are told in the result."""
        runs, begin = self.runs, self.meter.seconds
        try:
            error = first_value_error(self.interp)
            if error is None:
                self._search()
            else:
                self._nothing_to_search(error)
        except LimitReached as e:
            runs.limit = str(e)
        except KeyboardInterrupt:
            runs.interrupted = True
        runs.fired = [0] * len(self.system.rules)
        runs.erred = [0] * len(self.system.rules)
        runs.depth = max(0, self.done)
        return Explored(
            self.interp,
            runs,
            runs.found,
            None,
            (),
            None,
            self.findings,
            {},
            self._not_looked_for(),
            set(),
            None,
            None,
            self.meter.seconds - begin,
            self.meter,
            engine="z3",
            unreduced=told_apart(self.system),
        )

    def _not_looked_for(self) -> set[str]:
        whole = {p.name for p in self.system.properties if isinstance(p, LeadsTo | Recoverable)}
        return whole | {"lock_cycle", "lock_order", "refines"} | set(self.unjudged)

    def verdict(self, v: Verdict) -> Verdict:
        """What was looked for in all runs and not found is so within the bound; nothing else is."""
        if v.status is not Status.UNKNOWN or v.kind == "reachable" or self.done < 0:
            return v
        if v.property in self._not_looked_for():
            return replace(v, remark=self.unjudged.get(v.property, "bounded search does not look for it"))
        expected = (self.options.expectations and self.system.expectation.violates) or ()
        if v.property in expected:  # longer runs may show it
            return replace(v, level=Level.BOUNDED)
        return replace(v, status=Status.HOLDS, level=Level.BOUNDED)

    def _search(self) -> None:
        encoding = Encoding(self.interp)
        still = self._asked_for(encoding)
        self.unjudged = encoding.unjudged
        unrolling = Unrolling(encoding)
        if not self._started(unrolling):
            return
        for steps in range(self.depth + 1):
            unrolling.states(steps + 1)
            for name, shown in list(still.items()):
                if self._found(unrolling, shown, steps):
                    del still[name]
            self.done = steps
            if not still:
                break

    def _nothing_to_search(self, error: Finding) -> None:
        self.findings.add("spec_error", error)
        self.runs.start_erred = True

    def _started(self, unrolling: Unrolling) -> bool:
        """State 0 is a start state.  False: in some of them an assume errs, and there is nothing to search."""
        wrong = unrolling.encoding.start_error()
        if wrong != FALSE and self._ask(unrolling, wrong, 0, "the start"):
            (state,) = (self.interp.build(values) for values in unrolling.run(0))
            try:
                self.interp.is_start(state)
            except SpecFault as e:
                self._nothing_to_search(assume_error(e.fault))
                return False
            raise InternalError(
                "the symbolic engine reports an error at the start, and the interpreter does not see it"
            )
        unrolling.start()
        return True

    def _asked_for(self, encoding: Encoding) -> dict[str, Shown]:
        return {s.name: s for s in encoding.shown() if self.names is None or s.name in self.names}

    def _found(self, unrolling: Unrolling, shown: Shown, steps: int) -> bool:
        """Whether a run of so many steps shows it in its last state, or with one step more."""
        if shown.state != FALSE and self._ask(unrolling, shown.state, steps, shown.name):
            self._keep(unrolling, shown.name, steps, steps)
            return True
        if steps < self.depth and shown.step != FALSE and self._ask(unrolling, shown.step, steps, shown.name):
            self._keep(unrolling, shown.name, steps, steps + 1)
            return True
        return False

    def _ask(self, unrolling: Unrolling, condition: int, steps: int, name: str) -> bool:
        while True:
            answer = unrolling.found(condition, steps, SLICE)
            self.meter.tick(f"bounded search for {name}", self.runs.stored, 0, 0, steps)
            if answer is not None:
                return answer

    def _keep(self, unrolling: Unrolling, name: str, steps: int, run_length: int) -> None:
        states = [self.interp.build(values) for values in unrolling.run(steps)]
        for before, after in pairwise(states):
            if all(t != after for _, _, t in self.interp.expand(before)[0]):
                raise InternalError(
                    f"the symbolic engine's run to {name} has a step that the interpreter does not know"
                )
        number = self.runs.add(states)
        found = [f for f in Looker(self.interp).findings(number, states[-1]).get(name, [])
                 if length(steps, f) == run_length]  # fmt: skip
        if not found:
            raise InternalError(f"the symbolic engine reports {name}, and the interpreter does not see it")
        self.findings.add(name, found[0])

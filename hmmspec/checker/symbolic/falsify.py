"""Real runs that violate what was to be proved, in small instances.

Before anything is proved, instances with one, two, .. of each type are searched breadth first, each up to a number of
states (`look`): whatever has a short run is refuted by it, and the states that were reached are what candidates for
invariants are made from.  What was not proved then is looked for in all instances, as far as time allows
(`Search`).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from math import factorial, prod

from hmmspec.checker.explicit.engine import explore
from hmmspec.checker.explicit.verdicts import Judge
from hmmspec.checker.native.engine import check_auto
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.begin import THIN, thinned
from hmmspec.checker.symbolic.bounded import Bounded
from hmmspec.checker.symbolic.samples import Instances, Reached, Sizes
from hmmspec.checker.verdict import Level, Status, Trace, Verdict
from hmmspec.diagnostics import Limit
from hmmspec.system.system import System

FIRST = 2_000  # states of an instance, of all that differ only by a renaming one ..
MOST_RENAMINGS = 40  # .. where there are not more renamings than this, which would take longer than they save
STEPS = (8, 40)  # of the runs that Z3 looks for where there are too many start states: at first, and when more is tried
LOOKING = 5.0  # seconds that this takes, at first
STATES = 3_000_000
PATIENCE = 20.0  # seconds for an instance in which there must be a run

Runs = dict[str, tuple[Trace, Level, Sizes]]


@dataclass(frozen=True)
class Looked:
    """What a search of one instance showed.  wrong: properties that are violated; erred: those that some state or step
    makes an error; runs: a shortest run for each that was asked for."""

    reached: Reached
    wrong: frozenset[str]
    erred: frozenset[str]
    runs: Runs = field(default_factory=dict)


def look(instances: Instances, sizes: Sizes, names: Collection[str], states: int = FIRST) -> Looked:
    """Search an instance, up to so many states; where it has too many start states, from some of them, and then with
    Z3, for which they are not many, a few steps from all of them.  Raises Limit where there is none of that size."""
    interp = instances.interpreter(sizes)
    few = prod(factorial(t.size) for t in interp.system.symmetric) <= MOST_RENAMINGS
    options = CheckOptions(states=states, expectations=False, witness=False, symmetry=few)
    starts = instances.starts(sizes)
    if not starts.whole:
        starts = thinned(starts, states // THIN)
    x = explore(interp.system, options, interp=interp, whole_runs=False, starts=starts)
    if x.graph.limit and not x.graph.expanded:
        starts = thinned(starts, states // THIN)
        x = explore(interp.system, options, interp=interp, whole_runs=False, starts=starts)
    reached = Reached(sizes, interp, list(x.states), x.graph.complete)
    wrong, erred = {n for n, found in x.findings.by_name.items() if found}, frozenset(x.findings.unjudged)
    runs: Runs = {}
    if not (wrong | erred).isdisjoint(names):
        runs = _violated(Judge(x, witness=False).verdicts(), names, sizes)
    if not (starts.whole or starts.fault):
        runs.update(bounded_runs(interp.system, names, sizes, STEPS[0], LOOKING))
        wrong |= runs.keys()
    return Looked(reached, frozenset(wrong), erred, runs)


def bounded_runs(system: System, names: Collection[str], sizes: Sizes, steps: int, seconds: float) -> Runs:
    """Shortest runs of at most so many steps, as far as they are found in so much time."""
    options = CheckOptions(seconds=seconds, expectations=False, witness=False)
    try:
        found = Bounded(system, steps, options, names=names).run()
    except Limit:
        return {}
    return _violated(Judge(found, witness=False).verdicts(), names, sizes)


def _violated(verdicts: Iterable[Verdict], names: Collection[str], sizes: Sizes) -> Runs:
    return {
        v.property: (v.trace, v.level, sizes)
        for v in verdicts
        if v.property in names and v.status is Status.VIOLATED and v.trace is not None
    }


def with_fewer(instances: Instances, runs: Runs) -> Runs:
    """The same properties violated with as few identities of each type as are needed."""
    known: dict[Sizes, Runs] = {}
    out: Runs = {}
    for name, run in runs.items():
        for at in range(len(instances.every)):
            of = run[2].of
            for n in range(1, of[at][1]):
                sizes = Sizes((*of[:at], (of[at][0], n), *of[at + 1 :]))
                if sizes not in known:
                    known[sizes] = look(instances, sizes, runs).runs
                if name in known[sizes]:
                    run = known[sizes][name]
                    break
        out[name] = run
    return out


@dataclass
class Search:
    """A search for real runs, in the instances with up to `largest` identities of each type.

    begun: those that were looked at; whole: to the end; enough: as far as they are ever looked at.
    """

    instances: Instances
    largest: int
    begun: set[Sizes] = field(default_factory=set)
    whole: set[Sizes] = field(default_factory=set)
    enough: set[Sizes] = field(default_factory=set)

    def __str__(self) -> str:
        of = self.largest ** len(self.instances.every)
        told = f"of {of} instances with up to {self.largest} of each type {len(self.whole)} were searched to the end"
        return f"{told}, {len(self.begun - self.whole)} in part, and no run violates it"

    def search(self, names: set[str], sure: set[str], seconds: float) -> Runs:
        """Of each property a run that violates it, in the smallest instance, as far as some is found in so much time.
        sure: those that are known to be violated, for which time is no limit."""
        until = time.monotonic() + seconds
        found: Runs = {}
        for sizes in self.instances.sizes(self.largest):
            left = until - time.monotonic()
            wanted = names - set(found) if left > 0 else sure - set(found)
            if not wanted:
                break
            if sizes in self.enough:
                continue
            try:
                found.update(self._of(sizes, wanted, max(left, PATIENCE if wanted & sure else 1.0)))
            except (Limit, MemoryError):
                continue
        return found

    def _of(self, sizes: Sizes, wanted: set[str], seconds: float) -> Runs:
        system = self.instances.of(sizes)
        whole = self.instances.starts(sizes).whole
        self.begun.add(sizes)
        if not whole:
            return bounded_runs(system, wanted, sizes, STEPS[1], seconds / 4)
        options = CheckOptions(engine="auto", states=STATES, seconds=seconds, expectations=False, witness=False)
        report = check_auto(system, options)
        if not report.limit and not report.interrupted:
            self.whole.add(sizes)
        if sizes in self.whole or (report.limit and not report.limit.startswith("time limit")):
            self.enough.add(sizes)
        return _violated(report.verdicts, wanted, sizes)

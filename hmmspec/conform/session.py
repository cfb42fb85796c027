"""A conformance session: many random programs on one target, everything judged, and the first finding made small."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import FlakyFailure, Unsatisfiable
from hypothesis.reporting import with_reporter

from hmmspec.conform.generate import Shape
from hmmspec.conform.judging import Judge, Outcome, run_program
from hmmspec.conform.program import Program, Race
from hmmspec.conform.shrink import shrink, smaller
from hmmspec.conform.strategies import programs
from hmmspec.conform.target import Event, Finding, Target

CHUNK = 60  # programs of one call of Hypothesis: it remembers what it has tried within one


@dataclass(frozen=True)
class Plan:
    """What a session does.

    steps: how many commands at least; seed: of all that is random; shapes: of the programs, taken in turn; seconds:
    when to stop, if ever; shrinking: seconds spent on making a finding small; repeats: how often the smallest program
    is run again.
    """

    steps: int
    seed: int
    shapes: tuple[Shape, ...]
    seconds: float | None = None
    shrinking: float = 30.0
    repeats: int = 3


@dataclass
class Found:
    """A finding: the smallest program that shows it.

    first: the program that showed it first; log, findings: of the smallest run; again: in how many of `repeats` runs
    it was seen once more; after: commands carried out until it was found first.
    """

    program: Program
    findings: list[Finding]
    log: list[Event]
    first: Program
    first_findings: list[Finding]
    first_log: list[Event]
    after: int
    seed: int
    again: int = 0
    repeats: int = 0


@dataclass
class Session:
    """What has been done, and what was seen.

    results: (command, error) -> how often; covered: spec -> transition -> how often; missing: spec -> transitions that
    exist and were never exercised; incomplete: what could not be judged, and how often.
    """

    target: str
    plan: Plan
    commands: int = 0
    programs: int = 0
    races: int = 0
    seconds: float = 0.0
    results: Counter[tuple[str, str]] = field(default_factory=Counter)
    covered: dict[str, Mapping[str, int]] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)
    incomplete: Counter[str] = field(default_factory=Counter)
    found: Found | None = None


class Stop(Exception):
    """The session is over: enough commands, or no more time."""


class _Wrong(Exception):
    """A program with a finding; one class for each kind of finding, since Hypothesis tells failures by their class."""


_KINDS: dict[tuple[str, str], type[_Wrong]] = {}


def _kind(finding: Finding) -> type[_Wrong]:
    key = finding.check, finding.name
    return _KINDS.setdefault(key, type(f"Wrong_{finding.check}", (_Wrong,), {}))


class Explorer:
    """Runs programs on a target and keeps the account."""

    def __init__(
        self,
        target: Target,
        judges: Sequence[Judge],
        plan: Plan,
        progress: Callable[[Session], None] | None = None,
    ) -> None:
        self.target = target
        self.judges = judges
        self.plan = plan
        self.session = Session(target.name, plan)
        self._progress = progress
        self._goal = plan.steps
        self._rounds = 0
        self._begin = time.monotonic()
        self._failed_at: float | None = None
        self._first: tuple[Program, Outcome, int] | None = None
        self._best: tuple[Program, Outcome] | None = None

    # ---- running

    def run(self, program: Program) -> Outcome:
        """One program, with its account.  Raises Stop when time is up."""
        s = self.session
        if self._out_of_time():
            raise Stop
        outcome = run_program(self.target, program, self.judges, self.plan.seed)
        s.commands += outcome.commands
        s.programs += 1
        s.races += sum(isinstance(step, Race) for step in program)
        s.seconds = time.monotonic() - self._begin
        called: dict[int, str] = {}
        for event in outcome.log:
            if event.command is not None:
                called[event.call] = event.command.word
            elif event.result is not None:
                s.results[called.get(event.call, "?"), event.result.error] += 1
        for told in outcome.incomplete:
            s.incomplete[told] += 1
        if outcome.findings:
            self._note(program, outcome)
        if self._progress is not None:
            self._progress(s)
        return outcome

    def _note(self, program: Program, outcome: Outcome) -> None:
        if self._first is None:
            self._failed_at = time.monotonic()
            self._first = program, outcome, self.session.commands
            self._best = program, outcome
        elif self._best is not None and smaller(program, self._best[0]) and self._same(outcome):
            self._best = program, outcome

    def _same(self, outcome: Outcome) -> bool:
        """Whether a run shows the finding that was seen first (or another of its check)."""
        assert self._first is not None
        return outcome.findings[0].check == self._first[1].findings[0].check

    @property
    def failed(self) -> bool:
        """Whether something was found."""
        return self._first is not None

    @property
    def enough(self) -> bool:
        """Whether as many commands were carried out as are asked for."""
        return self.session.commands >= self._goal

    def _out_of_time(self) -> bool:
        """Whether the session, or what Hypothesis may take to make a finding small, is over."""
        now = time.monotonic()
        if self._failed_at is not None:
            return now - self._failed_at > self.plan.shrinking / 2
        return self.plan.seconds is not None and now - self._begin > self.plan.seconds

    # ---- searching

    def explore(self) -> Session:
        """Random programs until there are enough commands or something is wrong; then the account."""
        self.search(self.plan.steps)
        return self.finish()

    def search(self, steps: int) -> None:
        """Random programs by Hypothesis until so many commands were carried out, or something is wrong."""
        self._goal = steps
        shapes = self.plan.shapes
        try:
            while not self.enough and not self.failed and not self._out_of_time():
                self._round(shapes[self._rounds % len(shapes)], self.plan.seed * 1_000_003 + self._rounds)
                self._rounds += 1
        except Stop:
            pass

    def _round(self, shape: Shape, number: int) -> None:
        @seed(number)
        @settings(
            max_examples=CHUNK,
            database=None,
            deadline=None,
            derandomize=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            print_blob=False,
        )
        @given(programs(shape))
        def example(program: Program) -> None:
            if not self.failed and self.enough:
                raise Stop
            outcome = self.run(program)
            if outcome.findings and (self._first is None or self._same(outcome)):
                raise _kind(outcome.findings[0])

        try:
            # What Hypothesis would print is told by our own report.
            with with_reporter(lambda _: None):
                example()
        except (_Wrong, FlakyFailure, ExceptionGroup):
            pass
        except Unsatisfiable as nothing:
            raise Stop from nothing

    def finish(self) -> Session:
        """The account: coverage, and the finding made as small as it gets."""
        s = self.session
        if self._first is not None and self._best is not None:
            s.found = self._smallest(*self._first)
        for judge in self.judges:
            covered = getattr(judge, "covered", None)
            if covered is not None:
                s.covered[judge.name] = dict(covered())
                every: Sequence[str] = getattr(judge, "all_transitions", tuple)()
                s.missing[judge.name] = [t for t in every if not s.covered[judge.name].get(t)]
        s.seconds = time.monotonic() - self._begin
        return s

    def _smallest(self, first: Program, outcome: Outcome, after: int) -> Found:
        assert self._best is not None
        best, shown = self._best
        last: list[Outcome] = [shown]

        def fails(candidate: Program) -> bool:
            again = run_program(self.target, candidate, self.judges, self.plan.seed)
            if again.findings and self._same(again):
                last[0] = again
                return True
            return False

        best = shrink(best, fails, seconds=self.plan.shrinking / 2)
        again = 0
        for _ in range(self.plan.repeats):
            again += fails(best)
        return Found(
            best, last[0].findings, last[0].log, first, outcome.findings, outcome.log, after, self.plan.seed, again,
            self.plan.repeats,
        )  # fmt: skip

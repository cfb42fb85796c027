"""A conformance session: many random programs on one target, everything judged, and the first finding made small.

NOTE(rounds): what Hypothesis draws it also varies, six programs or so for each new one, with parts of it repeated; that
finds what must come twice, but meets few different things.  So in most rounds each program is a new one.

NOTE(flaky): a target that is not deterministic may show a finding once and never again.  The run that showed it first
is kept whole.  Then its program is run again, 20 times if threads race in it: the report says in how many of these the
finding was seen.  A program is made small only if the finding recurs, and each candidate is run as often as it takes to
see it in all likelihood.  One that never recurs is a finding as it is.  A target that died is started again and the
session goes on, unless the same program kills it again, or it died too often.

NOTE(anew): what goes wrong in a kernel may leave it wrong for what comes later, and then everything fails, however
short.  So what was made small is tried once more on a target that was started anew; if it does not show the finding
there, the program that was first is made small again, and each candidate that shows it must show it there, too.

NOTE(interrupt): a session that is interrupted ends as one that has no more time, after the program that runs: with its
account, and with what was found, made as small as it was by then.  Who interrupts it once more does not wait for that.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import FlakyFailure, Unsatisfiable
from hypothesis.reporting import with_reporter

from hmmspec.conform.difference import Comparison
from hmmspec.conform.generate import Shape, programs_from
from hmmspec.conform.judging import Judge, Outcome, run_program
from hmmspec.conform.possible import cannot_happen
from hmmspec.conform.program import Program, Race
from hmmspec.conform.shrink import shrink, smaller
from hmmspec.conform.strategies import programs
from hmmspec.conform.target import Event, Finding, Target
from hmmspec.system.run import make_room

CHUNK = 60  # programs of a round
DRAWN = 4  # one round in so many is Hypothesis's: NOTE(rounds)
STARTING = 3  # times as long may shrinking take where a target is started anew again and again
RACE_REPEATS = 20  # runs of a program with races, on a target that is not deterministic, to see a finding again


@dataclass(frozen=True)
class Plan:
    """What a session does.

    steps: how many commands at least; seed: of all that is random; shapes: of the programs, taken in turn; seconds:
    when to stop, if ever; shrinking: seconds spent on making a finding small; repeats: how often the smallest program
    is run again (at least); deterministic: whether the same program gives the same again; restarts: how often the
    target may die before the session ends.
    """

    steps: int
    seed: int
    shapes: tuple[Shape, ...]
    seconds: float | None = None
    shrinking: float = 30.0
    repeats: int = 3
    deterministic: bool = True
    restarts: int = 5


@dataclass
class Found:
    """A finding: the smallest program that shows it.

    first: the program that showed it first; log, findings: of the smallest run; again: in how many of `repeats` runs
    it was seen once more; after: commands carried out until it was found first; seen_on, comparison: as in Outcome;
    worn: it is seen only on a target on which other programs have run.
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
    seen_on: str = ""
    comparison: Comparison | None = None
    worn: bool = False


@dataclass
class Lost:
    """The target died, and was started again: the program that it died of, and whether that kills it again."""

    program: Program
    findings: list[Finding]
    log: list[Event]
    after: int
    again: int = 0
    repeats: int = 0


@dataclass
class Session:
    """What has been done, and what was seen.

    results: (command, error) -> how often; covered: spec -> transition -> how often; missing: spec -> transitions that
    exist and were never exercised; incomplete: what could not be judged, and how often; lost: when the target died and
    nothing was found; comparison: where two targets are held against each other; unneeded: known differences that no
    run has needed; possible: spec -> transitions that were used by some explanations, but never by all of a call;
    ruled_out: spec -> those that cannot happen on this target (they are not among the missing ones);
    interrupted: the user did not want to wait; again: how often a program was run to see once more what it showed.
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
    lost: list[Lost] = field(default_factory=list)
    comparison: Comparison | None = None
    unneeded: list[str] = field(default_factory=list)
    possible: dict[str, list[str]] = field(default_factory=dict)
    ruled_out: dict[str, list[str]] = field(default_factory=dict)
    interrupted: bool = False
    again: int = 0


# Runs a program, and judges it.
Play = Callable[[Program], Outcome]


class Stop(Exception):
    """The session is over: enough commands, or no more time."""


@contextmanager
def _noticing_interrupts(notice: Callable[[], None]) -> Iterator[None]:
    """The first interrupt at the keyboard is noticed, and nothing else happens; the next one is a KeyboardInterrupt.

    Raised inside Hypothesis, a KeyboardInterrupt may be lost, or make it take the example for a flaky one.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield  # somebody else's business
        return

    def handle(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        notice()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Wrong(Exception):
    """A program with a finding; one class for each kind of finding, since Hypothesis tells failures by their class."""


_KINDS: dict[tuple[str, str], type[_Wrong]] = {}


def _kind(finding: Finding) -> type[_Wrong]:
    key = finding.check, finding.name
    return _KINDS.setdefault(key, type(f"Wrong_{finding.check}", (_Wrong,), {}))


@dataclass
class _Small:
    """The smallest program so far, and what it showed; `again` etc. as in Found."""

    program: Program
    shown: Outcome
    again: int = 0
    repeats: int = 0
    worn: bool = False


class Explorer:
    """Runs programs on a target and keeps the account."""

    def __init__(
        self,
        target: Target,
        judges: Sequence[Judge],
        plan: Plan,
        progress: Callable[[Session], None] | None = None,
        play: Play | None = None,
        renew: Callable[[], bool] | None = None,
    ) -> None:
        self.target = target
        self.judges = judges
        self.plan = plan
        self._play: Play = play or (lambda program: run_program(target, program, judges, plan.seed))
        self._renew = renew or target.renew
        self.session = Session(target.name, plan)
        self._progress = progress
        self._goal = plan.steps
        self._rounds = 0
        self._begin = time.monotonic()
        self._failed_at: float | None = None
        self._first: tuple[Program, Outcome, int] | None = None
        self._best: tuple[Program, Outcome] | None = None
        self._ruled_out: dict[str, Set[str]] = {}

    # ---- running

    def run(self, program: Program) -> Outcome:
        """One program, with its account.  Raises Stop when time is up."""
        s = self.session
        if self._out_of_time():
            raise Stop
        outcome = self._play(program)
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
        if outcome.comparison is not None:
            s.comparison = s.comparison or Comparison(outcome.comparison.names)
            s.comparison.add(outcome.comparison)
        if outcome.lost and self._first is None and not self.plan.deterministic:
            self._died(program, outcome)
        if outcome.findings:
            self._note(program, outcome)
        if self._progress is not None:
            self._progress(s)
        return outcome

    def _play_again(self, program: Program) -> Outcome:
        """Run a program to see what it showed, or whether a smaller one shows it; that is no step of the session."""
        outcome = self._play(program)
        self.session.again += 1
        if self._progress is not None:
            self._progress(self.session)
        return outcome

    def _died(self, program: Program, outcome: Outcome) -> None:
        """The target died: if the same program kills it again that is what was found; else the session goes on.
        Raises Stop where it died too often."""
        s = self.session
        lost = Lost(program, list(outcome.findings), outcome.log, s.commands)
        while lost.repeats < self.plan.repeats and not lost.again:
            lost.repeats += 1
            lost.again += self._play_again(program).lost
        if lost.again:
            return
        s.lost.append(lost)
        s.again = 0
        outcome.findings.clear()
        s.seconds = time.monotonic() - self._begin
        if len(s.lost) > self.plan.restarts:
            raise Stop

    def _note(self, program: Program, outcome: Outcome) -> None:
        if self._first is None:
            self._failed_at = time.monotonic()
            self._first = program, outcome, self.session.commands
            self._best = program, outcome
        elif self._best is not None and smaller(program, self._best[0]) and self._same(outcome):
            self._best = program, outcome

    def _same(self, outcome: Outcome) -> bool:
        """Whether a run shows the finding that was seen first (or another of its check, but for what has a name)."""
        assert self._first is not None
        new, old = outcome.findings[0], self._first[1].findings[0]
        return new.check == old.check and (new.check not in {"difference", "kernel"} or new.name == old.name)

    @property
    def failed(self) -> bool:
        """Whether something was found."""
        return self._first is not None

    @property
    def explained(self) -> Counter[str]:
        """The entries of known differences that were needed, and how often."""
        return Counter() if self.session.comparison is None else self.session.comparison.explained

    @property
    def enough(self) -> bool:
        """Whether as many commands were carried out as are asked for."""
        return self.session.commands >= self._goal

    def _out_of_time(self) -> bool:
        """Whether the session, or what Hypothesis may take to make a finding small, is over."""
        now = time.monotonic()
        if self.session.interrupted:
            return True
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
        make_room()  # a spec that is loaded later, within Hypothesis, would do it, and Hypothesis warns of that
        try:
            with _noticing_interrupts(self.interrupt):
                while not self.enough and not self.failed and not self._out_of_time():
                    turns, at = divmod(self._rounds, len(shapes))
                    number = self.plan.seed * 1_000_003 + self._rounds
                    if (self._rounds + turns) % DRAWN:
                        self._fresh(shapes[at], number)
                    else:
                        self._drawn(shapes[at], number)
                    self._rounds += 1
        except Stop:
            pass
        except KeyboardInterrupt:
            self.interrupt()

    def interrupt(self) -> None:
        """End the session: NOTE(interrupt)."""
        self.session.interrupted = True
        self.session.seconds = time.monotonic() - self._begin

    def _fresh(self, shape: Shape, number: int) -> None:
        """A round of programs that have nothing to do with each other."""
        draw = programs_from(shape, number)
        # The next one is made while the target works: some of them leave us waiting.
        with ThreadPoolExecutor(1, "next-program") as ahead:
            program = ahead.submit(draw)
            for _ in range(CHUNK):
                if self.enough:
                    raise Stop
                now, program = program.result(), ahead.submit(draw)
                if self.run(now).findings:
                    break

    def _drawn(self, shape: Shape, number: int) -> None:
        """A round of programs that Hypothesis draws, varies, and makes small if one has a finding."""

        @seed(number)
        @settings(
            max_examples=CHUNK,
            database=None,
            deadline=None,
            derandomize=False,
            phases=(Phase.generate, Phase.shrink) if self.plan.deterministic else (Phase.generate,),
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
                never = [t for t in every if not s.covered[judge.name].get(t)]
                out = self.ruled_out(judge)
                s.missing[judge.name] = [t for t in never if t not in out]
                s.ruled_out[judge.name] = [t for t in never if t in out]
                s.possible[judge.name] = list(getattr(getattr(judge, "coverage", None), "only_possible", ()))
        s.seconds = time.monotonic() - self._begin
        return s

    def ruled_out(self, judge: Judge) -> Set[str]:
        """The transitions of a judge's spec that cannot happen on this target."""
        if judge.name not in self._ruled_out:
            loaded = getattr(judge, "loaded", None)
            out = cannot_happen(loaded, self.target.profile, self.target.capabilities) if loaded is not None else ()
            self._ruled_out[judge.name] = frozenset(out)
        return self._ruled_out[judge.name]

    def _smallest(self, first: Program, outcome: Outcome, after: int) -> Found:
        """What was found first, made small: NOTE(flaky), NOTE(anew)."""
        assert self._best is not None
        start = self._best
        small = self._made_small(start, anew=False)
        if small.again and not self.session.interrupted and self._renew():
            by_itself = self._made_small((small.program, small.shown), anew=False, shrinking=False)
            if not by_itself.again and not self.session.interrupted:
                by_itself = self._made_small(start, anew=True)
            if by_itself.again:
                small = by_itself
            else:
                small.worn = not self.session.interrupted
        shown = small.shown
        return Found(
            small.program, shown.findings, shown.log, first, outcome.findings, outcome.log, after, self.plan.seed,
            small.again, small.repeats, shown.seen_on, shown.comparison, small.worn,
        )  # fmt: skip

    def _made_small(self, start: tuple[Program, Outcome], *, anew: bool, shrinking: bool = True) -> _Small:
        """Look whether a program shows the finding again, and for smaller ones that do.

        anew: each that shows it must do so on a target on which nothing has run before.
        """
        plan = self.plan
        small = _Small(*start)
        patience = plan.shrinking * (STARTING if anew else 1)
        until = time.monotonic() + patience

        def fails(candidate: Program) -> bool:
            again = self._play_again(candidate)
            if anew and again.findings and self._renew():
                again = self._play_again(candidate)
            if again.findings and self._same(again):
                if not smaller(small.program, candidate):
                    small.program, small.shown = candidate, again
                return True
            return False

        def look() -> None:
            """In how many of how many repeats."""
            program = small.program
            racing = not plan.deterministic and any(isinstance(step, Race) for step in program)
            small.again = small.repeats = 0
            while small.repeats < (RACE_REPEATS if racing else plan.repeats):
                if small.repeats and time.monotonic() > until:
                    break
                small.again += fails(program)
                small.repeats += 1

        try:
            if self.session.interrupted:
                return small
            if plan.deterministic:
                small.again = small.repeats = 1
            else:
                look()
            if small.again and shrinking:
                # Each candidate as often as it takes: one in three is seen in nine runs all but surely.
                tries = 1 if small.again == small.repeats else min(RACE_REPEATS, -(-3 * small.repeats // small.again))
                small.again = small.repeats = 0
                small.program = shrink(
                    small.program, lambda p: any(fails(p) for _ in range(tries)), seconds=patience / 2
                )
                look()
        except KeyboardInterrupt:
            self.interrupt()
        return small

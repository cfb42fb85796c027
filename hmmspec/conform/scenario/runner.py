"""Plans on a target: every command judged, the data watched by the oracle, everything back to base at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hmmspec.conform import commands as c
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.results import Result
from hmmspec.conform.scenario.judge import judge
from hmmspec.conform.scenario.plan import OK, Judge, Outcomes, Plan, RaceStep, Step, WantOutcome
from hmmspec.conform.scenario.unroll import Facts
from hmmspec.conform.scenario.values import Evaluator, Unseen
from hmmspec.conform.target import CAPABILITIES, Finding, Target, TargetLost
from hmmspec.diagnostics import Span
from hmmspec.ref.profile import BEHAVIOURS

# What is kept of one run, and of one look at what was found: what comes later mostly follows from it.
_TOLD = 8
_FINDINGS = 3


@dataclass(frozen=True)
class Problem:
    """What went wrong: at a statement, or (`span` None) about the run as a whole; `does`: the command."""

    message: str
    span: Span | None = None
    does: str = ""


@dataclass
class PlanReport:
    """A plan with what its runs showed.

    status: passed, failed, skipped.  runs: how many there were; seed: that of the run that failed.  outcomes: place of
    an `outcome` group -> name -> in how many runs it was met.  unseen: what was expected and the target does not tell.
    """

    plan: Plan
    status: str = "passed"
    runs: int = 0
    commands: int = 0
    seconds: float = 0.0
    seed: int | None = None
    problems: list[Problem] = field(default_factory=list)
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)


def facts_of(target: Target) -> Facts:
    """What plans go by: devices, capabilities, and all behaviours that anybody knows."""
    behaviours = {**dict.fromkeys(BEHAVIOURS), **dict(target.profile)}
    return Facts(
        dict(target.devices),
        target.capabilities,
        {**behaviours, **{name: name in target.capabilities for name in CAPABILITIES}},
    )


def run_plan(plan: Plan, target: Target, seed: int = 0) -> PlanReport:
    """Run a plan as often as it has seeds, from `seed` on, until one run fails."""
    report = PlanReport(plan)
    if plan.skipped:
        report.status = "skipped"
        return report
    started = time.monotonic()
    for number in range(seed, seed + plan.seeds):
        run = _Run(plan, target, number, report)
        run.go()
        report.runs += 1
        if report.problems:
            report.status, report.seed = "failed", number
            break
    report.seconds = time.monotonic() - started
    return report


class _Run:
    """One run with one seed."""

    def __init__(self, plan: Plan, target: Target, seed: int, report: PlanReport) -> None:
        self._plan = plan
        self._target = target
        self._seed = seed
        self._report = report
        self._oracle = DataJudge(target.atomic)
        self._seen = 0  # events of the target's log that the oracle has been told
        self._results: dict[int, Result | None] = {}
        self._races = 0
        self._told: set[str] = set()  # findings that the report has

    def go(self) -> None:
        """Everything, up to and with the end.  Problems go into the report."""
        try:
            self._target.reset(self._seed)
            self._oracle.begin(self._target)
            self._steps()
            if not self._report.problems:
                self._watch(None)
                self._read_back()
                self._findings(self._target.finish(), None, "after the end: ")
                self._findings(self._target.findings(), None, "after the end: ")
        except TargetLost as error:
            self._problem(f"the target was lost: {error}", self._last())

    # ---- steps

    def _steps(self) -> None:
        for step in self._plan.steps:
            match step:
                case Step():
                    self._judge(step, self._target.run(step.command))
                case RaceStep(threads):
                    self._races += 1
                    commands = [[one.command for one in thread] for thread in threads]
                    results = self._target.race(commands, self._seed + 1_000_003 * (self._races - 1))
                    for thread, found in zip(threads, results, strict=True):
                        for one, result in zip(thread, found, strict=True):
                            self._judge(one, result, killed=self._killed(thread, threads))
                case Judge():
                    self._expect(step)
                case Outcomes():
                    self._outcomes(step)
            if not isinstance(step, Judge | Outcomes):
                self._watch(step)
                self._findings(self._target.findings(), step)
            if self._report.problems:
                return

    def _judge(self, step: Step, result: Result | None, killed: bool = False) -> None:
        self._report.commands += 1
        self._results[step.number] = result
        gone = result is None or result.error in ("SIGKILL", "ESRCH", "EINTR")
        if gone and killed:
            return  # a command of a process that another thread kills may end at any point
        judged = judge(result, step.expected, self._target.atomic)
        for name in judged.unseen:
            if name not in self._report.unseen:
                self._report.unseen.append(name)
        for problem in judged.problems:
            self._problem(problem, step)

    def _killed(self, thread: Sequence[Step], threads: Sequence[Sequence[Step]]) -> bool:
        mine = {p for step in thread if (p := getattr(step.command, "process", ""))}
        ends = (c.Kill, c.Exit)
        return any(
            isinstance(step.command, ends) and step.command.process in mine
            for other in threads
            if other is not thread
            for step in other
        )

    def _evaluate(self, judge: Judge) -> bool | None:
        """Whether the condition holds; None where the target does not tell what it asks."""
        results = {name: self._results.get(number) for name, number in judge.results.items()}
        try:
            return Evaluator(judge.values, facts_of(self._target).behaviours, results).truth(judge.condition)
        except Unseen as reason:
            if str(reason) not in self._report.unseen:
                self._report.unseen.append(str(reason))
            return None

    def _expect(self, step: Judge) -> None:
        if self._evaluate(step) is False:
            told = f"{step.text}: " if step.text else ""
            self._report.problems.append(
                Problem(f"{told}{step.condition.span.text} does not hold{self._shown(step)}", step.span)
            )

    def _outcomes(self, step: Outcomes) -> None:
        counted = self._report.outcomes.setdefault(f"line {step.span.line}", {name: 0 for name, _ in step.choices})
        met = [(name, self._evaluate(judge)) for name, judge in step.choices]
        for name, holds in met:
            counted[name] += holds is True
        if all(holds is False for _, holds in met):
            names = ", ".join(name for name, _ in step.choices)
            shown = self._shown(step.choices[0][1])
            self._report.problems.append(Problem(f"none of the outcomes {names} was met{shown}", step.span))

    def _shown(self, judge: Judge) -> str:
        """The results that a condition speaks of."""
        text = judge.condition.span.text
        told = [f"{n} is {self._results.get(k) or 'missing'}" for n, k in judge.results.items() if f"{n}." in text]
        return f" ({'; '.join(told)})" if told else ""

    # ---- the oracle and the end

    def _watch(self, step: Step | RaceStep | None) -> None:
        """Tell the oracle what happened since it was last told."""
        found: list[Finding] = []
        for event in self._target.log[self._seen :]:
            found += self._oracle.feed(event)
        self._seen = len(self._target.log)
        if isinstance(step, Step) and _explicit(step):
            # The scenario says itself what this command gives, and so it was: the oracle speaks of the data only.
            found = [f for f in found if f.check == "data"]
        self._findings(found, step)

    def _findings(self, found: Iterable[Finding], step: Step | RaceStep | None, when: str = "") -> None:
        fresh = []
        for finding in found:
            message = when + "; ".join((str(finding), *finding.details))
            if message not in self._told:
                self._told.add(message)
                fresh.append(message)
        for message in fresh[:_FINDINGS]:
            self._problem(message, step)
        if len(fresh) > _FINDINGS:
            self._problem(f"and {len(fresh) - _FINDINGS} more findings of that kind", step)

    def _read_back(self) -> None:
        """Load every page that can be: what was written last must be there."""
        for process, page, count in self._oracle.readable():
            self._target.run(c.Load(process, page, count))
            self._watch(None)
        self._findings(self._oracle.finish(), None)

    def _problem(self, message: str, step: Step | RaceStep | None) -> None:
        if len(self._report.problems) < _TOLD:
            does = str(step.command) if isinstance(step, Step) else ""
            self._report.problems.append(Problem(message, None if step is None else step.span, does))

    def _last(self) -> Step | None:
        """The step that was under way."""
        done = len(self._results)
        steps = [step for step in self._plan.steps if isinstance(step, Step)]
        return next((step for step in steps if step.number >= done), None)


def _explicit(step: Step) -> bool:
    """Whether the scenario says what comes of the command: more than success, and not just anything."""
    return step.expected != OK and all(want != WantOutcome("any") for case in step.expected for want in case)

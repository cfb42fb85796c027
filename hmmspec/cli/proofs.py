"""Proofs on all cores: which goals, each in a process of its own, their reports in the order of the files."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hmmspec.checker.parallel import Job, cores, in_parallel
from hmmspec.checker.symbolic.circuits import library
from hmmspec.checker.symbolic.proofs import Task, carry_out, tasks, undecided
from hmmspec.checker.symbolic.prover import Goal, ProveOptions, goals_of
from hmmspec.checker.verdict import InstanceReport, Progress
from hmmspec.cli.specs import Loaded
from hmmspec.cli.work import Proofs
from hmmspec.report.progress import ProgressLine
from hmmspec.report.proof_words import subject
from hmmspec.system.system import System

IN_CHECK = 300.0  # seconds of a core for each goal, where `check` is not told
# A goal is given seconds of a core; by the clock it is ended after so many times as long, and some seconds.
_PATIENCE, _GRACE = 3.0, 10.0


@dataclass(frozen=True)
class Plan:
    """What to prove and how: `goals` of each instance; certificates: where they go; jobs: processes at once."""

    goals: Callable[[System], Sequence[Goal]]
    options: ProveOptions
    certificates: Path | None = None
    jobs: int = 0
    expectations: bool = True


def clauses(specs: Sequence[Loaded], seconds: float | None, *, expectations: bool) -> Proofs:
    """The `prove` lines of specs, for `check`."""
    return proofs(specs, Plan(goals_of, ProveOptions(seconds=seconds or IN_CHECK), expectations=expectations))


def proofs(specs: Sequence[Loaded], plan: Plan) -> Proofs:
    """All goals of all specs."""
    found = [
        (loaded, task)
        for loaded in specs
        for task in tasks(loaded.spec, loaded.systems, plan.goals, expectations=plan.expectations)
    ]
    return Proofs([loaded for loaded, _ in found], partial(_run, [task for _, task in found], plan))


def _run(
    found: Sequence[Task], plan: Plan, progress: ProgressLine | None = None
) -> Generator[InstanceReport, None, None]:
    limit = plan.options.seconds * _PATIENCE + _GRACE
    begin = time.monotonic()
    phases: dict[int, str] = {}

    def told(number: int, value: object) -> None:
        if isinstance(value, Progress):
            phases[number] = value.phase
        if progress is not None:
            task = found[number]
            phase = f"proof {number + 1} of {len(found)}" + (f", {phases[number]}" if number in phases else "")
            passed = time.monotonic() - begin
            progress(Progress(task.system.name, subject_of(task), phase, 0, 0, 0, 0, passed))

    library()  # for all processes
    jobs = [Job(str(t), partial(_work, t, plan), limit, partial(undecided, t)) for t in found]
    yield from in_parallel(jobs, plan.jobs or cores(), told)


def subject_of(task: Task) -> str:
    """What a proof is about: `every number of Page`, `instance tiny`."""
    return subject(undecided(task, ""))


def _work(task: Task, plan: Plan, told: Callable[[object], None]) -> InstanceReport:
    return carry_out(task, plan.options, plan.certificates, told)

"""Which seeded defects are caught, by which check, within how many commands; with the debug checks and without.

A defect is *caught* when something is found while it is switched on, since nothing is found when none is: the sound
kernel is hunted, too.  Without debug checks only what a real kernel offers is looked at: data, specs, scenarios,
warnings in the log, tasks that hang, and whether amounts of memory come back to what they were.

NOTE(stages): a hunt has three stages, what is quickest first, and one account of commands for all of them.  All
defects go through a stage before the first goes to the next.  The checks change nothing of what happens, and see all
that is seen without them: so where a stage finds nothing with them, it is not run once more without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hmmspec.checker.parallel import Job, in_parallel
from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.follow.load import load_for
from hmmspec.conform.generate import Generator, RandomChooser, Shape, shape_for
from hmmspec.conform.judging import Judge, run_program
from hmmspec.conform.program import Program
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.scenario.expand import Choice, plans
from hmmspec.conform.scenario.parser import parse
from hmmspec.conform.scenario.plan import Plan
from hmmspec.conform.scenario.runner import facts_of, run_plan
from hmmspec.conform.target import Finding, Target
from hmmspec.conform.targets import open_target
from hmmspec.lang.load import read_source
from hmmspec.records import dataclass

CHUNK = 25  # programs of one shape in a row
SMALL = Choice(params={"N": 16, "count": 256}, seeds=8)
PLAIN, SCENARIOS, FOLLOWED = STAGES = (0, 1, 2)
SOUND = ""  # the name of no defect: the kernel as it is


@dataclass(frozen=True)
class Hunt:
    """What is done for each defect, `steps` commands in all: random programs, a twentieth of them, held against data
    and the kernel's own checks; the scenarios, with small buffers; then more random programs, against the specs, too.

    seconds: a stage that takes longer is ended, and told as ended.
    """

    steps: int = 20_000
    seed: int = 1
    profile: str = "latest"
    specs: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    races: bool = True
    seconds: float = 900.0


@dataclass(frozen=True)
class Caught:
    """How far the hunt for a defect has come; `by` is '' where nothing was found.

    by: the check (`invariant`, `leak`, `data`, `model`, `follower`, `kernel`, `hang`, `crash`, `scenario`); name: which
    of its kind; commands, programs: carried out until then, in all; scenario: the first that fails; stage: the last one
    that was done; -1: none yet; ended: why the hunt ended early.
    """

    defect: str
    checks: bool
    by: str = ""
    name: str = ""
    message: str = ""
    commands: int = 0
    seconds: float = 0.0
    scenario: str = ""
    stage: int = -1
    programs: int = 0
    ended: str = ""

    @property
    def over(self) -> bool:
        """Whether there is nothing more to do."""
        return bool(self.by or self.ended) or self.stage == STAGES[-1]


Results = dict[tuple[str, bool], Caught]


def shapes(target: Target, races: bool = True) -> tuple[Shape, ...]:
    """Plain programs, ones with failures, with races, with 2 MiB pages: what `conform` does."""
    out = [
        shape_for(target),
        shape_for(target, failures=True),
        shape_for(target, race=True, steps=25),
        shape_for(target, huge=True, steps=25),
        shape_for(target, race=True, failures=True, steps=25),
    ]
    return tuple(s for s in out if races or not s.race)


_FOLLOWERS: dict[str, Follower] = {}  # what they have worked out serves all defects


def judges_for(target: Target, specs: Iterable[str]) -> list[Judge]:
    """The data and the specs."""
    for path in specs:
        if path not in _FOLLOWERS:
            _FOLLOWERS[path] = Follower(load_for(path))
    return [DataJudge(target.atomic), *(_FOLLOWERS[path] for path in specs)]


def random_hunt(
    target: Target, judges: Sequence[Judge], hunt: Hunt, steps: int, first: int = 0
) -> tuple[Finding | None, int, int]:
    """Random programs from number `first` on, of so many commands, until something is found: it, the commands until
    then, and the number of the next program."""
    done, number = 0, first
    every = shapes(target, hunt.races)
    while done < steps:
        shape = every[number // CHUNK % len(every)]
        chooser = RandomChooser(hunt.seed * 1_000_003 + number)
        program = Generator(shape, chooser).program()
        outcome = run_program(target, program, judges, hunt.seed + number)
        done += outcome.commands
        number += 1
        if outcome.findings:
            return outcome.findings[0], done, number
    return None, done, number


def program_number(target: Target, hunt: Hunt, number: int) -> Program:
    """The program with this number, to run it again."""
    every = shapes(target, hunt.races)
    return Generator(every[number // CHUNK % len(every)], RandomChooser(hunt.seed * 1_000_003 + number)).program()


_PLANS: dict[tuple[str, ...], list[Plan]] = {}


def shortest_first(paths: tuple[str, ...], profile: str) -> list[Plan]:
    """The runs of all scenarios, those that touch the fewest pages first: found out once, on a kernel without
    defects."""
    if paths not in _PLANS:
        with open_target("ref", {"profile": profile, "checks": False}) as sound:
            facts = facts_of(sound)
            files = [parse(read_source(path)) for path in paths]
            found = [p for f in files for s in f.scenarios for p in plans(f, s, facts, SMALL) if not p.skipped]
            costs = [_cost(p, sound) for p in found]
        order = sorted(range(len(found)), key=lambda k: (costs[k], k))
        _PLANS[paths] = [found[k] for k in order]
    return _PLANS[paths]


def _cost(plan: Plan, target: Target) -> int:
    """Commands and pages that they are about, in all runs of a plan."""
    runs = run_plan(replace(plan, seeds=1), target)
    pages = sum(getattr(e.command, "count", 0) for e in target.log if e.command is not None)
    return (runs.commands + pages) * plan.seeds


def scenario_hunt(target: Target, todo: Iterable[Plan], steps: int) -> tuple[str, str, int]:
    """Scenarios until one fails, or so many commands were carried out: its name, what was wrong, the commands."""
    done = 0
    for plan in todo:
        if done >= steps:
            break
        report = run_plan(plan, target)
        done += report.commands
        if report.status == "failed":
            return plan.scenario.name, report.problems[0].message, done
    return "", "", done


def one_stage(before: Caught, hunt: Hunt) -> Caught:
    """The next stage of a hunt, in this process: how far it is then."""
    begin = time.monotonic()
    options = {"profile": hunt.profile, "defect": [before.defect] if before.defect else [], "checks": before.checks}
    stage, left = before.stage + 1, hunt.steps - before.commands
    with open_target("ref", options) as target:
        if stage == SCENARIOS:
            found, message, more = scenario_hunt(target, shortest_first(hunt.scenarios, hunt.profile), left)
            after = replace(before, by="scenario" if found else "", message=message, scenario=found)
        else:
            specs, steps = ((), hunt.steps // 20) if stage == PLAIN else (hunt.specs, left)
            finding, more, programs = random_hunt(target, judges_for(target, specs), hunt, steps, before.programs)
            after = replace(before, programs=programs)
            if finding is not None:
                after = replace(after, by=finding.check, name=finding.name, message=finding.message)
    taken = before.seconds + time.monotonic() - begin
    return replace(after, stage=stage, commands=before.commands + more, seconds=taken)


def hunt_one(name: str, checks: bool, hunt: Hunt) -> Caught:
    """One defect through all stages, in this process."""
    found = Caught(name, checks)
    while not found.over:
        found = one_stage(found, hunt)
    return found


def hunt_all(
    names: Sequence[str],
    hunt: Hunt,
    jobs: int,
    told: Callable[[Caught], None] | None = None,
    known: Mapping[tuple[str, bool], Caught] | None = None,
) -> Results:
    """Every defect, with and without checks, over several processes; `told` hears of each stage as it is done.

    known: what an earlier hunt of the same kind came to, which goes on from there.
    """
    out: Results = {(name, checks): Caught(name, checks) for name in names for checks in (True, False)}
    out |= {key: found for key, found in (known or {}).items() if key in out}

    def note(found: Caught) -> None:
        if out[found.defect, found.checks] != found:
            out[found.defect, found.checks] = found
            if told is not None:
                told(found)

    for stage, checks in ((stage, checks) for stage in STAGES for checks in (True, False)):
        todo: list[Caught] = []
        for (name, with_), found in list(out.items()):
            if with_ == checks and not found.over and found.stage < stage:
                more = out.get((name, True), found)
                if not checks and more.stage >= stage and not more.by and not more.ended:
                    note(replace(more, checks=False, seconds=0.0))
                else:
                    todo.append(found)
        if todo and stage == SCENARIOS:
            shortest_first(hunt.scenarios, hunt.profile)  # found out here, once for all
        if todo and stage == FOLLOWED:
            with open_target("ref", {"profile": hunt.profile, "checks": False}) as sound:
                random_hunt(sound, judges_for(sound, hunt.specs), hunt, WARM)
        for found in in_parallel([_job(before, hunt) for before in todo], jobs, lambda _n, x: _take(note, x)):
            note(found)
    return out


WARM = 600  # commands on which the followers learn before they are shared


def _take(note: Callable[[Caught], None], progress: object) -> None:
    if isinstance(progress, Caught):
        note(progress)


def _job(before: Caught, hunt: Hunt) -> Job[Caught]:
    def run(told: Callable[[object], None]) -> Caught:
        found = one_stage(before, hunt)
        told(found)
        return found

    def late(why: str, seconds: float) -> Caught:
        return replace(before, ended=why, seconds=before.seconds + seconds)

    return Job(before.defect or "the sound kernel", run, hunt.seconds, late)


def shipped_scenarios() -> tuple[str, ...]:
    """The scenario files of the project."""
    for root in (Path(__file__).resolve().parents[2], Path.cwd()):
        found = sorted(map(str, (root / "scenarios").glob("*.scn")))
        if found:
            return tuple(found)
    return ()

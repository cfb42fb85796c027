"""Which seeded defects are caught, by which check, within how many commands; with the debug checks and without.

A defect is *caught* when something is found while it is switched on, since nothing is found when none is.  Without
debug checks only what a real kernel offers is looked at: data, specs, scenarios, warnings in the log, tasks that hang,
and whether amounts of memory come back to what they were.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

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
from hmmspec.ref.defects import DEFECTS

CHUNK = 25  # programs of one shape in a row
SMALL = Choice(params={"N": 16, "count": 256}, seeds=3)


@dataclass(frozen=True)
class Hunt:
    """What is done for each defect: random programs of so many commands, held against data and the kernel's own checks;
    where that finds nothing the scenarios, with small buffers; then the same programs once more, against the specs.
    What is quickest comes first."""

    steps: int = 20_000
    seed: int = 1
    profile: str = "latest"
    specs: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    races: bool = True


@dataclass(frozen=True)
class Caught:
    """How a defect was caught; `by` is '' where it was not.

    by: the check (`invariant`, `leak`, `data`, `model`, `follower`, `kernel`, `hang`, `crash`, `scenario`); name: which
    of its kind; commands: carried out until then, in all; scenario: the first that fails.
    """

    defect: str
    checks: bool
    by: str = ""
    name: str = ""
    message: str = ""
    commands: int = 0
    seconds: float = 0.0
    scenario: str = ""


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


_FOLLOWERS: dict[str, Follower] = {}  # what they have worked out serves all defects of this process


def judges_for(target: Target, specs: Iterable[str]) -> list[Judge]:
    """The data and the specs."""
    for path in specs:
        if path not in _FOLLOWERS:
            _FOLLOWERS[path] = Follower(load_for(path))
    return [DataJudge(target.atomic), *(_FOLLOWERS[path] for path in specs)]


def random_hunt(target: Target, judges: Sequence[Judge], hunt: Hunt) -> tuple[Finding | None, int, Program]:
    """Random programs until something is found: it, the commands until then, and the program."""
    done, number = 0, 0
    every = shapes(target, hunt.races)
    while done < hunt.steps:
        shape = every[number // CHUNK % len(every)]
        chooser = RandomChooser(hunt.seed * 1_000_003 + number)
        program = Generator(shape, chooser).program()
        outcome = run_program(target, program, judges, hunt.seed + number)
        done += outcome.commands
        number += 1
        if outcome.findings:
            return outcome.findings[0], done, program
    return None, done, ()


_PLANS: dict[tuple[str, ...], list[Plan]] = {}


def shortest_first(paths: tuple[str, ...], options: Mapping[str, object]) -> list[Plan]:
    """The runs of all scenarios, those with the fewest commands first: found out once, on a kernel without defects."""
    if paths not in _PLANS:
        with open_target("ref", {**options, "defect": []}) as sound:
            facts = facts_of(sound)
            files = [parse(read_source(path)) for path in paths]
            found = [p for f in files for s in f.scenarios for p in plans(f, s, facts, SMALL) if not p.skipped]
            lengths = [run_plan(p, sound).commands for p in found]
        order = sorted(range(len(found)), key=lambda k: (lengths[k], k))
        _PLANS[paths] = [found[k] for k in order]
    return _PLANS[paths]


def scenario_hunt(target: Target, todo: Iterable[Plan]) -> tuple[str, str, int]:
    """Scenarios until one fails: its name, what was wrong, the commands until then."""
    done = 0
    for plan in todo:
        report = run_plan(plan, target)
        done += report.commands
        if report.status == "failed":
            return plan.scenario.name, report.problems[0].message, done
    return "", "", done


def hunt_one(name: str, checks: bool, hunt: Hunt) -> Caught:
    """One defect, in this process."""
    begin = time.monotonic()
    options = {"profile": hunt.profile, "defect": [name] if name else [], "checks": checks}
    with open_target("ref", options) as target:
        finding, commands, _ = random_hunt(target, judges_for(target, ()), hunt)
    if finding is None and hunt.scenarios:
        with open_target("ref", options) as target:
            scenario, message, more = scenario_hunt(target, shortest_first(hunt.scenarios, options))
        commands += more
        if scenario:
            return Caught(name, checks, "scenario", "", message, commands, time.monotonic() - begin, scenario)
    if finding is None and hunt.specs:
        with open_target("ref", options) as target:
            finding, more, _ = random_hunt(target, judges_for(target, hunt.specs), hunt)
        commands += more
    taken = time.monotonic() - begin
    if finding is None:
        return Caught(name, checks, commands=commands, seconds=taken)
    return Caught(name, checks, finding.check, finding.name, finding.message, commands, taken)


def hunt_all(
    names: Sequence[str], hunt: Hunt, jobs: int, told: Callable[[Caught], None] | None = None
) -> dict[tuple[str, bool], Caught]:
    """Every defect, with and without checks, over several processes; `told` hears of each as it is done."""
    out: dict[tuple[str, bool], Caught] = {}
    work = [(name, checks) for name in names for checks in (True, False)]
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(hunt_one, name, checks, hunt): (name, checks) for name, checks in work}
        for future in as_completed(running):
            caught = future.result()
            out[running[future]] = caught
            if told is not None:
                told(caught)
    return out


# ---------------------------------------------------------------- the report


def page(found: Mapping[tuple[str, bool], Caught], hunt: Hunt) -> Iterator[str]:
    """The report as a Markdown page."""
    names = [n for n in DEFECTS if (n, True) in found and (n, False) in found]
    yield "# Seeded defects"
    yield ""
    yield (
        f"Each defect of `hmmspec/ref/defects.py`, switched on alone in the reference kernel ({hunt.profile}), and "
        f"random programs (seed {hunt.seed}) until something was found, at most {hunt.steps:,} commands; where that "
        "found nothing "
        + ("the scenarios of `scenarios/`, with small buffers; then " if hunt.scenarios else "")
        + "the same programs against the specs.  The commands are those of all of this together.  "
        "*Checks off* is all that a real kernel offers: data, specs, warnings, hangs, amounts of memory.  Made by "
        "`hmmspec conform --seeded --page docs/defects.md`."
    )
    yield ""
    for checks, told in ((True, "on"), (False, "off")):
        caught = [found[n, checks] for n in names if found[n, checks].by]
        by = ", ".join(f"{k} {n}" for k, n in Counter(c.by for c in caught).most_common())
        share = 100 * len(caught) / max(1, len(names))
        yield f"- Checks {told}: {len(caught)} of {len(names)} caught ({share:.0f} %): {by}."
    yield ""
    yield "| defect | what goes wrong | checks on | commands | checks off | commands |"
    yield "| --- | --- | --- | ---: | --- | ---: |"
    for name in names:
        on, off = found[name, True], found[name, False]
        what = DEFECTS[name].what + (f" (`{DEFECTS[name].fix}`)" if DEFECTS[name].fix else "")
        yield f"| {name} | {what} | {_by(on)} | {on.commands:,} | {_by(off)} | {off.commands:,} |"


def _by(caught: Caught) -> str:
    if not caught.by:
        return "**missed**"
    return f"{caught.by} {caught.name or caught.scenario}".strip()


def document(found: Mapping[tuple[str, bool], Caught], hunt: Hunt) -> dict[str, object]:
    """The report as JSON."""
    return {
        "format": "hmmspec seeded defects",
        "version": 1,
        "steps": hunt.steps,
        "seed": hunt.seed,
        "profile": hunt.profile,
        "defects": [
            {
                "defect": c.defect,
                "checks": c.checks,
                "caught_by": c.by or None,
                "name": c.name,
                "message": c.message,
                "commands": c.commands,
                "scenario": c.scenario or None,
                "wall_seconds": round(c.seconds, 1),
            }
            for c in found.values()
        ],
    }


def shipped_scenarios() -> tuple[str, ...]:
    """The scenario files of the project."""
    for root in (Path(__file__).resolve().parents[2], Path.cwd()):
        found = sorted(map(str, (root / "scenarios").glob("*.scn")))
        if found:
            return tuple(found)
    return ()

"""The list of seeded defects and the code agree, and each defect makes a difference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hmmspec.conform.generate import Generator, RandomChooser
from hmmspec.conform.program import Program, play
from hmmspec.conform.reference import LARGE, ReferenceTarget
from hmmspec.conform.scenario.expand import Choice, plans
from hmmspec.conform.scenario.parser import parse
from hmmspec.conform.scenario.plan import Plan
from hmmspec.conform.scenario.runner import facts_of, run_plan
from hmmspec.conform.seeded import shapes
from hmmspec.conform.target import TargetLost
from hmmspec.lang.load import read_source
from hmmspec.ref.defects import DEFECTS, declare
from hmmspec.ref.state import Kernel
from tests.ref.drivers import everything

REF = Path(__file__).resolve().parents[2] / "hmmspec" / "ref"
PROGRAMS = 200  # of each, before scenarios are asked
# Narrow races and aborted steps, which so few programs may well miss.
RARE = (
    *("fork-keeps-migration-write", "zap-puts-migration", "zap-flushes-late", "notifier-remove-early"),
    *("check-off-by-one", "restore-loses-uffd", "fault-takes-no-lock"),
    *("longterm-stays-on-device", "huge-insert-leaks-table", "notifier-ignores-failure", "notifier-counter-leak"),
)


def test_every_defect_is_asked_for_and_no_other() -> None:
    asked: set[str] = set()
    for path in REF.rglob("*.py"):
        if path.name != "defects.py":
            asked |= set(re.findall(r'"([a-z0-9-]+)" (?:not )?in (?:\w+\.)*defects\b', path.read_text()))
            asked |= {name for name in re.findall(r'"([a-z0-9-]+-[a-z0-9-]+)"', path.read_text()) if name in DEFECTS}
    assert asked == set(DEFECTS)


def test_there_are_enough_and_each_says_what_it_is() -> None:
    assert len(DEFECTS) >= 40
    texts = [d.what for d in DEFECTS.values()]
    assert len(set(texts)) == len(texts)
    assert all(len(text) > 15 and not text.endswith(".") for text in texts)
    with pytest.raises(ValueError, match="two defects"):
        declare(next(iter(DEFECTS)), "once more")


def test_a_name_that_is_not_on_the_list() -> None:
    with pytest.raises(ValueError, match="no defect 'nonsense'"):
        Kernel(defects=["nonsense"])


@pytest.mark.slow
def test_every_defect_changes_what_happens() -> None:
    """Programs, and then scenarios, run on the sound kernel and on each defective one until something is not the same."""
    left = dict.fromkeys(DEFECTS)
    for program, seed in programs():
        wanted = trail((), program, seed)
        for name in list(left):
            if trail((name,), program, seed) != wanted:
                del left[name]
        if not left:
            break
    for plan in scenarios():
        if set(left) <= set(RARE):
            break
        wanted = story((), plan)
        for name in list(left):
            if story((name,), plan) != wanted:
                del left[name]
    assert set(left) <= set(RARE)


def programs() -> Iterator[tuple[Program, int]]:
    """Programs of every shape, with their seeds."""
    every = shapes(ReferenceTarget())
    for number in range(PROGRAMS):
        yield Generator(every[number % len(every)], RandomChooser(number)).program(), number


def scenarios() -> list[Plan]:
    """All scenarios with small buffers, those on huge pages first."""
    paths = sorted((REF.parents[1] / "scenarios").glob("*.scn"), key=lambda p: (p.stem != "huge", p.stem))
    facts, out = facts_of(ReferenceTarget()), []
    for path in paths:
        file = parse(read_source(str(path)))
        for scenario in file.scenarios:
            out += plans(file, scenario, facts, Choice(params={"N": 64}, seeds=3))
    return out


def story(defects: tuple[str, ...], plan: Plan) -> object:
    """What can be told of a run of a scenario: problems, and the log of its last round."""
    target = ReferenceTarget(defects=defects, checks=False, config=LARGE)
    report = run_plan(plan, target)
    return report.status, [p.message for p in report.problems], [str(event) for event in target.log]


def trail(defects: tuple[str, ...], program: Program, seed: int) -> object:
    """All that can be told of a run: the log, and the whole state at its end."""
    target = ReferenceTarget(defects=defects, checks=False)
    try:
        play(target, program, seed)
    except TargetLost as lost:
        return str(lost)
    state = everything(target.k, target.line)
    data = target.k.frames.data
    used = np.flatnonzero(target.k.frames.v.refcount)
    return [str(event) for event in target.log], state, b"" if data is None else data[used].tobytes()

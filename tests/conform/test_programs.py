"""Programs that once were found wrong by mistake, or found a mistake of the kernel: now everybody agrees on them.

Each is a file of `programs/`: what it is about, the program (for `hmmspec conform --replay`, too), and with how many seeds
its races are run.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.follow.load import load_for
from hmmspec.conform.judging import Judge, run_program
from hmmspec.conform.program import Race, from_json
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.reference import ReferenceTarget
from hmmspec.conform.shipped import shipped

FILES = sorted((Path(__file__).parent / "programs").glob("*.json"))


@functools.cache
def judges() -> Sequence[Judge]:
    return [DataJudge(True), *(Follower(load_for(path)) for path in shipped())]


@functools.cache
def target(profile: str) -> ReferenceTarget:
    return ReferenceTarget(profile)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", ["latest", "6.12"])
def test_nothing_is_found(path: Path, profile: str) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    program = from_json(data["program"])
    for seed in range(data["seeds"]):
        steps = tuple(dataclasses.replace(s, seed=seed) if isinstance(s, Race) else s for s in program)
        outcome = run_program(target(profile), steps, judges(), seed)
        assert [str(f) for f in outcome.findings] == [], (data["about"], seed)


def test_there_are_programs() -> None:
    assert FILES

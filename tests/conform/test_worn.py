"""A target that stays wrong once something has gone wrong: what is found is tried again on one started anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from io import StringIO

import pytest

from hmmspec.cli.conform import ConformProgress
from hmmspec.cli.main import main
from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.generate import shape_for
from hmmspec.conform.program import length
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.results import Result
from hmmspec.conform.session import Explorer, Plan, Session
from hmmspec.conform.telling import document, told
from hmmspec.report.style import PLAIN
from tests.conform.fake import FakeTarget


class Worn(FakeTarget):
    """From its so many-th Fork on every page is read wrong, until it is started anew."""

    deterministic = False

    def __init__(self, forks: int) -> None:
        super().__init__()
        self.limit = forks
        self.forks = 0
        self.starts = 1
        self.anew = False

    def renew(self) -> bool:
        self.anew = True
        return True

    def _restart(self, seed: int) -> None:
        super()._restart(seed)
        if self.anew:
            self.anew, self.forks = False, 0
            self.starts += 1

    def do(self, command: Command) -> Result:
        result = super().do(command)
        self.forks += isinstance(command, c.Fork) and not result.error
        if isinstance(command, c.Load) and result.stamps and self.forks >= self.limit:
            return Result(cpages=result.cpages, stamps=tuple(stamp + 1 for stamp in result.stamps))
        return result


def session(target: Worn, progress: Callable[[Session], None] | None = None) -> Session:
    plan = Plan(3000, 1, (shape_for(target),), shrinking=3.0, deterministic=False)
    return Explorer(target, [DataJudge()], plan, progress).explore()


def test_the_program_that_did_it_is_the_one_that_is_told() -> None:
    """The second program of a session that fails has no Fork in it, nor has a smaller one that fails then."""
    target = Worn(1)
    found = session(target).found
    assert found is not None
    words = [step.word for step in found.program]  # type: ignore[union-attr]
    assert words.count("fork") == 1
    assert length(found.program) <= 4, words
    assert found.again == found.repeats == 3
    assert not found.worn
    assert target.starts > 3


def test_the_progress_goes_on_while_what_was_found_is_looked_for_again() -> None:
    said = StringIO()
    s = session(Worn(1), ConformProgress(said, 3000, file_every=0.0))
    lines = said.getvalue().splitlines()
    assert lines[0].startswith("conform: ") and lines[0].endswith(" a second")
    assert lines[-1] == (
        f"conform: something is wrong after {s.commands:,} commands; looking for it again, and smaller: run {s.again}"
    )


def test_what_needs_more_than_one_program_is_told_as_such() -> None:
    target = Worn(25)
    s = session(target)
    assert s.found is not None
    assert s.found.worn
    said = " ".join(" ".join(told(s, PLAIN)).split())
    assert "3 repeats, but not on a target started anew: something that ran before it is needed, too" in said
    assert json.loads(json.dumps(document(s, 1)))["found"]["needs_what_ran_before"] is True


def test_a_pair_is_renewed_with_the_target_that_can_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmmspec.cli.conform.SHRINKING", 3.0)
    pair = "tests.conform.fake:make,tests.conform.test_worn:make"
    assert main(["conform", "--no-spec", "--quiet", "--steps", "600", "--target", pair]) == 1
    said = capsys.readouterr().out
    program = said.split("the shortest program found")[1].split("what was seen")[0]
    assert "fork" in program
    assert "started anew" not in said


def make(_: Mapping[str, object]) -> Worn:
    """For `--target tests.conform.test_worn:make`."""
    return Worn(1)

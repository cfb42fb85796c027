"""Half of a write: fine on a target that is not atomic where somebody writes at that moment, and nowhere else."""

from __future__ import annotations

import pytest

from hmmspec.conform.results import TORN, Result
from hmmspec.conform.scenario.judge import judge
from hmmspec.conform.scenario.plan import WantOutcome, WantStamps

ONE = (WantOutcome("ok"), WantStamps(0, 2, 0, ((1, False),)))
TWO = (WantOutcome("ok"), WantStamps(0, 2, 0, ((1, False), (11, False))))


@pytest.mark.parametrize(
    ("case", "stamps", "atomic", "good"),
    [
        (TWO, (1, 12), True, True),
        (TWO, (1, TORN), True, False),
        (TWO, (1, TORN), False, True),
        (TWO, (1, 5), False, False),
        (ONE, (1, TORN), False, False),
    ],
)
def test_torn_pages(case: tuple[WantOutcome, WantStamps], stamps: tuple[int, ...], atomic: bool, good: bool) -> None:
    assert (not judge(Result(cpages=2, stamps=stamps), [case], atomic).problems) == good

"""Limits and interrupts: what was shown stays, the rest is unknown, and it is never a success."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from hmmspec.checker.explicit.limits import LimitReached, show_bytes
from hmmspec.checker.verdict import Level, Progress, Status
from tests.checker.helpers import checked, statuses, system_of, verdict

GRID = """
type Row = 0..7;
var at[Row]: 0..5 = 0;
transition up(r: Row) when at[r] < 5 { at[r] += 1; }
transition down(r: Row) when at[r] > 0 { at[r] -= 1; }
invariant early: at[0] + at[1] < 2;
invariant late: exists r: Row { at[r] < 5 };
step small: forall r: Row { at'[r] <= at[r] + 1 };
reachable soon: at[3] == 1;
reachable top: forall r: Row { at[r] == 5 };
recoverable home: forall r: Row { at[r] == 0 };
leads_to first_moves: at[0] == 0 ~> at[0] > 0;
"""


def test_a_limit_of_states() -> None:
    report = checked(system_of(GRID), states=400)
    assert report.states == 400
    assert report.limit == "limit of 400 states"
    assert report.exit_code == 1  # `early` is violated, limit or not
    expected = {"early": "violated", "late": "unknown", "small": "unknown", "soon": "holds", "top": "unknown"}
    # Nothing is fair: that a run may stay in its first state for ever is true, limit or not.
    expected |= {"home": "unknown", "first_moves": "violated", "spec_error": "unknown", "deadlock": "unknown"}
    assert statuses(report) == expected
    assert all(v.level is Level.INCOMPLETE for v in report.verdicts if v.status is Status.UNKNOWN)


def test_a_limit_that_is_just_enough_is_none() -> None:
    text = "var x: 0..9 = 0; transition up when x < 9 { x += 1; } terminal top: x == 9;"
    assert checked(system_of(text), states=10).exit_code == 0
    assert checked(system_of(text), states=9).exit_code == 3


def test_expectations_wait_for_a_complete_search() -> None:
    text = GRID + "expect default violates early, late; expect default has 7 states;"
    report = checked(system_of(text), states=300)
    assert report.problems == ()
    assert verdict(report, "early").expected
    assert not verdict(report, "first_moves").expected


def test_a_limit_of_time() -> None:
    report = checked(system_of(GRID), seconds=0.3)
    assert report.limit == "time limit of 0.3s"
    assert report.wall_seconds < 20
    assert statuses(report)["early"] == "violated"


def test_a_limit_after_the_search_leaves_what_the_search_showed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_time(*_: object) -> None:
        raise LimitReached("time limit of 1s")

    monkeypatch.setattr("hmmspec.checker.explicit.engine.check_leads_to", no_time)
    text = "var x: bool = false; transition t { x := !x; } invariant i: x || !x; leads_to l: x ~> !x;"
    report = checked(system_of(text))
    assert statuses(report) == {"i": "holds", "l": "unknown", "spec_error": "holds", "deadlock": "holds"}
    assert (report.limit, report.exit_code) == ("time limit of 1s", 3)


def test_a_limit_of_memory() -> None:
    report = checked(system_of(GRID), memory=1 << 20)
    assert report.limit == "memory limit of 1M"
    assert statuses(report)["late"] == "unknown"


def test_limits_with_symmetry_and_edges() -> None:
    text = GRID.replace("0..7;", "symmetric[7];", 1).replace("at[0] + at[1] < 2", "count(r: Row | at[r] > 0) < 2")
    text = text.replace("reachable soon: at[3] == 1;", "").replace("leads_to first_moves: at[0] == 0 ~> at[0] > 0;", "")
    report = checked(system_of(text), states=60)
    assert (report.orbits, report.reduction) == (60, "orbits")
    assert report.states is not None and report.states > 60
    assert statuses(report)["home"] == "unknown"
    assert statuses(report)["early"] == "violated"


def test_an_interrupt_leaves_what_was_shown() -> None:
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        report = checked(system_of(GRID))
    finally:
        timer.cancel()
    assert report.interrupted
    assert statuses(report)["early"] == "violated"
    assert statuses(report)["late"] == "unknown"
    assert report.exit_code == 1


def test_an_interrupt_without_violation_exits_130() -> None:
    text = GRID.replace("invariant early: at[0] + at[1] < 2;", "").replace("leads_to", "// leads_to")
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        report = checked(system_of(text))
    finally:
        timer.cancel()
    assert report.exit_code == 130


def test_progress_is_sent_now_and_then() -> None:
    seen: list[Progress] = []
    checked(system_of(GRID), seen.append, seconds=1.8)
    assert 1 <= len(seen) <= 4
    assert [p.states for p in seen] == sorted(p.states for p in seen)
    assert all(p.phase for p in seen)


def test_amounts_of_memory_as_on_the_command_line() -> None:
    assert [show_bytes(n) for n in (2 << 30, 512 << 20, 3 << 10, 7)] == ["2G", "512M", "3K", "7"]

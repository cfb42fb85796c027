"""Warnings about specs that say less than they seem to: HMM090 to HMM094."""

from __future__ import annotations

import pytest

from tests.checker.helpers import checked, system_of

NEVER_POSSIBLE = """
var pins: 0..1 = 0;
transition pin when pins == 0 { pins := 1; }
transition unpin when pins == 1 { pins := 0; }
transition unpin_twice when pins > 1 { pins -= 1; }
"""
NEVER_REACHED = """
var ready: bool = false;
thread fault { take: if (ready) { goto work; } restart; work: ready := false; restart; }
"""
NEVER_LEFT = """
var ready: 0..1 = 0;
thread fault { take: await ready == 1; }
terminal waiting: fault == take;
"""
LEFT_SIDE = """
type Page = symmetric[2];
var pins[Page]: 0..2 = 0;
transition pin(p: Page) when pins[p] == 0 { pins[p] := 1; }
transition unpin(p: Page) when pins[p] == 1 { pins[p] := 0; }
invariant says_something: forall p: Page { pins[p] > 0 => pins[p] == 1 };
invariant says_nothing: forall p: Page { pins[p] > 1 => pins[p] == 0 } && (exists p: Page { pins[p] < 2 });
"""
LEADS_TO = """
var x: 0..3 = 0;
transition go when x < 2 { x += 1; }
terminal over: x == 2;
fair go;
leads_to asked: x == 0 ~> x == 2;
leads_to not_asked: x == 3 ~> x == 2;
"""


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        (NEVER_POSSIBLE, "HMM090", "unpin_twice"),
        (NEVER_REACHED, "HMM091", "fault.work"),
        (NEVER_LEFT, "HMM091", "fault.take"),
        (LEFT_SIDE, "HMM092", "says_nothing"),
        (LEADS_TO, "HMM093", "not_asked"),
    ],
)
def test_one_warning(text: str, code: str, word: str) -> None:
    report = checked(system_of(text))
    assert [(w.code, word in w.message) for w in report.warnings] == [(code, True)]
    assert report.exit_code == 0


def test_no_warning_where_a_limit_ended_the_search() -> None:
    """What was not seen yet may still come."""
    report = checked(system_of(NEVER_POSSIBLE), states=1)
    assert report.limit
    assert report.warnings == ()


def test_no_warning_where_runs_end_in_errors() -> None:
    report = checked(system_of("var x: 0..1 = 0; transition up { x += 1; } transition never when x == 2 { skip; }"))
    assert report.exit_code == 1
    assert report.warnings == ()


def test_nothing_to_check_is_no_success() -> None:
    report = checked(
        system_of("var free: 0..4 = 0; assume some: free > 0; transition t { skip; } invariant i: free < 9;")
    )
    assert [w.code for w in report.warnings] == ["HMM094"]
    assert "nothing was checked" in report.problems[0]
    assert report.exit_code == 1
    assert {v.status.value for v in report.verdicts} == {"unknown"}

"""Running scenarios on the fake target: what is right passes, and each way to be wrong is seen."""

from __future__ import annotations

import pytest

from hmmspec.conform.results import Result
from hmmspec.conform.scenario.expand import Choice, plans
from hmmspec.conform.scenario.judge import byte_text, judge, map_text
from hmmspec.conform.scenario.parser import parse
from hmmspec.conform.scenario.report import exit_code, plan_lines, summary, to_plain
from hmmspec.conform.scenario.runner import PlanReport, facts_of, run_plan
from hmmspec.diagnostics import Source
from hmmspec.report.style import Style
from tests.scenario.fake import Fake
from tests.scenario.test_format import steps

ALL = Choice()
MOVES = """\
scenario moves "a page moves" {
  device gpu private
  gpu.open
  mmap [0, 4) rw
  store [0, 4) = 1
  gpu.migrate_to_device [0, 4)
}
"""


def ran(text: str, target: Fake | None = None, choice: Choice = ALL) -> list[PlanReport]:
    target = target or Fake()
    file = parse(Source("x.scn", text))
    return [run_plan(p, target) for s in file.scenarios for p in plans(file, s, facts_of(target), choice)]


def problems(text: str, wrong: str = "") -> list[str]:
    (report,) = ran(text, Fake(wrong))
    return [p.message for p in report.problems]


def test_right_is_right() -> None:
    (report,) = ran(MOVES)
    assert (report.status, report.runs, report.commands, report.problems) == ("passed", 1, 4, [])


def test_lost_data_is_seen_although_nothing_was_expected_of_it() -> None:
    found = problems(MOVES, "loses")
    assert "read as 0; it must hold 1" in found[0]
    assert "more findings" in found[-1]


def test_a_leak_is_seen() -> None:
    assert problems(MOVES, "leaks") == ["after the end: leak dev0: 2 device pages are not free"]


def test_the_targets_own_checks_are_told() -> None:
    (report,) = ran(MOVES, Fake("warns"))
    assert [p.message for p in report.problems] == ["kernel: a warning"]
    assert report.problems[0].span is not None and report.problems[0].span.line == 6


def test_a_lost_target_is_a_failure() -> None:
    (report,) = ran(MOVES, Fake("dies"))
    assert report.status == "failed"
    assert report.problems[0].message == "the target was lost: it hangs"
    assert report.problems[0].span is not None and report.problems[0].span.line == 6


def test_what_a_target_does_not_tell_is_not_judged() -> None:
    text = MOVES.replace(
        "migrate_to_device [0, 4)", "migrate_to_device [0, 4) as r -> pages 77\n  expect r.pages == 77"
    )
    (report,) = ran(text, Fake("quiet"))
    assert report.status == "passed"
    assert "pages" in report.unseen
    (report,) = ran(text)
    assert [p.message for p in report.problems] == ["pages 77 expected, 4 seen"]


@pytest.mark.parametrize(
    ("expected", "result", "message"),
    [
        ("load [0, 2)", Result("SIGBUS", cpages=1), "ok expected, SIGBUS seen"),
        ("load [0, 2) -> SIGBUS", Result(cpages=2, stamps=(1, 2)), "SIGBUS expected, ok seen"),
        ("load [0, 2) -> error", Result(), "an error expected, ok seen"),
        ("load [0, 2) -> SIGBUS | SIGSEGV", Result("ENOMEM"), "SIGBUS or SIGSEGV expected, ENOMEM seen"),
        ("load [0, 2) -> data 1", Result(stamps=(1, 1)), "data of page 1: 2 expected, 1 seen"),
        ("load [4, 6) -> data zero", Result(stamps=(0, -1)), "data of page 5: zero expected, torn data seen"),
        ("load [0, 2) -> data 1", Result(stamps=(7, 8)), "data of page 0: 1 expected, 7 seen (2 of 2 pages differ)"),
        ("load [0, 2) -> data [1] 3 or zero", Result(stamps=(0, 5)), "data of page 1: 3 or zero expected, 5 seen"),
        ("load [0, 2) -> data 1", Result(stamps=(1,)), "data of page 1: 2 expected, nothing seen"),
        ("gpu.read [0] -> faults <= 1", Result(faults=3), "faults <= 1 expected, 3 seen"),
        (
            "gpu.snapshot [0] -> byte READ or WRITE + LOCAL",
            Result(snapshot=(0x26,)),
            "byte of page 0: READ or WRITE + LOCAL expected, WRITE + PMD + PRIV_LOCAL seen",
        ),
    ],
)
def test_judged(expected: str, result: Result, message: str) -> None:
    (step,) = steps(expected)
    assert judge(result, step.expected).problems == (message,)


@pytest.mark.parametrize(
    ("expected", "result"),
    [
        ("load [0, 2) -> data 1", Result(stamps=(1, 2))),
        ("load [0, 2) -> data each 1", Result(stamps=(1, 1))),
        ("load [0, 2) -> SIGBUS, pages 1, data [0] 1", Result("SIGBUS", cpages=1, stamps=(1,))),
        ("load [0, 2) -> data 9 | SIGBUS", Result("SIGBUS")),
        ("load [0, 2) -> any", None),
        ("gpu.snapshot [0] -> byte READ or NONE", Result(snapshot=(0,))),
        ("gpu.read [0] -> pages 1 | error", Result("EBUSY")),
    ],
)
def test_accepted(expected: str, result: Result | None) -> None:
    (step,) = steps(expected)
    assert judge(result, step.expected).problems == ()


def test_a_call_that_never_returns() -> None:
    (step,) = steps("load [0]")
    assert judge(None, step.expected).problems == ("the command never returned",)


def test_bits_in_words() -> None:
    assert [byte_text(b) for b in (0xFF, 0, 0x11, 0x26, 0x52, 0x77)] == [
        "ERROR",
        "NONE",
        "READ + ZERO",
        "WRITE + PMD + PRIV_LOCAL",
        "WRITE + COH_REMOTE",
        "0x77",
    ]
    assert map_text(0b101) == "present + soft_dirty"


RACE = """\
scenario s {
  seeds 40
  mmap [0, 4) rw
  store [0, 4) = 1
  race {
    thread { munmap [2, 4) as u }
    thread { load [0, 4) as r -> data 1 | SIGSEGV, pages 2 }
  }
  outcome whole: r.ok
  outcome cut: !r.ok
  expect u.ok "munmap never fails"
}
"""


def test_outcomes_are_counted() -> None:
    (report,) = ran(RACE)
    assert report.runs == 40
    ((_, met),) = report.outcomes.items()
    assert met["whole"] + met["cut"] == 40
    assert min(met.values()) > 0, "the seeds show both"
    (report,) = ran(RACE, choice=Choice(seeds=3))
    assert report.runs == 3


def test_a_race_that_fails_tells_the_seed() -> None:
    (report,) = ran(RACE.replace("  outcome cut: !r.ok\n", ""))
    assert report.status == "failed"
    assert report.seed == report.runs - 1
    assert "none of the outcomes whole was met (r is SIGSEGV" in report.problems[0].message
    lines = plan_lines(report, Style(200), "do it again")
    assert lines[0] == f"  s: FAILED with seed {report.seed}, after {report.seed} good runs"
    assert lines[-1] == "    again: do it again"


def test_expect_tells_its_text_and_the_results() -> None:
    text = 'scenario s {\n  mmap [0] rw\n  load [0] as r\n  expect r.data[0] == 5 "five"\n}\n'
    assert problems(text) == ["five: r.data[0] == 5 does not hold (r is ok cpages=1 stamps=0)"]


def test_reports() -> None:
    reports = ran(MOVES + "scenario t {\n  needs device_thp\n  mmap [0] rw\n}\n")
    assert [line for r in reports for line in plan_lines(r, Style(100), "")] == [
        "  moves: ok",
        "  t: skipped, it needs device_thp",
    ]
    assert summary(reports, Style(100)) == "2 scenarios: 1 ok, 1 skipped; 4 commands"
    assert exit_code(reports) == 0
    assert exit_code(reports[1:]) == 3
    assert exit_code(ran(MOVES, Fake("loses"))) == 1
    plain = to_plain(reports, Fake(), 0, "1.0")
    first, second = plain["scenarios"]  # type: ignore[misc]
    assert (first["scenario"], first["status"], first["commands"]) == ("moves", "passed", 4)  # type: ignore[index, call-overload]
    assert (second["status"], second["skipped"]) == ("skipped", "it needs device_thp")  # type: ignore[index, call-overload]

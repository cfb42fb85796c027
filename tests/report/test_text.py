"""Reports for people: exact words, narrow lines, nothing lost."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from hmmspec.checker.verdict import Coverage, InstanceReport, Level, Status, Trace, Verdict
from hmmspec.diagnostics import Diagnostic, Severity
from hmmspec.report.phrases import seconds
from hmmspec.report.style import MAIL_WIDTH, PLAIN, Style
from hmmspec.report.text import TextOptions, report_text, summary_line
from hmmspec.report.trace_text import TraceOptions, split_cell, state_text, trace_lines
from hmmspec.report.words import counts, sentence

ALL = TextOptions(traces=True, witness=True, coverage=True, full_states=True)
DEFAULT = TextOptions()


def told(report: InstanceReport) -> list[str]:
    return [sentence(report, v) for v in report.verdicts]


def test_exhaustive_says_how_many_states(good: InstanceReport) -> None:
    assert told(good)[0] == "holds in all 133 reachable states of instance tiny (exhaustive)"
    orbits = replace(good, orbits=45, reduction="orbits")
    assert told(orbits)[0] == "holds in all 133 reachable states of instance tiny (exhaustive, 45 orbits)"
    unknown = replace(good, states=None, orbits=310, reduction="representatives")
    assert told(unknown)[0] == "holds in all reachable states of instance tiny (exhaustive, 310 representatives)"


def test_violations_say_how_long_and_whether_shortest(bad: InstanceReport, expected_bad: InstanceReport) -> None:
    assert told(bad)[0] == "violated, shortest trace of 3 steps"
    assert told(expected_bad)[0] == "violated as expected, shortest trace of 3 steps"
    longer = replace(bad, verdicts=(replace(bad.verdicts[0], level=Level.VIOLATED),))
    assert told(longer) == ["violated, trace of 3 steps (not known to be shortest)"]


def test_reachable_never_reached_has_no_trace(good: InstanceReport) -> None:
    never = Verdict("both_used", "reachable", "", Status.VIOLATED, Level.EXHAUSTIVE, expected=False)
    (words,) = told(replace(good, verdicts=(never,)))
    assert words == "violated, reached in none of all 133 reachable states of instance tiny (exhaustive)"


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("limit of 1000 states", "limit --states 1000 reached"),
        ("time limit of 90s", "limit --time 90s reached"),
        ("memory limit of 2G", "limit --memory 2G reached"),
    ],
)
def test_incomplete_is_never_a_success(cut_off: InstanceReport, limit: str, words: str) -> None:
    report = replace(cut_off, limit=limit)
    assert told(report) == [
        f"no violation found in 1000 states, {words} (incomplete)",
        f"not reached in 1000 states, {words} (incomplete)",
    ]
    text = report_text(report, PLAIN, DEFAULT)
    assert "holds" not in text
    assert summary_line("a.hmm", [report], 1, PLAIN) == f"a.hmm: INCOMPLETE: tiny, {words}"


def test_report_names_everything_counted(good: InstanceReport) -> None:
    text = report_text(good, PLAIN, DEFAULT)
    for part in ("PAGES = 2, FRAMES = 1", "133 states, 412 transitions, depth 14", "seed 0", "python", "0.04 s"):
        assert part in text
    assert re.search(r"^    pinned_stay  pinned pages never migrate$", text, re.MULTILINE)
    assert "(reached in 3 steps)" in text
    assert "no deadlock, no spec_error" in text
    assert "deadlock holds" not in text


def test_counts_tell_states_from_orbits(good: InstanceReport) -> None:
    assert counts(replace(good, orbits=45, reduction="orbits")).startswith(
        "133 states in 45 orbits, 412 transitions out of"
    )
    assert counts(replace(good, states=None, orbits=45, reduction="orbits")).startswith(
        "45 orbits (states not counted)"
    )


def test_unexpected_traces_always_expected_ones_on_request(bad: InstanceReport, expected_bad: InstanceReport) -> None:
    assert "place[page0]: system -> swapped" in report_text(bad, PLAIN, DEFAULT)
    assert "place[page0]: system -> swapped" not in report_text(expected_bad, PLAIN, DEFAULT)
    assert "place[page0]: system -> swapped" in report_text(expected_bad, PLAIN, TextOptions(traces=True))


def test_witness_and_coverage_on_request(good: InstanceReport) -> None:
    assert "both_used is reached in instance tiny in 3 steps" in report_text(good, PLAIN, TextOptions(witness=True))
    assert "both_used is reached" not in report_text(good, PLAIN, DEFAULT)
    shown = report_text(
        replace(good, coverage=(*good.coverage, Coverage("dead", 0))), PLAIN, TextOptions(coverage=True)
    )
    assert "    312  swap_out\n" in shown
    assert "      0  dead  (never)" in shown
    assert "steps never taken: dead" in shown


def test_trace_says_who_did_what(trace: Trace) -> None:
    lines = trace_lines(trace, PLAIN, TraceOptions(path="specs/device_private.hmm"))
    assert lines[:2] == ["start  pins[*] = 0", "       place[page0] = system, place[page1] = unmapped"]
    assert "2  fault[cpu0]: take (p = page0)" in lines
    pin = next(line for line in lines if line.startswith("1  pin (p = page0)"))
    assert pin.endswith("line 3")
    assert lines[-4:] == [
        "fails:  pins[p] > 0 => place[p] == system",
        "for     p = page0",
        "where   pins[p] > 0 is true",
        "        place[p] is swapped",
    ]


def test_only_changes_unless_asked(trace: Trace) -> None:
    short = "\n".join(trace_lines(trace, PLAIN, TraceOptions()))
    assert short.count("ptl = free") == 1
    full = "\n".join(trace_lines(trace, PLAIN, TraceOptions(full_states=True)))
    assert full.count("ptl = free") == 4


def test_lasso_tells_stem_from_loop(trace: Trace) -> None:
    lines = trace_lines(replace(trace, loop=1, blame=None), PLAIN, TraceOptions())
    at = lines.index("from here it repeats for ever:")
    assert any(line.startswith("1  pin") for line in lines[:at])
    assert lines[at + 1].startswith("2  fault[cpu0]: take")
    assert lines[-1] == "back in the state after step 1: the last 2 steps for ever"
    stays = trace_lines(replace(trace, loop=3, blame=None), PLAIN, TraceOptions())
    assert stays[-1] == "and stays there for ever"
    assert "from here it repeats for ever:" not in stays
    whole = trace_lines(replace(trace, loop=0, blame=None), PLAIN, TraceOptions())
    assert whole.index("from here it repeats for ever:") < next(i for i, x in enumerate(whole) if x.startswith("1  "))


def test_failing_step_is_numbered_and_adds_no_state(failing: Trace) -> None:
    lines = trace_lines(failing, PLAIN, TraceOptions())
    at = lines.index("3  swap_out (p = page0)")
    assert lines[at + 1].strip() == "fails here"
    assert lines[-1] == "pins[p] left 0..1: 2"


def test_no_line_is_wider_than_mail(bad: InstanceReport) -> None:
    wide = replace(
        bad,
        path="specs/bugs/a_rather_long_name_of_a_spec_that_somebody_chose.hmm",
        params=tuple((f"PARAMETER_{i}", str(i)) for i in range(20)),
        assumes=(("few", "at most two migrations are in flight, whatever the devices do " * 3),),
        verdicts=(
            replace(bad.verdicts[0], text="a long remark on what must hold " * 6, remark="seen from afar " * 9),
            Verdict(
                "a_property_with_a_name_longer_than_the_column", "invariant", "x " * 90, Status.HOLDS, Level.EXHAUSTIVE
            ),
            *bad.verdicts[1:],
        ),
        problems=("expected 133 states, found 140 " * 4,),
        unproved=tuple(f"property_{i}" for i in range(12)),
    )
    for line in report_text(wide, PLAIN, ALL).splitlines():
        assert len(line) <= MAIL_WIDTH, line


def test_long_cells_wrap(trace: Trace) -> None:
    big = {
        f"queue_of_commands[device{i}]": "[" + ", ".join(f"unmap(page{i}{j})" for j in range(9)) + "]" for i in range(3)
    }
    step = replace(
        trace.steps[0], cells={**trace.steps[0].cells, **big}, args=tuple((f"n{i}", "v" * 9) for i in range(9))
    )
    lines = trace_lines(replace(trace, initial={**trace.initial, **big}, steps=(step,)), PLAIN, TraceOptions(True))
    assert max(map(len, lines)) <= MAIL_WIDTH


def test_plain_text_loses_nothing_that_colour_shows(bad: InstanceReport) -> None:
    coloured = report_text(bad, Style(MAIL_WIDTH, True), ALL)
    assert "\033[" in coloured
    assert re.sub(r"\033\[[0-9;]*m", "", coloured) == report_text(bad, PLAIN, ALL)


def test_warnings_are_narrow_too(good: InstanceReport, diagnostic: Diagnostic) -> None:
    warning = replace(diagnostic, message="a long warning " * 9, severity=Severity.WARNING)
    text = report_text(replace(good, warnings=(warning,)), PLAIN, DEFAULT)
    assert max(map(len, text.splitlines())) <= MAIL_WIDTH
    assert (
        "    3 | transition pin(p: Page) when true { pins[p] += 1; }\n      |                              ^^^^\n"
        in text
    )


def test_problems_and_unproved_are_told(good: InstanceReport) -> None:
    report = replace(good, problems=("expected 140 states, found 133",), unproved=("pinned_stay",))
    text = report_text(report, PLAIN, DEFAULT)
    assert "    expected 140 states, found 133\n" in text
    assert "not proved for every size" in text
    assert summary_line("a.hmm", [report], 1, PLAIN) == "a.hmm: NOT AS EXPECTED: tiny"


def test_expected_violation_that_did_not_come(good: InstanceReport) -> None:
    missed = replace(good, verdicts=(replace(good.verdicts[0], expected=False),))
    assert "but the file expects a violation" in " ".join(report_text(missed, PLAIN, DEFAULT).split())


def test_summary_is_one_narrow_line(good: InstanceReport, bad: InstanceReport, expected_bad: InstanceReport) -> None:
    assert summary_line("a.hmm", [good, good], 2, PLAIN) == "a.hmm: ok: 3 properties in 2 instances (exhaustive)"
    assert summary_line("a.hmm", [good, bad], 2, PLAIN) == "a.hmm: VIOLATED: pinned_stay (tiny)"
    assert summary_line("a.hmm", [expected_bad], 1, PLAIN).startswith("a.hmm: as expected: 1 violation found")
    assert summary_line("a.hmm", [good], 2, PLAIN) == "a.hmm: INTERRUPTED: no violation found so far"
    assert summary_line("a.hmm", [], 2, PLAIN) == "a.hmm: not checked (interrupted)"
    many = replace(bad, verdicts=tuple(replace(bad.verdicts[0], property=f"property_number_{i}") for i in range(9)))
    line = summary_line("specs/bugs/some_longer_path.hmm", [many], 1, PLAIN)
    assert line == "specs/bugs/some_longer_path.hmm: VIOLATED: 9 properties"


def test_cells_of_one_array_stand_together() -> None:
    assert split_cell("pte[mm0][page1].kind") == ("pte[*][*].kind", ("mm0", "page1"))
    assert split_cell("owner[fault[cpu0]]") == ("owner[*]", ("fault[cpu0]",))
    cells = {"a[p0]": "x", "a[p1]": "y", "a[p2]": "x", "b[p0]": "0", "b[p1]": "0", "n": "1"}
    assert state_text(cells) == ["a[p0, p2] = x", "a[p1] = y", "b[*] = 0", "n = 1"]


def test_seconds_read_well() -> None:
    assert [seconds(x) for x in (0.0449, 12.34, 245, 7380)] == ["0.04 s", "12.3 s", "4 min 05 s", "2 h 03 min"]

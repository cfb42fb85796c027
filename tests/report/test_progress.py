"""The progress line: silent for short searches, one line on a terminal, few lines in a log."""

from __future__ import annotations

import io

from hmmspec.checker.verdict import Progress
from hmmspec.report.progress import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def feed(stream: io.StringIO, until: float) -> ProgressLine:
    """A search that reports every tenth of a second and finds 1000 states a second."""
    now = [0.0]
    line = ProgressLine(stream, lambda: now[0])
    for tenth in range(1, round(until * 10) + 1):
        now[0] = tenth / 10
        line(Progress("spec", "tiny", "search", tenth * 100, 40, tenth * 300, 7, now[0]))
    return line


def test_short_searches_are_silent() -> None:
    for stream in (Terminal(), io.StringIO()):
        feed(stream, 0.9)
        assert stream.getvalue() == ""


def test_a_terminal_gets_one_line_that_changes() -> None:
    stream = Terminal()
    line = feed(stream, 2)
    text = stream.getvalue()
    assert "\n" not in text
    assert text.count("\r") >= 4
    assert "1,000/s" in text
    assert "40 to do, depth 7" in text
    line.clear()
    assert stream.getvalue().endswith(" \r")


def test_a_log_gets_a_line_now_and_then() -> None:
    stream = io.StringIO()
    feed(stream, 31.5).clear()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("spec tiny: search: 1,000 states, 40 to do, depth 7, 1,000/s")
    assert "\r" not in stream.getvalue()

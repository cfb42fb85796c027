"""How far a long search is, on standard error: one line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from hmmspec.checker.verdict import Progress
from hmmspec.report.phrases import plural, seconds
from hmmspec.report.style import WIDEST, style_for

_QUIET_FOR = 1.0  # a check that is over by then says nothing
_TERMINAL_EVERY = 0.2
_FILE_EVERY = 10.0


class ProgressLine:
    """Called with each `Progress`; `clear()` before anything else is printed."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._terminal = stream.isatty()
        self._width = min(style_for(stream).width, WIDEST) - 1
        self._shown = False
        self._last: float | None = None
        self._before: tuple[float, int] | None = None

    def __call__(self, progress: Progress) -> None:
        now = self._clock()
        if self._last is None:
            # The first call starts the clock, so that a short search on a slow machine stays silent too.
            # Proofs take a few seconds each: in a log only what takes longer is worth a line.
            early = not self._terminal and not progress.phase.startswith("proof")
            self._last = now - progress.seconds - (_FILE_EVERY - _QUIET_FOR if early else 0)
        wait = _FILE_EVERY if not self._terminal else _TERMINAL_EVERY if self._shown else _QUIET_FOR
        if now - self._last < wait:
            return
        line = self._line(progress)
        if self._terminal:
            self._stream.write("\r" + line[: self._width].ljust(self._width))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
        self._shown = True
        self._last = now
        self._before = (progress.seconds, progress.states)

    def clear(self) -> None:
        """Take the line off the terminal; the next search starts silent again."""
        if self._shown and self._terminal:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
        self._shown, self._last, self._before = False, None, None

    def _line(self, p: Progress) -> str:
        since, had = self._before or (0.0, 0)
        passed = p.seconds - since
        rate = f", {(p.states - had) / passed:,.0f}/s" if passed > 0 and p.states >= had else ""
        if p.phase == "random runs":
            steps = f"{p.transitions:,} steps, longest run {p.depth:,}"
            return f"{p.spec} {p.instance}: {p.states:,} random runs{rate}, {steps}, {seconds(p.seconds)}"
        if p.phase.startswith("bounded"):
            return f"{p.spec} {p.instance}: {p.phase}, runs of {plural(p.depth, 'step')}, {seconds(p.seconds)}"
        if p.phase.startswith("proof"):
            return f"{p.spec}, {p.instance}: {p.phase}, {seconds(p.seconds)}"
        counts = f"{p.states:,} states, {p.frontier:,} to do, depth {p.depth}{rate}"
        return f"{p.spec} {p.instance}: {p.phase}: {counts}, {seconds(p.seconds)}"

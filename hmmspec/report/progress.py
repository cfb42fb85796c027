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


class StatusLine:
    """A line of text that is replaced by the next one on a terminal, and one line after the other elsewhere.

    every: the seconds between two on a terminal; file_every: elsewhere; width: the columns that are used.
    """

    def __init__(self, stream: TextIO, every: float, file_every: float, width: int = 78) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._every = every if self._terminal else file_every
        self._width = width
        self._last: float | None = None
        self._shown = False

    def due(self, *, new: bool = False) -> bool:
        """Whether it is time for another line; new: it is about something else than the last."""
        return new or self._last is None or time.monotonic() - self._last >= self._every

    def show(self, text: str) -> None:
        """Write it."""
        self._last = time.monotonic()
        if self._terminal:
            self._stream.write("\r" + text[: self._width].ljust(self._width))
            self._shown = True
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def hold(self) -> None:
        """Behave as if a line had been written just now."""
        self._last = time.monotonic()

    def clear(self) -> None:
        """Take the line off the terminal."""
        if self._shown:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._shown = False


class ProgressLine:
    """Called with each `Progress`; `clear()` before anything else is printed."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._terminal = stream.isatty()
        self._line = StatusLine(stream, _TERMINAL_EVERY, _FILE_EVERY, min(style_for(stream).width, WIDEST) - 1)
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
        self._line.show(self._told(progress))
        self._shown = True
        self._last = now
        self._before = (progress.seconds, progress.states)

    def clear(self) -> None:
        """Take the line off the terminal; the next search starts silent again."""
        self._line.clear()
        self._shown, self._last, self._before = False, None, None

    def _told(self, p: Progress) -> str:
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

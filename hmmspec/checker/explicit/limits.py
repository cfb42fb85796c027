"""When a search has to stop, and the word it sends on its way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hmmspec.checker.verdict import Progress

_PAGE = 4096
_BETWEEN_REPORTS = 0.5  # seconds


@dataclass(frozen=True)
class Limits:
    """None: no such limit.  states: stored states; seconds: of the whole check; memory: bytes of this process."""

    states: int | None = None
    seconds: float | None = None
    memory: int | None = None


class LimitReached(Exception):
    """Raised inside the search; the message says which limit: it never leaves `checker`."""


def resident_bytes() -> int:
    """How much memory this process occupies; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def show_bytes(n: int) -> str:
    """A number of bytes as the command line takes it: 2G, 512M."""
    for unit, size in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if n >= size:
            return f"{n / size:.4g}{unit}"
    return str(n)


class Meter:
    """Watches the clock and the memory of one check, and reports progress at most twice a second."""

    def __init__(
        self, spec: str, instance: str, limits: Limits, progress: Callable[[Progress], None] | None = None
    ) -> None:
        self.spec, self.instance, self.limits, self.progress = spec, instance, limits, progress
        self.start = time.monotonic()
        self.reported = self.start
        self.calls = 0

    @property
    def seconds(self) -> float:
        """Since the check began."""
        return time.monotonic() - self.start

    def tick(self, phase: str, states: int, frontier: int = 0, transitions: int = 0, depth: int = 0) -> None:
        """To be called every few hundred states.  Raises LimitReached."""
        now = time.monotonic()
        if self.progress is not None and now - self.reported >= _BETWEEN_REPORTS:
            self.reported = now
            passed = now - self.start
            self.progress(
                Progress(self.spec, self.instance, phase, states, frontier, transitions, depth, round(passed, 3))
            )
        limits = self.limits
        if limits.seconds is not None and now - self.start >= limits.seconds:
            raise LimitReached(f"time limit of {limits.seconds:g}s")
        self.calls += 1
        if limits.memory is not None and self.calls % 8 == 1 and resident_bytes() >= limits.memory:
            raise LimitReached(f"memory limit of {show_bytes(limits.memory)}")

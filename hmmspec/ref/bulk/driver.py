"""The object behind `kernel.bulk`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref.bulk import fill, pieces, zap
from hmmspec.ref.bulk.plain import Words
from hmmspec.ref.bulk.touch import touch_many
from hmmspec.ref.copying import copy_frames
from hmmspec.ref.device import Binding
from hmmspec.ref.frames import PAGE, Pfns
from hmmspec.ref.spaces import Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Task

Bytes = NDArray[np.uint8]


def install(k: Kernel) -> Bulk:
    """Let the kernel do ranges at once wherever it may.  Operations are driven as before, and do the same."""
    bulk = k.bulk = Bulk(k)
    return bulk


class Bulk:
    """Ranges at once, on one kernel.

    The methods that return a page number do what they can from the start of the range on, and say how far they came;
    whoever called them goes on page by page from there.
    """

    def __init__(self, k: Kernel) -> None:
        self.k = k

    # -- what the rules ask -------------------------------------------------------------------------------------------

    def zap(self, vma: Vma, start: int, end: int) -> int:
        """For `zap_range`."""
        return zap.zap(self.k, vma, start, end)

    def fault_in(self, t: Task, b: Binding, start: int, end: int, write: bool) -> int:
        """For a driver's fault handler: pages into the mirror."""
        return fill.fill(self.k, t, b, start, end, write)

    def send(self, t: Task, b: Binding, start: int, end: int) -> int:
        """For a migration to the device; the mirror maps what moved."""
        return pieces.send(self.k, t, b, start, end)

    def fetch(self, t: Task, b: Binding, start: int, end: int) -> tuple[int, int]:
        """For a migration to system memory; also how many pages moved."""
        return pieces.fetch(self.k, t, b, start, end)

    # -- a program's accesses -----------------------------------------------------------------------------------------

    def touch(self, t: Task, mm: Mm, vpns: Words, write: bool) -> tuple[int, str]:
        """One access to each of these pages, in this order, with a fault of its own where it needs one; no page twice.

        Returns how many were made, and what ended the program (`SIGSEGV`, ..) or ''.
        """
        done = 0
        for pfns, signal in touch_many(self.k, t, mm, vpns, write):
            done += len(pfns)
            if signal:
                return done, signal
        return done, ""

    def load(self, t: Task, mm: Mm, vpns: Words) -> tuple[Bytes, str]:
        """Read whole pages, in this order, no page twice: their bytes (as far as it came), and the signal or ''."""
        out, done = np.zeros((len(vpns), PAGE), np.uint8), 0
        for pfns, signal in touch_many(self.k, t, mm, vpns, False):
            if self.k.frames.data is not None and len(pfns):
                copy_frames(out, np.arange(done, done + len(pfns)), self.k.frames.data, pfns)
            done += len(pfns)
            if signal:
                return out[:done], signal
        return out, ""

    def store(self, t: Task, mm: Mm, vpns: Words, rows: Bytes) -> tuple[int, str]:
        """Write whole pages, in this order, no page twice.  Returns how many were written, and the signal or ''."""
        done = 0
        for pfns, signal in touch_many(self.k, t, mm, vpns, True, whole=True):
            self._write(pfns, rows[done : done + len(pfns)])
            done += len(pfns)
            if signal:
                return done, signal
        return done, ""

    def _write(self, pfns: Pfns, rows: Bytes) -> None:
        if self.k.frames.data is not None and len(pfns):
            copy_frames(self.k.frames.data, pfns, rows, np.arange(len(rows)))

"""A device's page table for one process: virtual page -> frame and tag, and the notifier that keeps it true.

Entries are words `frame << 2 | tag`, 0 where there is none, in rows of 512 that appear when something is stored, so
ranges are read, written and erased a row at a time.

Sources: `lib/test_hmm.c` (`dmirror_interval_invalidate`, `dmirror_do_update`); `include/linux/mmu_notifier.h`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref.frames import HUGE

Words = NDArray[np.int64]

READ: Final = 1
WRITE: Final = 2
ATOMIC: Final = 3
TAG: Final = 3
SHIFT: Final = 2

LETTERS: Final = {READ: "R", WRITE: "W", ATOMIC: "A"}


class MirrorTable:
    """The table alone; who uses it holds the driver's mutex."""

    def __init__(self) -> None:
        self.rows: dict[int, Words] = {}

    def get(self, vpn: int) -> int:
        """The word of a page, 0 if there is none."""
        row = self.rows.get(vpn // HUGE)
        return 0 if row is None else int(row[vpn % HUGE])

    def set(self, vpn: int, pfn: int, tag: int) -> None:
        row = self.rows.get(vpn // HUGE)
        if row is None:
            row = self.rows[vpn // HUGE] = np.zeros(HUGE, np.int64)
        row[vpn % HUGE] = pfn << SHIFT | tag

    def read(self, start: int, end: int) -> Words:
        """A copy of the words of a range."""
        out = np.zeros(end - start, np.int64)
        for number, low, high in _rows(start, end):
            row = self.rows.get(number)
            if row is not None:
                at = number * HUGE + low - start
                out[at : at + high - low] = row[low:high]
        return out

    def write(self, start: int, words: Words) -> None:
        """Replace the words of a range; 0 erases."""
        for number, low, high in _rows(start, start + len(words)):
            row = self.rows.get(number)
            at = number * HUGE + low - start
            part = words[at : at + high - low]
            if row is None:
                if not part.any():
                    continue
                row = self.rows[number] = np.zeros(HUGE, np.int64)
            row[low:high] = part

    def erase(self, start: int, end: int) -> None:
        """Erase a range, however large."""
        if end - start > HUGE * len(self.rows):
            for number in [n for n in self.rows if n * HUGE < end and (n + 1) * HUGE > start]:
                self._erase(number, max(start - number * HUGE, 0), min(end - number * HUGE, HUGE))
        else:
            for number, low, high in _rows(start, end):
                self._erase(number, low, high)

    def clear(self, vpns: Words) -> None:
        """Store nothing at these pages, in whatever order they are named."""
        numbers = vpns // HUGE
        for number in np.unique(numbers).tolist():
            row = self.rows.get(number)
            if row is not None:
                row[vpns[numbers == number] % HUGE] = 0

    def _erase(self, number: int, low: int, high: int) -> None:
        row = self.rows.get(number)
        if row is None:
            return
        row[low:high] = 0
        if not row.any():
            del self.rows[number]

    def items(self) -> Iterator[tuple[int, int, str]]:
        """All entries as (virtual page, frame, 'R' | 'W' | 'A')."""
        for number, row in sorted(self.rows.items()):
            for i in np.flatnonzero(row).tolist():
                w = int(row[i])
                yield number * HUGE + i, w >> SHIFT, LETTERS[w & TAG]

    def snapshot(self) -> dict[int, bytes]:
        return {number: row.tobytes() for number, row in sorted(self.rows.items())}


def _rows(start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(row, first, end) of the parts of a range."""
    while start < end:
        number = start // HUGE
        stop = min(end, (number + 1) * HUGE)
        yield number, start - number * HUGE, stop - number * HUGE
        start = stop

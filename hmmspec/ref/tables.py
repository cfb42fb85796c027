"""The pool of page tables: rows of 512 entries, and how an address finds its entry.

`tables.words` (a memoryview, plain ints) and `tables.v` (a numpy array of rows x 512) are the same memory.  The *slot*
of an entry is `row * 512 + index`.  A row belongs to one mm and one PMD index until it is freed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref.entries import KIND, MARKER, NONE, SHIFT, TABLE
from hmmspec.ref.frames import HUGE
from hmmspec.ref.spaces import Mm
from hmmspec.ref.tasks import Mutex

LOW = HUGE - 1


class Tables:
    """`rows` rows at most; memory is touched when a row is used."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.v: NDArray[np.int64] = np.zeros((rows, HUGE), np.int64)
        self.words = self.v.reshape(-1).data
        self.owner: dict[int, tuple[int, int]] = {}  # row -> (mm id, PMD index)
        self.locks: dict[int, Mutex] = {}
        self._free: list[int] = []
        self._next = 0

    def take(self, mm: Mm, pmd: int) -> int | None:
        """A row of empty entries for that part of the address space, or None when the pool is used up."""
        if self._free:
            row = self._free.pop()
        elif self._next < self.rows:
            row = self._next
            self._next += 1
        else:
            return None
        self.owner[row] = (mm.id, pmd)
        return row

    def left(self) -> int:
        """How many more rows there are."""
        return len(self._free) + self.rows - self._next

    def put(self, row: int) -> None:
        """Give a row back; its entries are none."""
        del self.owner[row]
        self.locks.pop(row, None)
        self._free.append(row)

    def lock(self, row: int) -> Mutex:
        """The page-table lock of a row."""
        found = self.locks.get(row)
        if found is None:
            found = self.locks[row] = Mutex("ptl", spin=True)
        return found

    def row(self, mm: Mm, vpn: int) -> int | None:
        """The row that holds the entry of a page, or None: no table there, or a PMD-size entry."""
        e = mm.pmd.get(vpn >> 9, NONE)
        return e >> SHIFT if e & KIND == TABLE else None

    def slot(self, mm: Mm, vpn: int) -> int | None:
        """Where the entry of a page is in `words`; None as `row`."""
        e = mm.pmd.get(vpn >> 9, NONE)
        return (e >> SHIFT << 9) | (vpn & LOW) if e & KIND == TABLE else None

    def read(self, mm: Mm, vpn: int) -> int:
        """The entry of a page, as the hardware finds it; of a PMD-size entry the page's part of it (same kind and
        bits).

        Without any lock.  The payload of a PMD-size PRES, DEVPRIV or MIGR entry is moved to the page's own frame.
        """
        e = mm.pmd.get(vpn >> 9, NONE)
        if e & KIND == TABLE:
            return self.words[(e >> SHIFT << 9) | (vpn & LOW)]
        return e + ((vpn & LOW) << SHIFT) if e and e & KIND != MARKER else e

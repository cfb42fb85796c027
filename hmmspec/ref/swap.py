"""Swap: slots with their counts and bytes, and the swap cache (slot -> folio)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref.frames import PAGE


class Swap:
    """`count[slot]` is how many swap entries of page tables name the slot; the cache is counted by being in `cache`.

    A slot is free when neither names it.  Slot 0 is not used.
    """

    def __init__(self, slots: int, data: bool) -> None:
        self.slots = slots
        self.count: NDArray[np.int32] = np.zeros(slots, np.int32)
        self.data: NDArray[np.uint8] | None = np.zeros((slots, PAGE), np.uint8) if data else None
        self.cache: dict[int, int] = {}
        self.free: list[int] = list(range(slots - 1, 0, -1))

    def take(self) -> int | None:
        return self.free.pop() if self.free else None

    def snapshot(self) -> dict[str, object]:
        used = [s for s in range(self.slots) if self.count[s] or s in self.cache]
        return {
            "count": {s: int(self.count[s]) for s in used},
            "cache": dict(self.cache),
            "data": {s: self.data[s].tobytes() for s in used if s not in self.cache} if self.data is not None else {},
            "free": list(self.free),
        }

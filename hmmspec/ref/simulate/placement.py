"""Where the pages of an array are, and what moving them charges."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from hmmspec.ref.cost.timeline import TimeLine
from hmmspec.ref.simulate.workloads import Pages

Mask = npt.NDArray[np.bool_]


class Placement(Protocol):
    """The array's pages, on the device or in system memory.  Every method charges what it does to the time line."""

    line: TimeLine

    @property
    def capacity(self) -> int:
        """Pages of device memory."""
        ...  # pragma: no cover

    def resident(self) -> Mask:
        """Which pages are in device memory."""
        ...  # pragma: no cover

    def to_device(self, start: int, count: int) -> None:
        """Migrate a range of at most 512 pages to the device, in one call; what is there stays.

        There is room: the caller has seen to it.
        """
        ...  # pragma: no cover

    def to_system(self, start: int, count: int) -> None:
        """Migrate what is on the device of a range of at most 512 pages back, in one call."""
        ...  # pragma: no cover

    def cpu_faults(self, pages: Pages) -> None:
        """A CPU touches these pages one by one; each that is on the device comes back by a fault of its own."""
        ...  # pragma: no cover

    def map_remote(self, start: int, count: int) -> None:
        """The device maps system pages of a range, to use them where they are."""
        ...  # pragma: no cover

    def pin(self, start: int, count: int) -> None:
        """Pin a range in system memory for the device, which then uses it without faults."""
        ...  # pragma: no cover

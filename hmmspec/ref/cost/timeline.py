"""What an operation of the reference kernel costs, in the order in which it was done.

The kernel knows no prices.  It says what it does (`line.charge(Kind.COPY_TO_DEVICE, count=3, size=12288)`), and a
`TimeLine` asks its `Prices` what that takes.  `FREE` is the line that charges nothing: the kernel's default.

NOTE(one-charge-one-event): a charge is one event, `count` and `size` say how large it is, `times` how many events of
exactly that kind happened.  Prices are per event (a flush of 40 pages is not forty flushes of one), so two drivers
charge the same if they agree on the events: a migrate call submits its copies of one direction as one event.

NOTE(units): sizes are integers of bytes, times integers of picoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Lane(Enum):
    """What is busy while something is charged."""

    CPU = "CPU"
    TO_DEVICE = "bus to device"
    TO_SYSTEM = "bus to system"
    DEVICE = "device"


class Kind(Enum):
    """What can be charged.  In brackets: what `count` and `size` say; where nothing is said, they say nothing."""

    # Members are looked up for every charge, and the hash that Enum brings is Python code.
    __hash__ = object.__hash__

    CPU_FAULT = "cpu fault"
    """A CPU took a page fault: entry, walk, exit; what it does to the page is charged by itself."""
    DEVICE_FAULT = "device fault"
    """The device reported faults that the driver fetched together (count: fault records)."""
    WALK = "walk"
    """Page tables were walked: hmm_range_fault, GUP, pagemap (count: pages)."""
    NOTIFY = "notify"
    """One mmu notifier callback, and the invalidation of the device's table (count: pages)."""
    TLB_FLUSH = "tlb flush"
    """One flush of CPU TLBs (count: pages of its range)."""
    MIGRATE_CALL = "migrate call"
    """One migrate_vma_setup .. migrate_vma_finalize, or one migration out of a CPU fault."""
    MIGRATE_PAGE = "migrate page"
    """CPU work on base pages that were really moved: isolate, unmap, map again (count: pages)."""
    MIGRATE_HUGE = "migrate huge"
    """The same for PMD-mapped pages that were moved whole (count: PMD-size pages)."""
    COPY_TO_DEVICE = "copy to device"
    """A DMA copy from system to device memory (count: contiguous runs; size: bytes)."""
    COPY_TO_SYSTEM = "copy to system"
    """A DMA copy from device to system memory (count: contiguous runs; size: bytes)."""
    COPY_ON_DEVICE = "copy on device"
    """A copy inside device memory (count: contiguous runs; size: bytes)."""
    COPY_BY_CPU = "copy by cpu"
    """A copy by a CPU inside system memory: COW, collapse (size: bytes)."""
    DEVICE_LOCAL = "device access, local"
    """The device read or wrote its own memory (count: requests; size: bytes)."""
    DEVICE_READ = "device read, remote"
    """The device read system memory over the link (count: requests; size: bytes)."""
    DEVICE_WRITE = "device write, remote"
    """The device wrote system memory over the link (count: requests; size: bytes)."""
    CPU_LOCAL = "cpu access, local"
    """A CPU read or wrote system memory (count: requests; size: bytes)."""
    CPU_READ = "cpu read, remote"
    """A CPU read coherent device memory over the link (count: requests; size: bytes)."""
    CPU_WRITE = "cpu write, remote"
    """A CPU wrote coherent device memory over the link (count: requests; size: bytes)."""
    SWAP_OUT = "swap out"
    """Pages were written to swap (count: pages; size: bytes)."""
    SWAP_IN = "swap in"
    """Pages were read from swap (count: pages; size: bytes)."""


LANES: dict[Kind, Lane] = {
    Kind.COPY_TO_DEVICE: Lane.TO_DEVICE,
    Kind.COPY_TO_SYSTEM: Lane.TO_SYSTEM,
    Kind.COPY_ON_DEVICE: Lane.DEVICE,
    Kind.DEVICE_LOCAL: Lane.DEVICE,
    Kind.DEVICE_READ: Lane.TO_DEVICE,
    Kind.DEVICE_WRITE: Lane.TO_SYSTEM,
    Kind.CPU_READ: Lane.TO_SYSTEM,
    Kind.CPU_WRITE: Lane.TO_DEVICE,
}
"""The lane of each kind; a kind that is not here keeps the CPU busy."""


class Prices(Protocol):
    """What events cost.  `Machine` is one."""

    def price(self, kind: Kind, count: int, size: int) -> int:
        """Picoseconds of one event; never negative."""
        ...  # pragma: no cover


@dataclass(frozen=True, slots=True)
class Entry:
    """One charge: `times` events of `count` and `size` each began at `at` and took `ps` picoseconds together."""

    at: int
    ps: int
    kind: Kind
    count: int
    size: int
    times: int


@dataclass(frozen=True, slots=True)
class Total:
    """All charges of one kind: how many events, their counts, bytes and picoseconds together."""

    events: int = 0
    count: int = 0
    size: int = 0
    ps: int = 0


class TimeLine:
    """Charges one after the other, and what they come to.

    now: picoseconds from the start.  With `keep` every charge is kept in `entries`; without it (runs of millions)
    only how often each event happened.
    """

    def __init__(self, prices: Prices, *, keep: bool = False) -> None:
        self._prices = prices
        self._keep = keep
        self._events: dict[tuple[Kind, int, int], list[int]] = {}  # event -> its price, how often it happened
        self.now = 0
        self.entries: list[Entry] = []

    def charge(self, kind: Kind, count: int = 1, size: int = 0, times: int = 1) -> int:
        """`times` events of this kind, each with `count` and `size` (bytes), one after the other.

        Returns their picoseconds.  Raises ValueError for a negative number: that is a defect of the caller.
        """
        event = self._events.get((kind, count, size))
        if event is None:
            if count < 0 or size < 0:
                raise ValueError(f"a charge of '{kind.value}' must not be negative: {count}, {size} bytes")
            event = self._events[kind, count, size] = [self._prices.price(kind, count, size), 0]
        if times < 0:
            raise ValueError(f"a charge of '{kind.value}' cannot happen {times} times")
        ps = event[0] * times
        event[1] += times
        if self._keep:
            self.entries.append(Entry(self.now, ps, kind, count, size, times))
        self.now += ps
        return ps

    def reset(self) -> None:
        """Start anew: nothing was charged."""
        self.now = 0
        self.entries = []
        self._events = {}

    @property
    def totals(self) -> dict[Kind, Total]:
        """What was charged by kind, in the order of `Kind`; what never happened is not in it."""
        sums = {kind: [0, 0, 0, 0] for kind in Kind}
        for (kind, count, size), (each, times) in self._events.items():
            for place, more in enumerate((times, count * times, size * times, each * times)):
                sums[kind][place] += more
        return {kind: Total(*numbers) for kind, numbers in sums.items() if numbers[0]}

    def events(self) -> dict[tuple[Kind, int, int], int]:
        """(kind, count, size) -> how often that happened: equal for two lines on which the same was done."""
        return {event: times for event, (_, times) in self._events.items() if times}

    def lanes(self) -> dict[Lane, int]:
        """Picoseconds for which each lane was busy."""
        busy = dict.fromkeys(Lane, 0)
        for kind, total in self.totals.items():
            busy[LANES.get(kind, Lane.CPU)] += total.ps
        return busy


class Free(TimeLine):
    """A line on which nothing costs anything and nothing is kept."""

    def __init__(self) -> None:
        super().__init__(_NoPrices())

    def charge(self, kind: Kind, count: int = 1, size: int = 0, times: int = 1) -> int:
        """Nothing; not even the arguments are looked at."""
        return 0


class _NoPrices:
    def price(self, kind: Kind, count: int, size: int) -> int:
        return 0


FREE = Free()
"""What the kernel charges if nobody wants to know."""

"""Who moves which pages when: on demand, ahead of time, never, or never because they are pinned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hmmspec.diagnostics import InternalError
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.cost.units import PAGE, PAGES_PER_PMD
from hmmspec.ref.simulate.placement import Mask, Placement
from hmmspec.ref.simulate.workloads import LINE, Pages, Phase

_WINDOW = 8192  # accesses that are under way at once, at most


@dataclass
class Setting:
    """What a policy works with.

    around: pages, a power of two, that a fault brings with it; batch: the most fault records fetched together;
    coherent: device memory that the CPU can use where it is.
    """

    place: Placement
    pages: int
    around: int
    batch: int
    coherent: bool

    def __post_init__(self) -> None:
        # What is evicted and prefetched at a time: 2 MiB, unless device memory holds only a few of them.
        self.fits = self.place.capacity >= self.pages
        self.block = PAGES_PER_PMD if self.fits or self.place.capacity >= 2 * PAGES_PER_PMD else self.around
        # When the device last used each block, for eviction; and what it has mapped remotely.
        self.used = np.zeros(-(-self.pages // self.block), dtype=np.int64)
        self.clock = 0
        self.mapped: Mask = np.zeros(self.pages, dtype=np.bool_)

    def touch(self, pages: Pages) -> None:
        """The device used these pages now."""
        self.clock += 1
        self.used[np.unique(pages // self.block)] = self.clock

    def bring(self, wanted: Pages) -> None:
        """Migrate these pages (sorted, each once) to the device, a call for each contiguous range, with room made."""
        for start, count in ranges(wanted, self.block):
            self._make_room(start, count)
            self.touch(np.array([start]))  # what has just come is not what goes next
            self.place.to_device(start, count)

    def _make_room(self, start: int, count: int) -> None:
        """Evict whole blocks, the one used longest ago first, never the one that is asked for."""
        here = self.place.resident()
        needed = count - int(np.count_nonzero(here[start : start + count]))
        free = self.place.capacity - int(np.count_nonzero(here))
        if needed <= free:
            return
        held = np.add.reduceat(here, np.arange(0, self.pages, self.block), dtype=np.int64)
        held[start // self.block] = 0
        for block in np.argsort(self.used, kind="stable"):
            if needed <= free:
                break
            if held[block]:
                first = int(block) * self.block
                self.place.to_system(first, min(self.block, self.pages - first))
                free += int(held[block])


def ranges(pages: Pages, block: int = PAGES_PER_PMD) -> Iterator[tuple[int, int]]:
    """(first, count) of the contiguous ranges of sorted pages, cut where a block ends."""
    if not len(pages):
        return
    cuts = np.flatnonzero((np.diff(pages) != 1) | (pages[1:] % block == 0)) + 1
    for part in np.split(pages, cuts):
        yield int(part[0]), len(part)


class Policy(Protocol):
    """What is done before and for each phase."""

    def begin(self, s: Setting) -> None:
        """Once, before everything."""
        ...  # pragma: no cover

    def device(self, s: Setting, phase: Phase) -> None:
        """The accesses of a device phase, with all that they bring about."""
        ...  # pragma: no cover

    def cpu(self, s: Setting, phase: Phase) -> None:
        """The accesses of a CPU phase."""
        ...  # pragma: no cover


class OnDemand:
    """The device faults on pages that are not in its memory; the driver migrates them.  The CPU faults them back."""

    def begin(self, s: Setting) -> None:
        """Nothing is done ahead."""

    def device(self, s: Setting, phase: Phase) -> None:
        """Faults are fetched in batches; where each access waits for the one before, a batch is one fault.

        Else a window of accesses is under way at once: those that find their page are done before anything is evicted,
        the others as soon as the batch is there.  A window uses at most half of device memory; what a batch itself
        has evicted faults again.
        """
        room = max(1, s.place.capacity // (2 * s.around))
        most = 1 if phase.dependent else min(s.batch, room)
        at, left = 0, phase.pages[:0]
        while at < len(phase.pages) or len(left):
            window = np.concatenate([left, phase.pages[at : at + max(0, _WINDOW - len(left))]])
            firsts = np.sort(np.unique(window // s.around, return_index=True)[1])
            window = window[: firsts[room]] if len(firsts) > room else window
            here = s.place.resident()[window]
            absent = np.flatnonzero(~here)
            missing, first = np.unique(window[absent] // s.around, return_index=True)
            order = np.argsort(first)
            end = int(absent[first[order[most]]]) if len(order) > most else len(window)
            window, here = window[:end], here[:end]
            if len(missing):
                s.touch(window)  # what is in use is not what goes
                self._fault(s, np.sort(missing[order[:most]]))
            done = self._done(s, phase, window, here)
            s.touch(window[done])
            access(s.place, phase, window[done], remote=False)
            at += max(0, end - len(left))
            left = np.concatenate([window[~done], left[end:]])

    def _fault(self, s: Setting, blocks: Pages) -> None:
        """One batch: all that is around each of its faults."""
        brought = (blocks[:, None] * s.around + np.arange(s.around)).ravel()
        brought = brought[brought < s.pages]
        s.place.line.charge(Kind.DEVICE_FAULT, len(blocks), len(brought) * PAGE)
        s.bring(brought)

    def _done(self, s: Setting, phase: Phase, window: Pages, before: Mask) -> Mask:
        """Which accesses of the window have found their page: before the batch or after it."""
        now = s.place.resident()[window]
        done: Mask = np.logical_and.accumulate(now) if phase.dependent else now | before
        if not done.any():
            raise InternalError(f"page {window[0]} was migrated to the device and is not there")
        return done

    def cpu(self, s: Setting, phase: Phase) -> None:
        """See `Policy`."""
        cpu_access(s, phase)


class Prefetch(OnDemand):
    """Each side asks for its pages before it begins.

    What does not fit in device memory at once is brought in parts, each before the accesses that use it.
    """

    def device(self, s: Setting, phase: Phase) -> None:
        """See `Policy`."""
        for part in self._parts(s, phase.pages):
            blocks = np.unique(part // s.block)
            wanted = (blocks[:, None] * s.block + np.arange(s.block)).ravel()
            wanted = wanted[wanted < s.pages]
            s.bring(wanted[~s.place.resident()[wanted]])
            super().device(s, replace(phase, pages=part))

    def _parts(self, s: Setting, pages: Pages) -> Iterator[Pages]:
        """The accesses, cut where they would use more blocks than fit; half of what fits, if all do not."""
        room = s.place.capacity // s.block
        if s.fits or len(np.unique(pages // s.block)) <= room:
            yield pages
            return
        at, most = 0, max(1, room // 2)
        while at < len(pages):
            first = np.sort(np.unique(pages[at:] // s.block, return_index=True)[1])
            end = at + int(first[most]) if len(first) > most else len(pages)
            yield pages[at:end]
            at = end

    def cpu(self, s: Setting, phase: Phase) -> None:
        """See `Policy`."""
        wanted: Pages = np.unique(phase.pages)
        for start, count in ranges(wanted[s.place.resident()[wanted]]):
            s.place.to_system(start, count)
        cpu_access(s, phase)


class Never:
    """Pages stay; the device maps them where they are, fault by fault, and reaches them over the link.

    Over a coherent link the device walks the CPU's own tables, and there is nothing to map.
    """

    def begin(self, s: Setting) -> None:
        """Nothing is done ahead."""

    def device(self, s: Setting, phase: Phase) -> None:
        """See `Policy`."""
        if not s.coherent:
            self._map(s, phase)
        access(s.place, phase, phase.pages, remote=True)

    def _map(self, s: Setting, phase: Phase) -> None:
        blocks = np.unique(phase.pages // s.around)
        missing = blocks[~s.mapped[np.minimum(blocks * s.around, s.pages - 1)]]
        batch = 1 if phase.dependent else s.batch
        whole, rest = divmod(len(missing), batch)
        s.place.line.charge(Kind.DEVICE_FAULT, batch, batch * s.around * PAGE, whole)
        if rest:
            s.place.line.charge(Kind.DEVICE_FAULT, rest, rest * s.around * PAGE)
        for block in missing.tolist():
            start = block * s.around
            count = min(s.around, s.pages - start)
            s.place.map_remote(start, count)
            s.mapped[start : start + count] = True

    def cpu(self, s: Setting, phase: Phase) -> None:
        """See `Policy`."""
        cpu_access(s, phase)


class Pin(Never):
    """All pages are pinned in system memory before the device begins: no faults, and no migration for anybody."""

    def begin(self, s: Setting) -> None:
        """See `Policy`."""
        for start in range(0, s.pages, PAGES_PER_PMD):
            s.place.pin(start, min(PAGES_PER_PMD, s.pages - start))
        s.mapped[:] = True


def access(place: Placement, phase: Phase, pages: Pages, *, remote: bool) -> None:
    """Charge the device's accesses themselves."""
    if not len(pages):
        return
    size = len(pages) * phase.each
    requests = len(pages) * -(-phase.each // LINE)
    kinds = (Kind.DEVICE_READ, Kind.DEVICE_WRITE) if remote else (Kind.DEVICE_LOCAL, Kind.DEVICE_LOCAL)
    for kind in kinds[: 1 + phase.write]:
        if phase.dependent:
            place.line.charge(kind, -(-phase.each // LINE), phase.each, len(pages))
        else:
            place.line.charge(kind, requests, size)


def cpu_access(s: Setting, phase: Phase) -> None:
    """A CPU phase: pages on the device come back by faults, or are used where they are if memory is coherent."""
    there = s.place.resident()[phase.pages]
    if not s.coherent:
        s.place.cpu_faults(phase.pages[there])
        there = np.zeros(len(phase.pages), dtype=np.bool_)
    for far, kinds in ((True, (Kind.CPU_READ, Kind.CPU_WRITE)), (False, (Kind.CPU_LOCAL, Kind.CPU_LOCAL))):
        many = int(np.count_nonzero(there == far))
        for kind in kinds[: 1 + phase.write]:
            if many:
                s.place.line.charge(kind, many * -(-phase.each // LINE), many * phase.each)


POLICIES: dict[str, tuple[str, Policy]] = {
    "fault": ("migrate on demand, when the device or the CPU faults", OnDemand()),
    "prefetch": ("migrate all blocks that a phase uses before it begins", Prefetch()),
    "never": ("leave pages in system memory, map them on demand", Never()),
    "pin": ("pin pages in system memory, once", Pin()),
}
MIGRATING = ("fault", "prefetch")

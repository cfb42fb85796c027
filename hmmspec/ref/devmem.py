"""Device memory: chunks of frames that a driver hands out, one free list, and removal.

A `DeviceMemory` is what core code knows as a pgmap with its owner (`include/linux/memremap.h`), and the driver's
allocator on top of it, as the test device has it (`lib/test_hmm.c`): memory is added in chunks on demand, and a chunk
can be removed only when each of its pages was freed.  The bytes of a private page are in a row of `frames.data` that no
CPU can reach: the backing page of the test device.

A free page has no references; each page that was handed out counts in the chunk's `live`, the reference on the pgmap
(0dc45ca1ce18).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from hmmspec.ref.frames import (
    COHERENT_DEVICE,
    HUGE,
    HUGE_ORDER,
    PRIVATE_DEVICE,
    UPTODATE,
    Pfns,
    Pool,
)
from hmmspec.ref.tasks import Steps, Task, Waitable

if TYPE_CHECKING:
    from hmmspec.ref.fault import Fault
    from hmmspec.ref.state import Kernel

CHUNK: Final = 65536  # pages: 256 MiB


@dataclass(eq=False)
class Chunk:
    """Some memory that was added at once.  `dying`: nothing is handed out any more."""

    first: int
    pages: int
    pool: Pool
    live: int = 0
    dying: bool = False


@dataclass(eq=False)
class DeviceMemory:
    """The memory of one device: frames `[first, first + pages)` at most, added `chunk` pages at a time.

    `id` is its number among the pgmaps; all its pages have it as their owner.  `driver` is who serves CPU faults.
    """

    id: int
    owner: object
    private: bool
    first: int
    pages: int
    chunk: int = CHUNK
    chunks: list[Chunk] = field(default_factory=list)
    freed: Waitable = field(default_factory=lambda: Waitable("device pages"))
    driver: Driver | None = None

    @property
    def flag(self) -> int:
        return PRIVATE_DEVICE if self.private else COHERENT_DEVICE

    @property
    def live(self) -> int:
        """Pages that are handed out."""
        return sum(c.live for c in self.chunks)

    # -- what core code asks ------------------------------------------------------------------------------------------

    def folio_free(self, k: Kernel, head: int) -> None:
        """The last reference of a page is gone: it is on the free list again, unless its chunk is being removed."""
        chunk = self.chunk_of(head)
        pages = k.frames.pages(head)
        k.frames.private[head] = 0
        if pages > 1:
            k.frames.part_folio(head)
        if "device-page-not-freed" not in k.defects:
            chunk.live -= pages
            if pages > 1:
                chunk.pool.put_block(head)
            else:
                chunk.pool.put(head)
        self.freed.wake_all()

    def folio_split(self, k: Kernel, head: int, tail: int | None) -> None:
        """A folio was split: `tail` is a page of its own now (None: the last call, for the head)."""
        frames = k.frames
        if tail is not None:
            frames.flags[tail] |= self.flag
            frames.owner[tail] = self.id
            frames.private[tail] = frames.private[head]

    def migrate_to_ram(self, k: Kernel, t: Task, fault: Fault) -> Steps[str]:
        """A CPU wants a private page.  Returns 'ok', 'oom' or 'sigbus'."""
        if self.driver is None:
            return "sigbus"
        found = yield from self.driver.migrate_to_ram(k, t, fault)
        return found

    # -- the driver's allocator ---------------------------------------------------------------------------------------

    def chunk_of(self, pfn: int) -> Chunk:
        for c in self.chunks:
            if c.first <= pfn < c.first + c.pages:
                return c
        raise KeyError(f"frame {pfn} belongs to no chunk of device memory {self.id}")

    def holds(self, pfn: int) -> bool:
        """Whether the frame is memory that this device has now (I9)."""
        return any(c.first <= pfn < c.first + c.pages for c in self.chunks)

    def alloc(self, k: Kernel, t: Task, order: int = 0) -> int | None:
        """A page (order 9: a PMD-size one) with one reference of 'alloc', locked by `t`; None: no memory.

        What was in it is still in it (zone_device_page_init).  The failure `device-alloc` is asked for.
        """
        if k.fails("device-alloc"):
            return None
        while True:
            for c in self.chunks:
                if c.dying:
                    continue
                pfn = c.pool.take_block() if order else c.pool.take()
                if pfn is not None:
                    self._hand_out(k, t, c, pfn, order)
                    return pfn
            if not self.add_chunk(k):
                return None

    def alloc_many(self, k: Kernel, count: int) -> Pfns:
        """Up to `count` pages, in the order of `alloc`; their counts and locks are the caller's."""
        got: list[Pfns] = []
        missing = count
        while missing:
            for c in self.chunks:
                if not c.dying and missing:
                    taken = c.pool.take_many(missing)
                    c.live += len(taken)
                    missing -= len(taken)
                    got.append(taken)
            if missing and not self.add_chunk(k):
                break
        return np.concatenate(got) if got else np.zeros(0, np.int64)

    def _hand_out(self, k: Kernel, t: Task, c: Chunk, pfn: int, order: int) -> None:
        f = k.frames
        pages = 1 << order
        if f.refcount[pfn]:
            k.report("I3", f"device page {pfn} is handed out, but has {f.refcount[pfn]} references")
        if order:
            f.make_folio(pfn, HUGE_ORDER)
        c.live += pages
        f.flags[pfn] = self.flag | UPTODATE
        f.index[pfn] = f.private[pfn] = 0
        f.refcount[pfn] = 1
        if k.checks:
            k.ledger[pfn] = Counter({"alloc": 1})
        k.folio_locks.take(t, pfn)

    def add_chunk(self, k: Kernel) -> bool:
        """Add memory (memremap_pages): False when the device has no more."""
        taken = {c.first for c in self.chunks}
        for first in range(self.first, self.first + self.pages, self.chunk):
            n = min(self.chunk, self.first + self.pages - first)
            if first not in taken:
                v = k.frames.v
                v.flags[first : first + n] = self.flag
                v.owner[first : first + n] = self.id
                self.chunks.append(Chunk(first, n, Pool(first, n)))
                return True
        return False

    def remove_chunk(self, k: Kernel, c: Chunk) -> None:
        """The memory is gone: no page of it is handed out (memunmap_pages after its wait)."""
        v = k.frames.v
        v.flags[c.first : c.first + c.pages] = 0
        v.owner[c.first : c.first + c.pages] = 0
        self.chunks.remove(c)


class Driver:
    """Who owns device memory and serves CPU faults on it."""

    def migrate_to_ram(self, k: Kernel, t: Task, fault: Fault) -> Steps[str]:
        raise NotImplementedError


def install_memory(k: Kernel, owner: object, private: bool, pages: int, chunk: int = CHUNK) -> DeviceMemory:
    """Room for the memory of one more device.  Raises ValueError when the machine has none left."""
    first = k.config.system_pages + sum(-(-m.pages // HUGE) * HUGE for m in memories(k))
    first = -(-first // HUGE) * HUGE
    if first + pages > k.frames.total:
        raise ValueError(f"no room for {pages} pages of device memory: the machine has {k.config.device_pages} for all")
    memory = DeviceMemory(len(k.pgmaps) + 1, owner, private, first, pages, chunk)
    k.pgmaps[memory.id] = memory
    return memory


def memories(k: Kernel) -> list[DeviceMemory]:
    """All device memories of the machine."""
    return [m for m in k.pgmaps.values() if isinstance(m, DeviceMemory)]

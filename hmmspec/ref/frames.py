"""Page frames as a structure of arrays, and the pools they are taken from.

Every column is there twice: `frames.refcount` is a `memoryview` (reads and writes of one frame give plain ints and are
fast), `frames.v.refcount` is the same memory as a numpy array (for ranges).  Columns are allocated without being
touched, so a large empty machine costs nothing.

A folio is one frame or 512 of them; `head[pfn]` is its first frame, and `order[head]` 0 or 9.  The reference count,
the lock, LRU state and charge belong to the head; `mapcount` belongs to each frame (entries of page tables that name
it) and `entire` to the head (PMD-size entries).  NOTE(counts): a mapping entry of either size holds one reference of
the head.

Sources: `include/linux/mm_types.h`, `page-flags.h`; zero references for a free page of device memory since
ef233450898f (v6.1).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref.copying import pages

PAGE: Final = 4096  # bytes
HUGE: Final = 512  # base pages of a PMD-size page
HUGE_ORDER: Final = 9

Pfns = NDArray[np.int64]

# Flags of a frame.  Of the head, except EXCLUSIVE and HWPOISON, which each frame has for itself.
ANON: Final = 1 << 0
SWAPBACKED: Final = 1 << 1  # cleared by MADV_FREE: a clean page may be dropped
DIRTY: Final = 1 << 2
UPTODATE: Final = 1 << 3
LRU: Final = 1 << 4
BATCHED: Final = 1 << 5  # in a CPU's batch on its way to the LRU: the batch holds a reference
ACTIVE: Final = 1 << 6
SWAPCACHE: Final = 1 << 7  # `private` is the slot; the cache holds a reference
EXCLUSIVE: Final = 1 << 8  # anonymous and of one process only (PageAnonExclusive)
PRIVATE_DEVICE: Final = 1 << 9
COHERENT_DEVICE: Final = 1 << 10
RESERVED: Final = 1 << 11  # the zero page and other frames that nobody counts
HUGETLB: Final = 1 << 12
HWPOISON: Final = 1 << 13
WRITTEN_BEHIND: Final = 1 << 15  # a device wrote the memory behind its private page: dirty when it comes home
WRITEBACK: Final = 1 << 14
DEVICE: Final = PRIVATE_DEVICE | COHERENT_DEVICE

ZERO_PFN: Final = 1  # the shared zero page
HUGE_ZERO_PFN: Final = 512  # the huge one: frames 512..1023
FIRST_FREE: Final = 1024


class Columns:
    """The numpy arrays behind a `Frames`; one element per frame."""

    def __init__(self, n: int) -> None:
        self.refcount: NDArray[np.int32] = np.zeros(n, np.int32)
        self.mapcount: NDArray[np.int32] = np.zeros(n, np.int32)
        self.entire: NDArray[np.int32] = np.zeros(n, np.int32)
        self.pins: NDArray[np.int32] = np.zeros(n, np.int32)  # FOLL_PIN; each is one of the references too
        self.flags: NDArray[np.int32] = np.zeros(n, np.int32)
        self.lock: NDArray[np.int32] = np.zeros(n, np.int32)  # id of the task that holds the folio lock, 0: free
        self.order: NDArray[np.uint8] = np.zeros(n, np.uint8)
        self.tail: NDArray[np.int32] = np.zeros(n, np.int32)  # distance from the head
        self.mapping: NDArray[np.int32] = np.zeros(n, np.int32)  # anon_vma id > 0, -(file id) < 0, 0: none
        self.index: NDArray[np.int64] = np.zeros(n, np.int64)  # page offset in the mapping
        self.memcg: NDArray[np.int32] = np.zeros(n, np.int32)  # id of the memcg charged, 0: none
        self.private: NDArray[np.int64] = np.zeros(n, np.int64)  # swap slot (SWAPCACHE), else the driver's
        self.owner: NDArray[np.int32] = np.zeros(n, np.int32)  # id of the pgmap (device memory), 0: system memory
        self.age: NDArray[np.int64] = np.zeros(n, np.int64)  # when it came onto the LRU: reclaim takes the lowest first


class Frames:
    """All frames of a machine: `[0, system)` is system memory, `[system, total)` is there for devices.

    `data` is an array of total x 4096 bytes, or None where only the bookkeeping is looked at.
    """

    def __init__(self, system: int, device: int = 0, data: bool = True) -> None:
        self.system = system
        self.total = total = system + device
        self.v = v = Columns(total)
        self.data: NDArray[np.uint8] | None = pages(total) if data else None
        self.refcount, self.mapcount, self.entire = v.refcount.data, v.mapcount.data, v.entire.data
        self.pins, self.flags, self.lock = v.pins.data, v.flags.data, v.lock.data
        self.order, self.tail, self.mapping, self.index = v.order.data, v.tail.data, v.mapping.data, v.index.data
        self.memcg, self.private, self.owner, self.age = v.memcg.data, v.private.data, v.owner.data, v.age.data
        for pfn in (ZERO_PFN, HUGE_ZERO_PFN):
            self.flags[pfn] = RESERVED | UPTODATE
        self.order[HUGE_ZERO_PFN] = HUGE_ORDER
        v.tail[HUGE_ZERO_PFN : HUGE_ZERO_PFN + HUGE] = np.arange(HUGE)

    def head(self, pfn: int) -> int:
        return pfn - self.tail[pfn]

    def pages(self, head: int) -> int:
        """How many frames the folio has."""
        return 1 << self.order[head]

    def folio_mapcount(self, head: int) -> int:
        """Entries of any size that map any part of the folio."""
        if not self.order[head]:
            return self.mapcount[head]
        return self.entire[head] + int(self.v.mapcount[head : head + self.pages(head)].sum())

    def make_folio(self, head: int, order: int) -> None:
        """Join `1 << order` frames (order 0: part them; they may have been a larger folio) from `head` on."""
        n = 1 << order
        self.order[head] = order
        if n > 1:
            self.v.tail[head : head + n] = np.arange(n)

    def part_folio(self, head: int) -> None:
        n = self.pages(head)
        self.v.tail[head : head + n] = 0
        self.v.order[head : head + n] = 0

    def clear(self, pfn: int, n: int = 1) -> None:
        """Fill frames with zeros (the kernel clears a new page before a program sees it)."""
        if self.data is not None:
            self.data[pfn : pfn + n] = 0

    def copy(self, source: int, target: int, n: int = 1) -> None:
        """Copy whole frames; source and target do not overlap."""
        if self.data is not None:
            self.data[target : target + n] = self.data[source : source + n]


class Pool:
    """Free frames of one range `[first, first + n)`: single ones on a stack, aligned blocks of 512 on another.

    Blocks are parted when single frames run out, and put together again when a block is asked for.
    """

    def __init__(self, first: int, n: int) -> None:
        self.first, self.n = first, n
        self.stack: Pfns = np.zeros(n, np.int64)
        self.top = 0
        start = -(-first // HUGE) * HUGE
        self.blocks: list[int] = list(range(start, first + n - HUGE + 1, HUGE))[::-1]
        end = self.blocks[0] + HUGE if self.blocks else first
        start = start if self.blocks else first
        self.put_many(np.arange(first, start)[::-1])
        self.put_many(np.arange(end, first + n)[::-1])

    def __len__(self) -> int:
        """How many frames are free."""
        return self.top + len(self.blocks) * HUGE

    def take(self) -> int | None:
        """One free frame, or None."""
        if not self.top and not self._part():
            return None
        self.top -= 1
        return int(self.stack[self.top])

    def take_many(self, count: int) -> Pfns:
        """Up to `count` free frames (fewer when there are no more), in the order in which `take` would give them."""
        parted = min(len(self.blocks), -(-max(0, count - self.top) // HUGE))
        if parted:
            # Parted blocks go below what is on the stack, so that the order is the same as one by one.
            blocks = np.array(self.blocks[-parted:], np.int64)
            del self.blocks[-parted:]
            room = parted * HUGE
            self.stack[room : room + self.top] = self.stack[: self.top].copy()
            self.stack[:room] = (blocks[:, None] + np.arange(HUGE - 1, -1, -1)).reshape(-1)
            self.top += room
        count = min(count, self.top)
        self.top -= count
        return self.stack[self.top : self.top + count][::-1].copy()

    def take_block(self) -> int | None:
        """The first of 512 free frames, aligned, or None."""
        if not self.blocks:
            self._join()
        return self.blocks.pop() if self.blocks else None

    def put(self, pfn: int) -> None:
        self.stack[self.top] = pfn
        self.top += 1

    def put_many(self, pfns: Pfns) -> None:
        self.stack[self.top : self.top + len(pfns)] = pfns
        self.top += len(pfns)

    def put_block(self, head: int) -> None:
        self.blocks.append(head)

    def free(self) -> Pfns:
        """All free frames (for checks), in no order."""
        blocks = (np.array(self.blocks, np.int64)[:, None] + np.arange(HUGE)).reshape(-1)
        return np.concatenate([self.stack[: self.top], blocks])

    def shuffle(self, seed: int) -> None:
        """Give single frames out in a random order from now on (a machine that has been up for a while)."""
        while self._part():
            pass
        np.random.default_rng(seed).shuffle(self.stack[: self.top])

    def _part(self) -> bool:
        if not self.blocks:
            return False
        block = self.blocks.pop()
        self.put_many(np.arange(block + HUGE - 1, block - 1, -1))
        return True

    def _join(self) -> None:
        """Put free single frames that make up whole blocks together (what compaction would do)."""
        free = self.stack[: self.top]
        numbers, counts = np.unique(free // HUGE, return_counts=True)
        whole = numbers[counts == HUGE]
        if not len(whole):
            return
        rest = free[~np.isin(free // HUGE, whole)]
        self.stack[: len(rest)] = rest
        self.top = len(rest)
        self.blocks.extend((whole[::-1] * HUGE).tolist())

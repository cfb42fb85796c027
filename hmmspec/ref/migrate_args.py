"""One call of migrate_vma: its arguments, its pages' locks, and the reference checks.

Source: `mm/migrate_device.c` (`migrate_vma_check_page`), `include/linux/migrate.h` (`struct migrate_vma`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref import selection as sel
from hmmspec.ref.frames import DEVICE, HUGE, SWAPCACHE
from hmmspec.ref.spaces import Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Task

Words = NDArray[np.int64]


@dataclass(eq=False)
class MigrateArgs:
    """One call.  `select`: the SELECT_* of selection.py; `owner`: the pgmap whose device pages may move.

    `fault_pfn` is the device page that the calling CPU fault holds a reference of, and has locked if `fault_locked`.
    Without a VMA (`mm` None) the pages were chosen by frame number: eviction.  Entry i is of page `start + i`.
    """

    mm: Mm | None
    vma: Vma | None
    start: int
    end: int
    select: int = 0
    owner: int = 0
    fault_pfn: int = 0
    fault_locked: bool = True
    src: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    dst: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    cpages: int = 0
    npages: int = 0

    def __post_init__(self) -> None:
        n = max(0, self.end - self.start)
        if len(self.src) != n:
            self.src = np.zeros(n, np.int64)
        self.dst = np.zeros(n, np.int64)

    def moved(self) -> int:
        """How many base pages still have MIGRATE and a destination."""
        going = (self.src & sel.MIGRATE != 0) & (self.dst & sel.VALID != 0)
        whole = going & (self.dst & sel.COMPOUND != 0)
        return int(going.sum()) + int(whole.sum()) * (HUGE - 1)


def is_fault_page(k: Kernel, args: MigrateArgs, head: int) -> bool:
    """Whether the CPU fault that called holds this folio."""
    return bool(args.fault_pfn) and k.frames.head(args.fault_pfn) == head


def lock_page(k: Kernel, t: Task, args: MigrateArgs, head: int) -> bool:
    """Lock a folio without waiting: two migrators never wait for each other's."""
    if args.fault_locked and is_fault_page(k, args, head):
        return True
    if not k.fails("trylock") and k.folio_locks.trylock(t, head):
        return True
    return "collect-ignores-lock" in k.defects


def unlock_page(k: Kernel, t: Task, args: MigrateArgs, head: int) -> None:
    """Unlock a folio that `collect` locked; the one of the CPU fault stays locked: the fault unlocks it."""
    if args.fault_locked and is_fault_page(k, args, head):
        return
    if "collect-ignores-lock" in k.defects and k.frames.lock[head] != t.id:
        return
    k.folio_locks.unlock(t, head)


def may_move(k: Kernel, args: MigrateArgs, head: int) -> bool:
    """The check after unmapping: is the folio unmapped, and does nobody else hold it (migrate_vma_check_page)?"""
    f = k.frames
    mapped = f.folio_mapcount(head)
    if mapped:
        return False
    if "check-ignores-pins" in k.defects:
        return True
    fault = int(is_fault_page(k, args, head))
    extra = sel.early_references(fault, int(f.flags[head] & DEVICE != 0), cache_references(k, head))
    return f.refcount[head] - extra <= 0


def cache_references(k: Kernel, head: int) -> int:
    """References of the swap cache or the page cache, one for each base page in the swap cache."""
    flags = k.frames.flags[head]
    return int(bool(flags & SWAPCACHE) or k.frames.mapping[head] < 0)

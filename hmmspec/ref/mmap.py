"""mmap, munmap and the mapping of single pages by a driver.

Source: `mm/mmap.c`, `mm/vma.c`; notifier events: UNMAP around munmap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref.counts import account, add_file
from hmmspec.ref.errors import Errno
from hmmspec.ref.fault import make_table
from hmmspec.ref.frames import HUGE
from hmmspec.ref.hugepool import close
from hmmspec.ref.layout import carve, enlist, settle, unlink
from hmmspec.ref.spaces import ACCOUNT, HUGETLB, MAY_WRITE, MIXEDMAP, READ, SHARED, SOFTDIRTY, WRITE, File, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.zap import free_tables, zap_range

LIMIT: Final = 1 << 35  # pages of an address space (47 bits of bytes)
PROTECTIONS: Final = {"none": 0, "r": READ, "rw": READ | WRITE, "w": READ | WRITE}


def mmap(
    k: Kernel,
    t: Task,
    mm: Mm,
    start: int,
    count: int,
    prot: int = READ | WRITE,
    flags: int = 0,
    file: File | None = None,
    offset: int = 0,
    driver: object | None = None,
    fill: Callable[[Vma], Steps[None]] | None = None,
) -> Steps[Vma]:
    """A new mapping of `count` pages at `start` (MAP_FIXED: what was there goes).

    `flags`: SHARED, HUGETLB, MIXEDMAP, PFNMAP, IO, DAX.  Shared memory without a file gets a shmem file of its own.
    `fill` is what a driver's own mmap does to the new VMA (mmap_lock is held); if it raises, the mapping is undone.
    Raises EINVAL, and ENOMEM where hugetlb pages are missing.
    """
    if count <= 0 or start < 0 or start + count > LIMIT or offset < 0:
        raise Errno("EINVAL")
    if flags & HUGETLB and (start % HUGE or count % HUGE):
        raise Errno("EINVAL")
    yield from mm.mmap_lock.write(t)
    try:
        if mm.dead:
            raise Errno("ESRCH")
        if mm.overlapping(start, start + count):
            yield from _unmap(k, t, mm, start, start + count)
        if flags & HUGETLB:
            if not k.huge_pages.promise(count // HUGE):
                raise Errno("ENOMEM")
        if flags & SHARED and file is None:
            file = k.new_file("shmem", count, disk=False, huge=bool(flags & HUGETLB))
            file.unlinked = True
        may = (
            MAY_WRITE if prot & WRITE or not flags & SHARED or file is None or file.disk is None else flags & MAY_WRITE
        )
        if prot & WRITE and not flags & (SHARED | HUGETLB):
            may |= ACCOUNT
        vma = Vma(mm, start, start + count, prot | flags | may, offset if file else start, file, driver=driver)
        if flags & HUGETLB and not flags & SHARED:
            vma.taken = set()
        if file is not None and not file.unlinked:
            vma.opened = k.next_open
            k.next_open += 1
        enlist(vma)
        if fill is not None:
            try:
                yield from fill(vma)
            except Errno:
                yield from _unmap(k, t, mm, start, start + count)
                raise
        if driver is None:
            vma = settle(k, vma)
        vma.flags |= SOFTDIRTY  # what is joined is new as a whole
        return vma
    finally:
        mm.mmap_lock.release(t)


def munmap(k: Kernel, t: Task, mm: Mm, start: int, count: int) -> Steps[None]:
    """Unmap a range; parts of it that are not mapped are passed over.  Raises EINVAL, ENOMEM."""
    if count <= 0 or start < 0 or start + count > LIMIT:
        raise Errno("EINVAL")
    yield from mm.mmap_lock.write(t)
    try:
        yield from _unmap(k, t, mm, start, start + count)
    finally:
        mm.mmap_lock.release(t)


def _unmap(k: Kernel, t: Task, mm: Mm, start: int, end: int) -> Steps[None]:
    """What munmap does with mmap_lock held for writing: detach the VMAs, call the notifiers, clear, free tables.

    The notifiers hear once, of all that was asked for, with the holes between the VMAs (unmap_vmas).
    """
    gone = yield from carve(k, t, mm, start, end)
    for vma in gone:
        mm.vmas.remove(vma)
    event = notifier.Event(notifier.UNMAP, start, end)
    told = bool(gone) and "munmap-no-notifier" not in k.defects
    if told:
        yield from notifier.start(k, t, mm, event)
    for vma in gone:
        yield from zap_range(k, t, vma, vma.start, vma.end)
    if told:
        yield from notifier.end(k, t, mm, event)
    for vma in gone:
        close(k.huge_pages, vma)
        unlink(k, vma)
    if "zap-stops-early" not in k.defects:
        free_tables(k, mm, start, end)


def fill_with_pages(k: Kernel, t: Task, vma: Vma) -> Steps[None]:
    """What the test device's mmap does: a page of zeros for each address.  Raises ENOMEM."""
    for vpn in range(vma.start, vma.end):
        pfn = k.alloc("driver")
        if pfn is None:
            raise Errno("ENOMEM")
        good = yield from insert_page(k, t, vma, vpn, pfn)
        k.put(pfn, "driver")
        if not good:
            raise Errno("ENOMEM")


def insert_page(k: Kernel, t: Task, vma: Vma, vpn: int, pfn: int) -> Steps[bool]:
    """A driver puts one of its pages into a VMA of its own (vm_insert_page); the mapping takes a reference.

    The VMA becomes a mixed map; the entry is writable only in a shared mapping.  False: there is something, or no
    table.
    """
    mm = vma.mm
    if not (yield from make_table(k, t, mm, vpn >> 9)):
        return False
    slot = k.tables.slot(mm, vpn)
    assert slot is not None
    lock = k.tables.lock(slot >> 9)
    yield from lock.acquire(t)
    free = not k.tables.words[slot]
    if free:
        vma.flags |= MIXEDMAP
        k.get(pfn, "map")
        add_file(k, pfn)
        account(k, mm, pfn, 1)
        shared = vma.flags & SHARED and vma.flags & WRITE
        kind = e.PRES if vma.flags & READ else e.PROTNONE
        k.tables.words[slot] = e.entry(kind, pfn, e.YOUNG | (e.WRITE if shared else 0))
    lock.release(t)
    yield "pte written"
    return free

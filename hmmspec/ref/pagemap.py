"""What a program can see of its own pages: pagemap words, the RSS; and reading and writing files by system calls.

Source: `fs/proc/task_mmu.c` (pte_to_pagemap_entry): bit 63 present, 62 swapped (every non-present entry that is not
none), 61 file page or shared anonymous, 57 uffd-wp, 56 mapped once, 55 soft-dirty.
"""

from __future__ import annotations

from typing import Final

from hmmspec.ref import entries as e
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.errors import Errno
from hmmspec.ref.filefault import cached_page
from hmmspec.ref.frames import ANON, DIRTY, PAGE, RESERVED
from hmmspec.ref.lru import drain_all
from hmmspec.ref.spaces import HUGETLB, SOFTDIRTY, File, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.swapping import drop_orphans, pageout, write_back
from hmmspec.ref.tasks import Steps, Task

PM_PRESENT: Final = 1 << 63
PM_SWAP: Final = 1 << 62
PM_FILE: Final = 1 << 61
PM_UFFD_WP: Final = 1 << 57
PM_EXCLUSIVE: Final = 1 << 56
PM_SOFT_DIRTY: Final = 1 << 55


def pagemap(k: Kernel, t: Task, mm: Mm, start: int, count: int) -> Steps[list[int]]:
    """One word per page; each page is looked at by itself."""
    k.line.charge(Kind.WALK, count=count)
    yield from mm.mmap_lock.read(t)
    words = []
    for vpn in range(start, start + count):
        huge = k.tables.slot(mm, vpn) is None
        words.append(_word(k, mm.find(vpn), k.tables.read(mm, vpn), huge))
        if vpn & 31 == 31:
            yield "pagemap"
    mm.mmap_lock.release(t)
    return words


def _word(k: Kernel, vma: Vma | None, word: int, huge: bool) -> int:
    soft = PM_SOFT_DIRTY if vma is not None and (vma.flags & SOFTDIRTY or word & e.SOFT) else 0
    kind = word & e.KIND
    if kind == e.NONE:
        return soft
    if vma is not None and vma.flags & HUGETLB:
        soft &= PM_SOFT_DIRTY if vma.flags & SOFTDIRTY else 0  # only areas are tracked, not entries
        if kind == e.MARKER:
            return soft | PM_UFFD_WP
    out = soft | (PM_UFFD_WP if word & e.UFFD else 0)
    if kind not in (e.PRES, e.PROTNONE, e.ZERO, e.SPECIAL):
        return out | PM_SWAP
    out |= PM_PRESENT
    if kind == e.ZERO and huge:
        out |= PM_FILE  # the huge zero page is a page like others there; the small one is none at all
    pfn = word >> e.SHIFT
    head = k.frames.head(pfn)
    if kind not in (e.PRES, e.PROTNONE) or k.frames.flags[head] & RESERVED:
        return out
    if not k.frames.flags[head] & ANON:
        out |= PM_FILE
    if k.frames.mapcount[pfn] + k.frames.entire[head] == 1:
        out |= PM_EXCLUSIVE
    return out


def file_read(k: Kernel, t: Task, file: File, index: int) -> Steps[bytes]:
    """pread of one page, through the page cache.  Raises EINVAL past the end, ENOMEM."""
    head = yield from _page(k, t, file, index)
    data = k.frames.data
    got = bytes(PAGE) if data is None else data[head].tobytes()
    k.put(head, "fault")
    return got


def file_write(k: Kernel, t: Task, file: File, index: int, data: bytes) -> Steps[None]:
    """pwrite of (up to) one page, through the page cache.  Raises EINVAL past the end, ENOMEM."""
    head = yield from _page(k, t, file, index)
    yield from k.folio_locks.lock(t, head)
    if k.frames.data is not None:
        memoryview(k.frames.data[head])[: len(data)] = data
    k.frames.flags[head] |= DIRTY
    k.folio_locks.unlock(t, head)
    k.put(head, "fault")


def _page(k: Kernel, t: Task, file: File, index: int) -> Steps[int]:
    if not 0 <= index < file.size:
        raise Errno("EINVAL")
    head = yield from cached_page(k, t, file, index, None)
    if head is None:
        raise Errno("ENOMEM")
    return head


def drop_caches(k: Kernel, t: Task) -> Steps[int]:
    """Write back and drop every page of the page cache that can be dropped, and of the swap cache what nobody needs;
    how
    many went."""
    yield from drain_all(k, t)
    gone = drop_orphans(k)
    for file in list(k.files.values()):
        if file.disk is None:
            continue
        for head in list(file.pages.values()):
            if not k.frames.folio_mapcount(head) and k.frames.lock[head] == 0:
                write_back(k, file, head)
                gone += yield from pageout(k, t, head)
    return gone

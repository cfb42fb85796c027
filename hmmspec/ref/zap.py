"""Taking mappings away: what munmap, MADV_DONTNEED and exit do to each entry of a range.

Entries are cleared under the page-table lock; then the CPUs' translations are flushed, and only then are the pages
given up (mmu_gather): a page that a CPU can still reach is not free.

Source: `mm/memory.c` @009857a22860 (zap_pte_range, zap_nonpresent_ptes), `mm/huge_memory.c` (zap_huge_pmd).
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref.counts import account, counted, remove
from hmmspec.ref.frames import ANON, DIRTY, EXCLUSIVE, HUGE, HUGETLB
from hmmspec.ref.hugepool import unmapped
from hmmspec.ref.rmap import MAPS
from hmmspec.ref.spaces import HUGETLB as HUGETLB_AREA
from hmmspec.ref.spaces import UFFD_WP, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.swapping import free_entry, put_mapping
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.thp import split_told
from hmmspec.ref.tlb import flush_range


def zap_range(k: Kernel, t: Task, vma: Vma, start: int, end: int, keep_marks: bool = False) -> Steps[bool]:
    """Clear every entry of `[start, end)`; False: a PMD-size entry had to be split, and no page table could be had.

    keep_marks: the area stays, so pages of a file that userfaultfd protects stay protected, by markers.
    The caller has called the notifiers' start, and calls their end.
    """
    mm = vma.mm
    marks = keep_marks and not vma.anonymous and bool(vma.flags & UFFD_WP)
    if "zap-stops-early" in k.defects and end - start > 1:
        end -= 1
    vpn = start
    while vpn < end:
        if k.bulk is not None and not marks and (done := k.bulk.zap(vma, vpn, end)) > vpn:
            vpn = done
            continue
        stop = min(end, (vpn | (HUGE - 1)) + 1)
        word = mm.pmd.get(vpn >> 9, 0)
        if word and word & e.KIND != e.TABLE and stop - vpn < HUGE:
            if not (yield from split_told(k, t, mm, vpn >> 9)):
                return False
        elif word and word & e.KIND != e.TABLE:
            yield from mm.pmd_lock.acquire(t)
            word = mm.pmd.get(vpn >> 9, 0)
            if word and word & e.KIND != e.TABLE:
                yield from _zap_huge(k, t, vma, vpn, keep_marks)
                vpn = stop
                continue
            mm.pmd_lock.release(t)
        if mm.pmd.get(vpn >> 9, 0) & e.KIND == e.TABLE:
            yield from _zap_table(k, t, mm, vpn, stop, marks)
        vpn = stop
    return True


def _zap_table(k: Kernel, t: Task, mm: Mm, start: int, end: int, marks: bool) -> Steps[None]:
    slot = k.tables.slot(mm, start)
    assert slot is not None
    words = k.tables.words
    low = slot
    present = False
    pages: list[int] = []
    lock = k.tables.lock(slot >> 9)
    yield from lock.acquire(t)
    for slot in range(low, low + end - start):
        word = words[slot]
        if not word:
            continue
        words[slot] = e.entry(e.MARKER, e.UFFD_MARK, e.UFFD) if marks and word & e.UFFD else 0
        present |= word & e.KIND in e.CACHED_KINDS
        _forget(k, mm, word, pages)
        yield "pte written"
    if present and "zap-flushes-late" not in k.defects and "zap-no-flush" not in k.defects:
        flush_range(k, mm, start, end)
    lock.release(t)
    for pfn in pages:
        put_mapping(k, pfn)
    yield "zapped"
    if present and "zap-flushes-late" in k.defects:
        flush_range(k, mm, start, end)


def _forget(k: Kernel, mm: Mm, word: int, pages: list[int]) -> None:
    """Everything an entry stands for goes, but the reference of a mapping: its page is added to `pages`."""
    kind, pfn, f = word & e.KIND, word >> e.SHIFT, k.frames
    if kind in MAPS:
        head = pfn - f.tail[pfn]
        if word & e.DIRTY and not f.flags[head] & ANON and "file-write-stays-clean" not in k.defects:
            f.flags[head] |= DIRTY
        device = kind == e.DEVPRIV
        if not (device and "zap-forgets-rss" in k.defects):
            account(k, mm, pfn, -1)
        remove(k, pfn)
        if not (device and "zap-forgets-reference" in k.defects):
            pages.append(pfn)
    elif kind == e.MIGR:
        account(k, mm, pfn, -1)
        if "zap-puts-migration" in k.defects:
            pages.append(pfn)
    elif kind == e.SWAP:
        mm.rss_swap -= 1
        free_entry(k, pfn)


def _zap_huge(k: Kernel, t: Task, vma: Vma, vpn: int, keep_marks: bool) -> Steps[None]:
    """A whole PMD-size entry; the PMD lock is held, and released."""
    mm = vma.mm
    word = mm.pmd.pop(vpn >> 9)
    if keep_marks and word & e.UFFD and vma.flags & HUGETLB_AREA:
        mm.pmd[vpn >> 9] = e.entry(e.MARKER, e.UFFD_MARK, e.UFFD)
    kind, head, f = word & e.KIND, word >> e.SHIFT, k.frames
    mapped = kind in MAPS and counted(k, head)
    if kind in e.CACHED_KINDS and "zap-no-flush" not in k.defects:
        flush_range(k, mm, vpn, vpn + HUGE)
    if mapped or kind == e.MIGR:
        if word & e.DIRTY and not f.flags[head] & ANON:
            f.flags[head] |= DIRTY
        account(k, mm, head, -HUGE)
    if mapped:
        if f.flags[head] & HUGETLB:
            f.flags[head] &= ~EXCLUSIVE
        remove(k, head, huge=True)
        if f.flags[head] & HUGETLB:
            unmapped(k.huge_pages, f, vma, vpn, head)
    mm.pmd_lock.release(t)
    yield "pmd written"
    if mapped:
        k.put(head, "map")


def free_tables(k: Kernel, mm: Mm, start: int, end: int) -> None:
    """Give back the page tables that cover only addresses of `[start, end)` where no VMA is; mmap_lock is held for
    writing.
    """
    for pmd in [p for p in mm.pmd if start <= p << 9 < end or start < (p + 1) << 9 <= end]:
        word = mm.pmd[pmd]
        if word & e.KIND == e.TABLE and not mm.overlapping(pmd << 9, (pmd + 1) << 9):
            row = word >> e.SHIFT
            if k.tables.v[row].any():
                k.report("I10", f"a page table of {mm} is freed with entries in it")
                k.tables.v[row] = 0
            del mm.pmd[pmd]
            k.tables.put(row)

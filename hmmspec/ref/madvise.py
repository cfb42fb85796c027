"""madvise: DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE, COLLAPSE, PAGEOUT, DONTFORK, DOFORK.

Source: `mm/madvise.c` (madvise_free_pte_range, madvise_cold_or_pageout), `mm/khugepaged.c` (collapse_huge_page).
"""

from __future__ import annotations

from typing import Final

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref.collapse import collapse
from hmmspec.ref.errors import Errno
from hmmspec.ref.frames import ANON, BATCHED, DEVICE, DIRTY, HUGE, LRU, SWAPBACKED, SWAPCACHE
from hmmspec.ref.layout import areas, covered, modify
from hmmspec.ref.lru import drain_cpu
from hmmspec.ref.spaces import DONTFORK, HUGEPAGE, HUGETLB, NOHUGEPAGE, PFNMAP, SPECIAL, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.swapping import free_entry, pageout, try_free_cache
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.thp import split_pmd
from hmmspec.ref.tlb import flush_page
from hmmspec.ref.zap import zap_range

ADVICE: Final = ("dontneed", "free", "hugepage", "nohugepage", "collapse", "pageout", "dontfork", "dofork")


def madvise(k: Kernel, t: Task, mm: Mm, start: int, count: int, advice: str) -> Steps[None]:
    """Give advice on a range.

    Raises EINVAL (advice unknown or not for this kind of memory), ENOMEM (a gap, and what is mapped got the advice;
    or no huge page for `collapse`), EAGAIN (`collapse`: the pages are in use).
    """
    end = start + count
    if count <= 0 or start < 0 or advice not in ADVICE:
        raise Errno("EINVAL")
    if advice in ("hugepage", "nohugepage"):
        yield from _mark(k, t, mm, start, end, HUGEPAGE if advice == "hugepage" else NOHUGEPAGE)
        return
    if advice == "collapse":
        yield from _collapse(k, t, mm, start, end)
        return
    if advice in ("dontfork", "dofork"):
        yield from _inherit(k, t, mm, start, end, advice == "dofork")
        return
    yield from mm.mmap_lock.read(t)
    try:
        vmas = mm.overlapping(start, end)
        for vma in vmas:
            low, high = max(start, vma.start), min(end, vma.end)
            if advice == "dontneed":
                yield from _dontneed(k, t, vma, low, high)
            elif advice == "free":
                if not vma.anonymous:
                    raise Errno("EINVAL")
                yield from _free(k, t, vma, low, high)
            else:
                if vma.flags & (HUGETLB | PFNMAP):
                    raise Errno("EINVAL")
                yield from _pageout(k, t, vma, low, high)
        if not covered(mm, start, end):
            raise Errno("ENOMEM")
    finally:
        mm.mmap_lock.release(t)


def _mark(k: Kernel, t: Task, mm: Mm, start: int, end: int, flag: int) -> Steps[None]:
    yield from mm.mmap_lock.write(t)
    try:
        yield from _set_flags(k, t, mm, start, end, HUGEPAGE | NOHUGEPAGE, flag)
    finally:
        mm.mmap_lock.release(t)


def _set_flags(k: Kernel, t: Task, mm: Mm, start: int, end: int, off: int, on: int) -> Steps[None]:
    """Other flags for what is mapped of a range.  Raises ENOMEM where there are gaps, after all was done."""
    whole = covered(mm, start, end)
    for low, high in areas(mm, start, end):
        vma = mm.find(low)
        assert vma is not None
        flags = vma.flags & ~off | on
        if flags != vma.flags:
            yield from modify(k, t, vma, low, high, flags)
    if not whole:
        raise Errno("ENOMEM")


def _inherit(k: Kernel, t: Task, mm: Mm, start: int, end: int, child_too: bool) -> Steps[None]:
    """Whether a child gets the mappings; parts that are mapped are marked also where there are gaps."""
    yield from mm.mmap_lock.write(t)
    try:
        yield from _set_flags(k, t, mm, start, end, DONTFORK, 0 if child_too else DONTFORK)
    finally:
        mm.mmap_lock.release(t)


def _collapse(k: Kernel, t: Task, mm: Mm, start: int, end: int) -> Steps[None]:
    """Every aligned 2 MiB of each area in the range; an area that fails ends it, and gaps are told last."""
    yield from mm.mmap_lock.write(t)
    try:
        for vma in mm.overlapping(start, end):
            low, high = max(start, vma.start), min(end, vma.end)
            first, last = -(-low // HUGE), high // HUGE
            failed = "" if _may_be_huge(vma) and first <= last else "EINVAL"
            for pmd in range(first, last) if not failed else ():
                failed = (yield from collapse(k, t, mm, pmd)) or failed
            if failed:
                raise Errno(failed)
        if not covered(mm, start, end):
            raise Errno("ENOMEM")
    finally:
        mm.mmap_lock.release(t)


def _may_be_huge(vma: Vma) -> bool:
    """Whether an area can hold huge pages at all: large enough, nobody against it, and private memory was used."""
    if vma.flags & (HUGETLB | SPECIAL | NOHUGEPAGE) or vma.end // HUGE * HUGE - HUGE < vma.start:
        return False
    if not vma.anonymous:
        return (vma.start - vma.offset) % HUGE == 0
    return vma.anon is not None


def _dontneed(k: Kernel, t: Task, vma: Vma, start: int, end: int) -> Steps[None]:
    """MADV_DONTNEED: the entries go; next time there are zeros, or what the file holds."""
    if vma.flags & HUGETLB and (start % HUGE or end % HUGE):
        raise Errno("EINVAL")
    event = notifier.Event(notifier.CLEAR, start, end)
    quiet = "zap-no-notifier" in k.defects
    if not quiet:
        yield from notifier.start(k, t, vma.mm, event)
    good = yield from zap_range(k, t, vma, start, end, keep_marks=True)
    if not quiet:
        yield from notifier.end(k, t, vma.mm, event)
    if not good:
        raise Errno("ENOMEM")


def _free(k: Kernel, t: Task, vma: Vma, start: int, end: int) -> Steps[None]:
    """MADV_FREE: pages may be dropped from now on if they are not written again; pages on a device are left alone."""
    mm = vma.mm
    event = notifier.Event(notifier.CLEAR, start, end)
    drain_cpu(k, t.cpu)
    yield from notifier.start(k, t, mm, event)
    for vpn in range(start, end):
        word = mm.pmd.get(vpn >> 9, 0)
        if word & e.KIND == e.PRES and (vpn % HUGE == 0 or vpn == start):
            # A huge page that is given up as a whole would be marked as one; its parts do as well.
            yield from mm.pmd_lock.acquire(t)
            split_pmd(k, mm, vpn >> 9)
            mm.pmd_lock.release(t)
        slot = k.tables.slot(mm, vpn)
        if slot is None or not k.tables.words[slot]:
            continue
        lock = k.tables.lock(slot >> 9)
        yield from lock.acquire(t)
        _free_entry(k, t, mm, vpn, slot)
        lock.release(t)
        yield "pte written"
    yield from notifier.end(k, t, mm, event)


def _free_entry(k: Kernel, t: Task, mm: Mm, vpn: int, slot: int) -> None:
    words, f = k.tables.words, k.frames
    word = words[slot]
    kind, pfn = word & e.KIND, word >> e.SHIFT
    if kind == e.SWAP:
        words[slot] = 0
        mm.rss_swap -= 1
        free_entry(k, pfn)
        return
    if kind not in (e.PRES, e.PROTNONE) or f.tail[pfn] or f.order[pfn] or f.mapcount[pfn] != 1:
        return
    if not f.flags[pfn] & ANON or f.flags[pfn] & DEVICE or k.fails("trylock") or not k.folio_locks.trylock(t, pfn):
        return
    if try_free_cache(k, pfn) and not f.flags[pfn] & SWAPCACHE:
        f.flags[pfn] &= ~DIRTY
        if f.flags[pfn] & LRU and not f.flags[pfn] & BATCHED:
            f.flags[pfn] &= ~SWAPBACKED
        words[slot] = word & ~(e.DIRTY | e.YOUNG)
        flush_page(k, mm, vpn)
    k.folio_locks.unlock(t, pfn)


def _pageout(k: Kernel, t: Task, vma: Vma, start: int, end: int) -> Steps[None]:
    """MADV_PAGEOUT: reclaim what only this process maps."""
    f = k.frames
    drain_cpu(k, t.cpu)
    done: set[int] = set()
    for vpn in range(start, end):
        word = k.tables.read(vma.mm, vpn)
        if word & e.KIND not in (e.PRES, e.PROTNONE):
            continue
        pfn = word >> e.SHIFT
        head = pfn - f.tail[pfn]
        if head in done or f.mapcount[pfn] > 1 or f.entire[head] > 1:
            continue
        done.add(pfn)
        yield from pageout(k, t, head)
        if f.tail[pfn] == 0 and head != pfn:  # it was a part of a folio that was split: now it is the next
            yield from pageout(k, t, pfn)

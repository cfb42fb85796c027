"""madvise: DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE, COLLAPSE, PAGEOUT, DONTFORK, DOFORK.

Source: `mm/madvise.c` (madvise_free_pte_range, madvise_cold_or_pageout), `mm/khugepaged.c` (collapse_huge_page).
"""

from __future__ import annotations

from typing import Final

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref.collapse import collapse
from hmmspec.ref.errors import Errno
from hmmspec.ref.frames import ANON, BATCHED, DEVICE, DIRTY, HUGE, LRU, RESERVED, SWAPBACKED, SWAPCACHE
from hmmspec.ref.layout import areas, covered, modify
from hmmspec.ref.lru import drain_cpu
from hmmspec.ref.spaces import DONTFORK, HUGEPAGE, HUGETLB, NOHUGEPAGE, PFNMAP, SPECIAL, Mm, Vma
from hmmspec.ref.split import shared, split_mapped
from hmmspec.ref.state import Kernel
from hmmspec.ref.swapping import free_entry, pageout, try_free_cache
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.tlb import flush_page, flush_range
from hmmspec.ref.zap import zap_range

PRESENT: Final = (e.PRES, e.PROTNONE)
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
    if vma.flags & HUGETLB:
        if start % HUGE:
            raise Errno("EINVAL")
        end -= end % HUGE  # the last page, if the range ends in it, stays
        if start == end:
            return
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
    """MADV_FREE: pages may be dropped from now on if they are not written again; pages on a device are left alone.

    A large folio is given up whole, or split where only a part of it is.
    """
    mm = vma.mm
    event = notifier.Event(notifier.CLEAR, start, end)
    drain_cpu(k, t.cpu)
    yield from notifier.start(k, t, mm, event)
    vpn = start
    while vpn < end:
        stop = min(end, (vpn | (HUGE - 1)) + 1)
        if mm.pmd.get(vpn >> 9, 0) & e.KIND in PRESENT:
            yield from _free_huge(k, t, mm, vpn, stop)
        while vpn < stop and mm.pmd.get(vpn >> 9, 0) & e.KIND == e.TABLE:
            vpn = yield from _free_page(k, t, mm, vpn, stop)
        vpn = stop
    yield from notifier.end(k, t, mm, event)


def _free_huge(k: Kernel, t: Task, mm: Mm, vpn: int, stop: int) -> Steps[None]:
    """MADV_FREE of a PMD-size entry, or of a part: then it is split, if that can be done."""
    yield from mm.pmd_lock.acquire(t)
    word, f = mm.pmd.get(vpn >> 9, 0), k.frames
    head = word >> e.SHIFT
    if word & e.KIND not in PRESENT or shared(k, head) or k.fails("trylock") or not k.folio_locks.trylock(t, head):
        mm.pmd_lock.release(t)
        return
    if stop - vpn == HUGE:
        f.flags[head] &= ~DIRTY
        mm.pmd[vpn >> 9] = word & ~(e.DIRTY | e.YOUNG)
        flush_range(k, mm, vpn, stop)
        _make_lazy(k, head)
        k.folio_locks.unlock(t, head)
        mm.pmd_lock.release(t)
    else:
        k.get(head, "advice")
        mm.pmd_lock.release(t)
        yield from split_mapped(k, t, head, "advice")
        k.folio_locks.unlock(t, head)
        k.put(head, "advice")
    yield "pmd written"


def _free_page(k: Kernel, t: Task, mm: Mm, vpn: int, stop: int) -> Steps[int]:
    """MADV_FREE of a page, or of as many as the range has of a large folio; where to go on."""
    slot = k.tables.slot(mm, vpn)
    assert slot is not None
    word = k.tables.words[slot]
    if not word:
        return vpn + 1
    head = _large(k, word)
    run = _run(k, mm, vpn, stop, head) if head else 1
    if head and run < k.frames.pages(head):
        return vpn if (yield from _split_away(k, t, head)) else vpn + run
    lock = k.tables.lock(slot >> 9)
    yield from lock.acquire(t)
    if head:
        _free_folio(k, t, mm, vpn, slot, head)
    else:
        _free_entry(k, t, mm, vpn, slot)
    lock.release(t)
    yield "pte written"
    return vpn + run


def _free_folio(k: Kernel, t: Task, mm: Mm, vpn: int, slot: int, head: int) -> None:
    """A folio that is mapped piece by piece, all of it; the lock of its entries is held."""
    f, words = k.frames, k.tables.v.reshape(-1)
    if f.flags[head] & DIRTY:
        if k.fails("trylock") or not k.folio_locks.trylock(t, head):
            return
        alone = f.folio_mapcount(head) == HUGE
        if alone:
            f.flags[head] &= ~DIRTY
        k.folio_locks.unlock(t, head)
        if not alone:
            return
    words[slot : slot + HUGE] &= ~(e.DIRTY | e.YOUNG)
    flush_range(k, mm, vpn, vpn + HUGE)
    _make_lazy(k, head)


def _make_lazy(k: Kernel, head: int) -> None:
    """Reclaim may drop the folio if it is not written any more (folio_mark_lazyfree)."""
    flags = k.frames.flags[head]
    if flags & ANON and flags & LRU and not flags & (BATCHED | SWAPCACHE):
        k.frames.flags[head] &= ~SWAPBACKED


def _large(k: Kernel, word: int) -> int:
    """The large folio of system memory that an entry of a page table maps a page of; 0: none."""
    pfn = word >> e.SHIFT
    head = k.frames.head(pfn) if word & e.KIND in PRESENT else 0
    return head if k.frames.order[head] and not k.frames.flags[head] & (DEVICE | RESERVED) else 0


def _run(k: Kernel, mm: Mm, vpn: int, stop: int, head: int) -> int:
    """How many pages from here on map the folio in order (folio_pte_batch)."""
    slot, words = k.tables.slot(mm, vpn), k.tables.words
    assert slot is not None
    first, run = words[slot], 1
    last = head + k.frames.pages(head) - 1
    most = min(stop - vpn, last - (first >> e.SHIFT) + 1)
    mask = e.KIND | e.UFFD | ~((1 << e.SHIFT) - 1)
    while run < most and words[slot + run] & mask == (first & mask) + (run << e.SHIFT):
        run += 1
    return run


def _split_away(k: Kernel, t: Task, head: int) -> Steps[bool]:
    """Split a large folio of which only a part is advised on; False: others map it, or use it."""
    if shared(k, head) or k.fails("trylock") or not k.folio_locks.trylock(t, head):
        return False
    k.get(head, "advice")
    done = yield from split_mapped(k, t, head, "advice")
    k.folio_locks.unlock(t, head)
    k.put(head, "advice")
    return done


def _free_entry(k: Kernel, t: Task, mm: Mm, vpn: int, slot: int) -> None:
    words, f = k.tables.words, k.frames
    word = words[slot]
    kind, pfn = word & e.KIND, word >> e.SHIFT
    if kind == e.SWAP:
        words[slot] = 0
        mm.rss_swap -= 1
        free_entry(k, pfn)
        return
    if kind not in PRESENT or f.tail[pfn] or f.order[pfn] or not f.flags[pfn] & ANON or f.flags[pfn] & DEVICE:
        return
    # Whether others map the folio matters only where it has more to lose than the entry's own dirty bit.
    if f.flags[pfn] & (DIRTY | SWAPCACHE):
        if k.fails("trylock") or not k.folio_locks.trylock(t, pfn):
            return
        alone = f.mapcount[pfn] == 1 and try_free_cache(k, pfn) and not f.flags[pfn] & SWAPCACHE
        if alone:
            f.flags[pfn] &= ~DIRTY
        k.folio_locks.unlock(t, pfn)
        if not alone:
            return
    _make_lazy(k, pfn)
    words[slot] = word & ~(e.DIRTY | e.YOUNG)
    flush_page(k, mm, vpn)


def _pageout(k: Kernel, t: Task, vma: Vma, start: int, end: int) -> Steps[None]:
    """MADV_PAGEOUT: reclaim what only this process maps.  A large folio is split where the range has only a part."""
    mm = vma.mm
    drain_cpu(k, t.cpu)
    vpn = start
    while vpn < end:
        stop = min(end, (vpn | (HUGE - 1)) + 1)
        word = mm.pmd.get(vpn >> 9, 0)
        head = word >> e.SHIFT
        if word & e.KIND in PRESENT and stop - vpn < HUGE:
            yield from _split_away(k, t, head)
        elif word & e.KIND in PRESENT and not shared(k, head):
            yield from pageout(k, t, head)
            vpn = stop
        while vpn < stop and mm.pmd.get(vpn >> 9, 0) & e.KIND == e.TABLE:
            vpn = yield from _pageout_page(k, t, mm, vpn, stop)
        vpn = stop


def _pageout_page(k: Kernel, t: Task, mm: Mm, vpn: int, stop: int) -> Steps[int]:
    """MADV_PAGEOUT of a page, or of a large folio that page tables map; where to go on."""
    word, f = k.tables.read(mm, vpn), k.frames
    if word & e.KIND not in PRESENT:
        return vpn + 1
    head = _large(k, word)
    if not head:
        pfn = word >> e.SHIFT
        if f.folio_mapcount(f.head(pfn)) == 1:
            yield from pageout(k, t, pfn)
        return vpn + 1
    run = _run(k, mm, vpn, stop, head)
    if run < f.pages(head):
        return vpn if (yield from _split_away(k, t, head)) else vpn + run
    if f.folio_mapcount(head) == HUGE:
        yield from pageout(k, t, head)
    return vpn + run

"""MADV_COLLAPSE: 512 base pages become one PMD-size page.

Every page must be an ordinary one that nobody but its mapping refers to: locked, off the LRU, with exactly the expected
references; one that is pinned or on a device stops it, and all is put back.

Source: `mm/khugepaged.c` (hpage_collapse_scan_pmd, collapse_huge_page, __collapse_huge_page_isolate).
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.counts import account, add_anon, anon_prepare, remove
from hmmspec.ref.fault import handle_fault
from hmmspec.ref.frames import ANON, DEVICE, HUGE, HUGE_ORDER, HUGETLB, LRU, PAGE, SWAPBACKED, SWAPCACHE, UPTODATE
from hmmspec.ref.lru import drain_all, isolate, lru_add, putback
from hmmspec.ref.spaces import UFFD_MISSING, UFFD_WP, WRITE, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.swapping import try_free_cache
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.tlb import flush_range


def collapse(k: Kernel, t: Task, mm: Mm, pmd: int) -> Steps[str]:
    """Put one huge page in place of the pages of a PMD; mmap_lock is held for writing.  '' or the errno."""
    first = pmd << 9
    vma = mm.find(first)
    if vma is None or vma.end < first + HUGE or not vma.anonymous:
        return "EINVAL"
    word = mm.pmd.get(pmd, 0)
    if word & e.KIND != e.TABLE:
        return "" if word & e.KIND in (e.PRES, e.PROTNONE, e.ZERO) else "EINVAL"  # it is huge already
    yield from drain_all(k, t)
    if refused := _refused(k, vma, first):
        return refused
    yield from _swap_in(k, t, vma, first)
    yield from drain_all(k, t)
    new = k.alloc("alloc", HUGE_ORDER)
    if new is None:
        return "ENOMEM"
    if not k.charge(new, mm):
        k.put(new, "alloc")
        return "ENOMEM"
    event = notifier.Event(notifier.CLEAR, first, first + HUGE)
    yield from notifier.start(k, t, mm, event)
    taken = yield from _take(k, t, vma, first)
    if taken is None:
        k.put(new, "alloc")
    else:
        yield "collapse copy"
        _put_together(k, t, vma, first, new, taken)
    yield from notifier.end(k, t, mm, event)
    return "EAGAIN" if taken is None else ""


def _refused(k: Kernel, vma: Vma, first: int) -> str:
    """Why pages are not put together, as a first look finds it (hpage_collapse_scan_pmd); '' if nothing speaks
    against it.  Of userfaultfd's pages holes are told of, and protection is for each page."""
    f, writable = k.frames, False
    for vpn in range(first, first + HUGE):
        word = k.tables.read(vma.mm, vpn)
        kind, pfn = word & e.KIND, word >> e.SHIFT
        if kind in (e.NONE, e.ZERO) and vma.flags & (UFFD_MISSING | UFFD_WP):
            return "EBUSY"
        if (word & e.UFFD and kind != e.ZERO) or (kind == e.MARKER and pfn == e.UFFD_MARK):
            return "EINVAL"
        if kind not in (e.PRES, e.PROTNONE):
            continue  # a hole, or what comes back by a fault
        writable = writable or bool(word & e.WRITE)
        head = f.head(pfn)
        if f.flags[head] & DEVICE or not f.flags[head] & ANON:
            return "EINVAL"
        cached = f.pages(head) if f.flags[head] & SWAPCACHE else 0
        if not f.flags[head] & LRU or f.lock[head] or f.refcount[head] != f.folio_mapcount(head) + cached:
            return "EAGAIN"
    return "" if writable else "EINVAL"


def _swap_in(k: Kernel, t: Task, vma: Vma, first: int) -> Steps[None]:
    """What is in swap, or on a device, comes back."""
    for vpn in range(first, first + HUGE):
        if k.tables.read(vma.mm, vpn) & e.KIND in (e.SWAP, e.DEVPRIV, e.DEVEXCL, e.MIGR):
            yield from handle_fault(k, t, vma.mm, vpn, False)


def _take(k: Kernel, t: Task, vma: Vma, first: int) -> Steps[list[int] | None]:
    """Lock and isolate every page, and take the whole table out of use; the old entries, or None with all put back."""
    mm, f = vma.mm, k.frames
    row = k.tables.row(mm, first)
    if row is None:
        return None
    lock = k.tables.lock(row)
    yield from lock.acquire(t)
    old: list[int] = k.tables.v[row].tolist()
    held: list[int] = []
    good = True
    for word in old:
        kind, pfn = word & e.KIND, word >> e.SHIFT
        if kind in (e.NONE, e.ZERO):
            continue
        if kind != e.PRES or not _usable(k, pfn) or k.fails("trylock") or not k.folio_locks.trylock(t, pfn):
            good = False
            break
        if not isolate(k, pfn):
            k.folio_locks.unlock(t, pfn)
            good = False
            break
        held.append(pfn)
    # The whole PMD is flushed before the references are compared: nobody can reach the pages any more.
    if good:
        k.tables.v[row] = 0
        flush_range(k, mm, first, first + HUGE)
        good = all(f.refcount[pfn] == f.mapcount[pfn] + 1 + bool(f.flags[pfn] & SWAPCACHE) for pfn in held)
        if not good:
            k.tables.v[row] = old
        for pfn in held if good else ():
            remove(k, pfn)
            account(k, mm, pfn, -1)
            k.hand_over(pfn, "map", "collapse")
    lock.release(t)
    yield "pmd written"
    if good:
        return old
    for pfn in held:
        putback(k, t, pfn)
        k.folio_locks.unlock(t, pfn)
    return None


def _usable(k: Kernel, pfn: int) -> bool:
    f = k.frames
    flags = f.flags[pfn]
    if f.tail[pfn] or f.order[pfn] or flags & (DEVICE | HUGETLB) or not flags & ANON:
        return False
    return not f.pins[pfn]


def _put_together(k: Kernel, t: Task, vma: Vma, first: int, new: int, old: list[int]) -> None:
    """Copy, map the new page with one entry, give the old pages up, and the table with them."""
    mm, f = vma.mm, k.frames
    held = []
    for i, word in enumerate(old):
        if word & e.KIND == e.PRES:
            f.copy(word >> e.SHIFT, new + i)
            held.append(word >> e.SHIFT)
    k.line.charge(Kind.COPY_BY_CPU, size=HUGE * PAGE)
    f.flags[new] |= UPTODATE | SWAPBACKED
    row = k.tables.row(mm, first)
    assert row is not None
    k.tables.put(row)
    anon_prepare(k, vma)
    k.hand_over(new, "alloc", "map")
    add_anon(k, vma, first, new, True, huge=True)
    account(k, mm, new, HUGE)
    lru_add(k, t, new)
    bits = e.YOUNG | e.DIRTY | e.SOFT | (e.WRITE if vma.flags & WRITE else 0)
    mm.pmd[first >> 9] = e.entry(e.PRES, new, bits)
    for pfn in held:
        if not f.mapcount[pfn]:
            try_free_cache(k, pfn)
        k.folio_locks.unlock(t, pfn)
        k.put(pfn, "collapse")
        if f.mapcount[pfn]:
            putback(k, t, pfn)  # another process still maps it
        else:
            k.put(pfn, "isolate")

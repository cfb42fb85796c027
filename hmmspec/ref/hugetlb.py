"""hugetlb: mappings of 2 MiB pages out of a pool, each mapped by one PMD-size entry.

A first touch for reading maps the page of a private mapping read-only, though nobody else has it; a write, now or
later, makes the same page writable.  After a fork the page is copied by whoever writes first while another maps it.
The one who made the mapping must get a page to copy to: where the pool is empty it takes the page away from the
others, whose next touch is SIGBUS.

Source: `mm/hugetlb.c` (hugetlb_fault, hugetlb_no_page, hugetlb_wp, unmap_ref_private, copy_hugetlb_page_range).
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref import hugepool, notifier
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.counts import account, add_anon, add_file, anon_prepare, remove, take_over
from hmmspec.ref.frames import EXCLUSIVE, HUGE, HUGE_ORDER, HUGETLB, PAGE, SWAPBACKED, UPTODATE
from hmmspec.ref.rmap import places, reverse_map
from hmmspec.ref.spaces import SHARED, UFFD_WP, WRITE, Fault, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.tlb import flush_range

WRITTEN = e.WRITE | e.DIRTY | e.SOFT | e.YOUNG


def hugetlb_fault(k: Kernel, t: Task, fault: Fault, unshare: bool = False) -> Steps[str]:
    """A fault in a hugetlb mapping.  `unshare`: a page of its own for a pin, mapped for reading as before."""
    mm, vma = fault.mm, fault.vma
    first = fault.vpn & ~(HUGE - 1)
    word = mm.pmd.get(first >> 9, 0)
    kind = word & e.KIND
    if kind in (e.NONE, e.MARKER):
        return (yield from _missing(k, t, fault, first, word))
    if kind != e.PRES:
        return "sigbus"
    if fault.write and word & e.UFFD and vma.flags & UFFD_WP and not word & e.WRITE:
        yield from _store(k, t, fault, first, word, word & ~e.UFFD)
        word &= ~e.UFFD
    if (fault.write or unshare) and not word & e.WRITE:
        return (yield from _write(k, t, fault, first, word, unshare))
    yield from _store(k, t, fault, first, word, word | e.YOUNG | (e.DIRTY if fault.write else 0))
    return "ok"


def _store(k: Kernel, t: Task, fault: Fault, first: int, old: int, new: int) -> Steps[bool]:
    """Replace an entry of the same page, if it is still the one that was found."""
    mm = fault.mm
    yield from mm.pmd_lock.acquire(t)
    same = mm.pmd.get(first >> 9, 0) == old
    if same:
        mm.pmd[first >> 9] = new
        flush_range(k, mm, first, first + HUGE)
    mm.pmd_lock.release(t)
    yield "pmd written"
    return same


def take_page(k: Kernel, vma: Vma, first: int, copies: bool = False) -> tuple[int, bool] | None:
    """A page of zeros from the pool for this place, and whether it had been promised; None: there is none.

    copies: the one who was promised it has taken it already, and copies it now.
    """
    pool, at = k.huge_pages, vma.index(first)
    own = not copies and (bool(vma.flags & SHARED) or (vma.taken is not None and at not in vma.taken))
    if not pool.take(own):
        return None
    head = k.alloc("alloc", HUGE_ORDER)
    if head is None:
        pool.free += 1
        pool.promised += own
        return None
    k.frames.flags[head] |= UPTODATE | SWAPBACKED | HUGETLB
    if vma.taken is not None:
        vma.taken.add(at)
    if not k.charge(head, vma.mm):
        give_back(k, vma, first, head, own)
        return None
    return head, own


def give_back(k: Kernel, vma: Vma, first: int, head: int, own: bool) -> None:
    """A page that was not needed after all."""
    hugepool.not_used(k.huge_pages, vma, first, head, own)
    k.put(head, "alloc")


def _missing(k: Kernel, t: Task, fault: Fault, first: int, word: int) -> Steps[str]:
    """First touch; a place that userfaultfd protects stays protected."""
    mm, vma, f = fault.mm, fault.vma, k.frames
    if vma.flags & SHARED:
        return (yield from _missing_in_file(k, t, fault, first, word))
    if vma.bereft:
        return "sigbus"
    anon_prepare(k, vma)
    taken = take_page(k, vma, first)
    if taken is None:
        return "sigbus"
    head, own = taken
    yield from mm.pmd_lock.acquire(t)
    same = mm.pmd.get(first >> 9, 0) == word
    if same:
        k.hand_over(head, "alloc", "map")
        add_anon(k, vma, first, head, True, huge=True)
        account(k, mm, head, HUGE)
        bits = e.YOUNG | (e.UFFD if word else 0)
        if fault.write and not word:
            bits |= WRITTEN
            f.flags[head] |= EXCLUSIVE
        mm.pmd[first >> 9] = e.entry(e.PRES, head, bits)
    mm.pmd_lock.release(t)
    yield "pmd written"
    if not same:
        give_back(k, vma, first, head, own)
    return "ok"


def _missing_in_file(k: Kernel, t: Task, fault: Fault, first: int, word: int) -> Steps[str]:
    """Shared memory: who may write may do so at once."""
    mm, vma, f, file = fault.mm, fault.vma, k.frames, fault.vma.file
    assert file is not None
    index = vma.index(first)
    if index not in file.pages:
        taken = take_page(k, vma, first)
        if taken is None:
            return "sigbus"
        new = taken[0]
        k.hand_over(new, "alloc", "cache")
        file.pages[index] = new
        f.mapping[new], f.index[new] = -file.id, index
    yield from mm.pmd_lock.acquire(t)
    if mm.pmd.get(first >> 9, 0) == word:
        head = file.pages[index]
        k.get(head, "map")
        add_file(k, head, huge=True)
        account(k, mm, head, HUGE)
        bits = e.YOUNG | (e.UFFD if word else WRITTEN if vma.flags & WRITE else 0)
        mm.pmd[first >> 9] = e.entry(e.PRES, head, bits)
    mm.pmd_lock.release(t)
    yield "pmd written"
    return "ok"


def _write(k: Kernel, t: Task, fault: Fault, first: int, word: int, unshare: bool) -> Steps[str]:
    """A read-only entry: the page again if nobody else maps it, whoever holds it; else a copy (hugetlb_wp)."""
    mm, vma, f = fault.mm, fault.vma, k.frames
    if word & e.UFFD and not unshare:
        return "ok"
    if vma.flags & SHARED:
        yield from _store(k, t, fault, first, word, word | WRITTEN)
        return "ok"
    old = word >> e.SHIFT
    while True:
        yield from mm.pmd_lock.acquire(t)
        same = mm.pmd.get(first >> 9, 0) == word
        alone = same and f.folio_mapcount(old) == 1
        if alone:
            if not f.flags[old] & EXCLUSIVE:
                take_over(k, vma, old)
            if not unshare:
                mm.pmd[first >> 9] = word | WRITTEN
                flush_range(k, mm, first, first + HUGE)
        mm.pmd_lock.release(t)
        yield "pmd written"
        if alone or not same:
            return "ok"
        owner = vma.taken is not None
        taken = take_page(k, vma, first, copies=owner)
        if taken is not None:
            yield from _copy(k, t, fault, first, word, taken, unshare)
            return "ok"
        if not owner:
            return "sigbus"
        yield from _take_away(k, t, vma, old)


def _copy(
    k: Kernel, t: Task, fault: Fault, first: int, word: int, taken: tuple[int, bool], unshare: bool
) -> Steps[None]:
    mm, vma, f, old = fault.mm, fault.vma, k.frames, word >> e.SHIFT
    new, own = taken
    k.get(old, "copy")
    f.copy(old, new, HUGE)
    k.line.charge(Kind.COPY_BY_CPU, size=HUGE * PAGE)
    event = notifier.Event(notifier.CLEAR, first, first + HUGE)
    yield from notifier.start(k, t, mm, event)
    yield from mm.pmd_lock.acquire(t)
    same = mm.pmd.get(first >> 9, 0) == word
    if same:
        flush_range(k, mm, first, first + HUGE)
        remove(k, old, huge=True)
        k.hand_over(new, "alloc", "map")
        add_anon(k, vma, first, new, True, huge=True)
        bits = e.YOUNG | (0 if unshare else WRITTEN) | word & e.UFFD
        mm.pmd[first >> 9] = e.entry(e.PRES, new, bits)
    mm.pmd_lock.release(t)
    yield "pmd written"
    if same:
        k.put(old, "map")
    else:
        give_back(k, vma, first, new, own)
    k.put(old, "copy")
    yield from notifier.end(k, t, mm, event)


def _take_away(k: Kernel, t: Task, vma: Vma, head: int) -> Steps[None]:
    """The owner of a page must copy it, and there is no other: unmap it where nobody was promised one."""
    known = reverse_map(k, head)
    if known is None:
        return
    yield from known.lock.read(t)
    for other, low, _ in places(k, head):
        mm = other.mm
        if other is vma or other.flags & SHARED or other.taken is not None:
            continue
        event = notifier.Event(notifier.CLEAR, low, low + HUGE)
        yield from notifier.start(k, t, mm, event)
        yield from mm.pmd_lock.acquire(t)
        word = mm.pmd.get(low >> 9, 0)
        mapped = word & e.KIND in (e.PRES, e.PROTNONE) and word >> e.SHIFT == head
        if mapped:
            other.bereft = True
            del mm.pmd[low >> 9]
            flush_range(k, mm, low, low + HUGE)
            account(k, mm, head, -HUGE)
            remove(k, head, huge=True)
        mm.pmd_lock.release(t)
        yield "pmd written"
        if mapped:
            k.put(head, "map")
        yield from notifier.end(k, t, mm, event)
    known.lock.release(t)


def copy_pinned(k: Kernel, new: Vma, first: int, head: int) -> bool:
    """fork: a page that is pinned stays the parent's, and the child gets a copy; False: there is none in the pool.

    The parent's PMD lock is held; mmap_lock is held for writing on both sides.
    """
    taken = take_page(k, new, first)
    if taken is None:
        return False
    page = taken[0]
    k.frames.copy(head, page, HUGE)
    k.line.charge(Kind.COPY_BY_CPU, size=HUGE * PAGE)
    k.hand_over(page, "alloc", "map")
    add_anon(k, new, first, page, True, huge=True)
    account(k, new.mm, page, HUGE)
    new.mm.pmd[first >> 9] = e.entry(e.PRES, page, WRITTEN if new.flags & WRITE else e.YOUNG)
    return True

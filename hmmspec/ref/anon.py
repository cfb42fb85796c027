"""Faults on private anonymous memory: the first touch, copy on write, and coming back from swap.

Each works as the kernel does: what may sleep is done without the page-table lock, and under it the entry is looked at
again; if it is not what it was, somebody else was faster, and the access is simply tried again.

Source: `mm/memory.c` @009857a22860 (do_anonymous_page, do_wp_page, wp_page_copy, do_swap_page).
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.counts import account, add_anon, anon_prepare, remove, take_over
from hmmspec.ref.frames import (
    ANON,
    BATCHED,
    DEVICE,
    DIRTY,
    EXCLUSIVE,
    LRU,
    PAGE,
    SWAPBACKED,
    SWAPCACHE,
    UPTODATE,
    ZERO_PFN,
)
from hmmspec.ref.lru import drain_cpu, lru_add
from hmmspec.ref.spaces import SHARED, SOFTDIRTY, UFFD_MISSING, UFFD_WP, WRITE, Fault
from hmmspec.ref.state import Kernel
from hmmspec.ref.swapping import free_entry, put_mapping, swap_in, try_free_cache
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.tlb import flush_page


def present(fault: Fault, pfn: int, dirty: bool) -> int:
    """The entry of a page that the program just got: writable if the VMA is, dirty (and soft-dirty) if it writes."""
    writable = e.WRITE if fault.vma.flags & WRITE else 0
    return e.entry(e.PRES, pfn, e.YOUNG | (writable | e.DIRTY | e.SOFT if dirty else 0))


def anonymous_fault(k: Kernel, t: Task, fault: Fault) -> Steps[str]:
    """First touch: the zero page for a read, a new page of zeros for a write."""
    mm, vma, slot = fault.mm, fault.vma, _slot(fault)
    words, lock = k.tables.words, k.tables.lock(slot >> 9)
    armed = fault.word & e.UFFD if vma.flags & UFFD_WP else 0
    if vma.flags & UFFD_MISSING:
        return "sigbus"  # nobody is there to fill the page in (UFFD_FEATURE_SIGBUS)
    if not fault.write:
        yield from lock.acquire(t)
        if words[slot] == fault.word:
            words[slot] = e.entry(e.ZERO, ZERO_PFN, e.YOUNG | armed)
        lock.release(t)
        yield "pte written"
        return "ok"
    pfn = k.alloc("alloc")
    if pfn is None:
        return "oom"
    anon_prepare(k, vma)
    if not k.charge(pfn, mm):
        k.put(pfn, "alloc")
        return "oom"
    k.frames.flags[pfn] |= UPTODATE | SWAPBACKED
    yield from lock.acquire(t)
    if words[slot] == fault.word:
        k.hand_over(pfn, "alloc", "map")
        add_anon(k, vma, fault.vpn, pfn, True)
        account(k, mm, pfn, 1)
        lru_add(k, t, pfn)
        word = present(fault, pfn, True)
        words[slot] = word & ~e.WRITE | armed if armed else word
        lock.release(t)
        yield "pte written"
    else:
        lock.release(t)
        k.put(pfn, "alloc")
    return "ok"


def write_fault(k: Kernel, t: Task, fault: Fault, unshare: bool = False) -> Steps[str]:
    """A write to a present read-only entry, or to the zero page: use the page again, or copy it (do_wp_page).

    `unshare`: nobody writes, but the page is to be the program's own, since it is pinned next; it stays read-only.
    """
    vma, slot = fault.vma, _slot(fault)
    words, lock, f = k.tables.words, k.tables.lock(slot >> 9), k.frames
    yield from lock.acquire(t)
    word = words[slot]
    if word != fault.word:
        lock.release(t)
        return "ok"
    if word & e.UFFD and vma.flags & UFFD_WP and not unshare:
        # userfaultfd in its asynchronous mode: the write is noted by taking the protection away.
        words[slot] = word & ~e.UFFD
        lock.release(t)
        yield "pte written"
        return "ok"
    pfn = word >> e.SHIFT
    if word & e.KIND == e.ZERO:
        lock.release(t)
        return (yield from _copy(k, t, fault, None, unshare))
    head = pfn - f.tail[pfn]
    if vma.flags & SHARED:
        _reuse(k, fault, word)
        if not f.flags[head] & ANON and "file-write-stays-clean" not in k.defects:
            f.flags[head] |= DIRTY
        lock.release(t)
        yield "pte written"
        return "ok"
    if f.flags[head] & ANON and (
        f.flags[pfn] & EXCLUSIVE or _sole_user(k, t, head) or "cow-reuses-shared" in k.defects
    ):
        if not f.flags[pfn] & EXCLUSIVE:
            take_over(k, vma, pfn)
        if not unshare:
            _reuse(k, fault, word)
        lock.release(t)
        yield "pte written"
        return "ok"
    k.get(pfn, "fault")
    lock.release(t)
    answer = yield from _copy(k, t, fault, pfn, unshare)
    k.put(pfn, "fault")
    return answer


def _reuse(k: Kernel, fault: Fault, word: int) -> None:
    k.tables.words[_slot(fault)] = word | e.YOUNG | (e.WRITE | e.DIRTY | e.SOFT if fault.vma.flags & WRITE else 0)
    flush_page(k, fault.mm, fault.vpn)


def _sole_user(k: Kernel, t: Task, head: int) -> bool:
    """Whether the page, though it was shared once, has no other user now (wp_can_reuse_anon_folio)."""
    f = k.frames
    if f.order[head] or f.refcount[head] > 3:
        return False
    if not f.flags[head] & (LRU | DEVICE):
        drain_cpu(k, t.cpu)
    cached = bool(f.flags[head] & SWAPCACHE)
    if f.refcount[head] > 1 + cached or not k.folio_locks.trylock(t, head):
        return False
    sole = (not cached or try_free_cache(k, head)) and f.refcount[head] == 1
    k.folio_locks.unlock(t, head)
    return sole


def _copy(k: Kernel, t: Task, fault: Fault, old: int | None, unshare: bool) -> Steps[str]:
    """Give the program a copy of its own (wp_page_copy); `old` None: of the zero page.  The caller holds `old`."""
    mm, vma, slot = fault.mm, fault.vma, _slot(fault)
    words, lock, f = k.tables.words, k.tables.lock(slot >> 9), k.frames
    new = k.alloc("alloc")
    if new is None:
        return "oom"
    anon_prepare(k, vma)
    if not k.charge(new, mm):
        k.put(new, "alloc")
        return "oom"
    if old is not None and "cow-copies-nothing" not in k.defects:
        f.copy(old, new)
        k.line.charge(Kind.COPY_BY_CPU, size=PAGE)
    f.flags[new] |= UPTODATE | SWAPBACKED
    event = notifier.Event(notifier.CLEAR, fault.vpn, fault.vpn + 1)
    if "cow-no-notifier" not in k.defects:
        yield from notifier.start(k, t, mm, event)
    yield from lock.acquire(t)
    word = words[slot]
    if word == fault.word:
        if old is not None:
            account(k, mm, old, -1)
        k.hand_over(new, "alloc", "map")
        words[slot] = 0
        flush_page(k, mm, fault.vpn)
        add_anon(k, vma, fault.vpn, new, True)
        account(k, mm, new, 1)
        lru_add(k, t, new)
        made = e.entry(e.PRES, new, e.YOUNG | word & e.SOFT) if unshare else present(fault, new, True)
        words[slot] = made | word & e.UFFD
        if old is not None:
            remove(k, old)
        lock.release(t)
        yield "pte written"
        if old is not None:
            put_mapping(k, old)
    else:
        lock.release(t)
        k.put(new, "alloc")
    if "cow-no-notifier" not in k.defects:
        yield from notifier.end(k, t, mm, event)
    return "ok"


def swap_fault(k: Kernel, t: Task, fault: Fault) -> Steps[str]:
    """Bring a page in from swap and map it; it stays in the swap cache as long as the slot is of use (do_swap_page)."""
    mm, vma, slot = fault.mm, fault.vma, _slot(fault)
    words, lock, f, swap = k.tables.words, k.tables.lock(slot >> 9), k.frames, k.swap
    number = fault.word >> e.SHIFT
    head = yield from swap_in(k, t, number)
    if head is None:
        return "oom"
    if head < 0:
        return "ok"
    yield from k.folio_locks.lock(t, head)
    if not f.flags[head] & SWAPCACHE or f.private[head] != number:
        k.folio_locks.unlock(t, head)
        k.put(head, "fault")
        return "ok"
    if not f.memcg[head] and not k.charge(head, mm):
        _leave(k, t, head)
        return "oom"
    if not f.mapping[head]:
        anon_prepare(k, vma)
    yield from lock.acquire(t)
    if words[slot] != fault.word:
        lock.release(t)
        _leave(k, t, head)
        return "ok"
    exclusive = bool(fault.word & e.EXCL) or (swap.count[number] == 1 and f.refcount[head] == 2)
    bits = e.YOUNG | fault.word & (e.SOFT | e.UFFD)
    if exclusive and vma.flags & WRITE and not fault.word & e.UFFD and (fault.word & e.SOFT or vma.flags & SOFTDIRTY):
        bits |= e.WRITE | ((e.DIRTY | e.SOFT) if fault.write else 0)
    k.hand_over(head, "fault", "map")
    add_anon(k, vma, fault.vpn, head, exclusive)
    mm.rss_swap -= 1
    account(k, mm, head, 1)
    if not f.flags[head] & (LRU | BATCHED):
        lru_add(k, t, head)
    words[slot] = e.entry(e.PRES, head, bits)
    free_entry(k, number)
    if fault.write and exclusive:
        try_free_cache(k, head)
    lock.release(t)
    yield "pte written"
    k.folio_locks.unlock(t, head)
    return "ok"


def _leave(k: Kernel, t: Task, head: int) -> None:
    """Unlock a page from the swap cache that was not mapped; if no entry names its slot any more, it goes."""
    try_free_cache(k, head)
    k.folio_locks.unlock(t, head)
    k.put(head, "fault")


def _slot(fault: Fault) -> int:
    assert fault.slot is not None
    return fault.slot

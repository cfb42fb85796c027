"""Swap-out and the swap cache: reclaim of one folio, and when a slot may be forgotten.

A page in the swap cache may have newer bytes than its slot: then the folio is dirty, or an entry that maps it is.  A
clean one is dropped without being written, so a dirty bit that is lost here is data that is lost (fd35ca3d12cc).

Sources: `mm/vmscan.c` (shrink_folio_list), `mm/swap_state.c`, `mm/swapfile.c` (folio_free_swap), `mm/memory.c`
(do_swap_page).
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.counts import may_be_pinned
from hmmspec.ref.frames import ANON, DEVICE, DIRTY, HUGE, HUGETLB, LRU, PAGE, SWAPBACKED, SWAPCACHE, UPTODATE
from hmmspec.ref.lru import drain_cpu, isolate, putback
from hmmspec.ref.rmap import places, try_to_unmap
from hmmspec.ref.spaces import File
from hmmspec.ref.split import split_entries, split_mapped
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.thp import split_folio


def add_to_cache(k: Kernel, head: int, slot: int) -> None:
    """The folio stands for the slot from now on; the cache takes a reference."""
    f = k.frames
    f.flags[head] |= SWAPCACHE
    f.private[head] = slot
    k.swap.cache[slot] = head
    k.get(head, "swapcache")


def drop_from_cache(k: Kernel, head: int) -> None:
    """The folio does not stand for its slot any more; the slot is free if no entry names it."""
    f = k.frames
    slot = f.private[head]
    f.flags[head] &= ~SWAPCACHE
    f.private[head] = 0
    del k.swap.cache[slot]
    if not k.swap.count[slot]:
        k.swap.free.append(slot)
    k.put(head, "swapcache")


def try_free_cache(k: Kernel, head: int) -> bool:
    """folio_free_swap: leave the swap cache if no entry names the slot; the page is dirty then: nothing else has its
    bytes.  True: it is in no swap cache now.  The folio is locked."""
    f = k.frames
    if not f.flags[head] & SWAPCACHE:
        return True
    if k.swap.count[f.private[head]]:
        return False
    f.flags[head] |= DIRTY
    drop_from_cache(k, head)
    return True


def free_entry(k: Kernel, slot: int) -> None:
    """One swap entry less names the slot (free_swap_and_cache): the last one takes the cached page with it, if nobody
    has it locked or mapped."""
    swap, f = k.swap, k.frames
    swap.count[slot] -= 1
    if swap.count[slot]:
        return
    head = swap.cache.get(slot)
    if head is None:
        swap.free.append(slot)
    elif not f.lock[head] and not f.folio_mapcount(head):
        drop_from_cache(k, head)


def put_mapping(k: Kernel, pfn: int) -> None:
    """Give up a mapping's reference; a page that only the swap cache wants leaves it, unless somebody has it locked
    (free_page_and_swap_cache)."""
    f = k.frames
    head = pfn - f.tail[pfn]
    if f.flags[head] & SWAPCACHE and not f.lock[head] and not f.folio_mapcount(head):
        try_free_cache(k, head)
    k.put(pfn, "map")


def drop_orphans(k: Kernel) -> int:
    """Drop pages of the swap cache that nobody maps and whose slots nobody names; how many went."""
    f, gone = k.frames, 0
    for head in list(k.swap.cache.values()):
        if not f.lock[head] and not f.folio_mapcount(head) and not k.swap.count[f.private[head]]:
            gone += try_free_cache(k, head)
    return gone


def read_slot(k: Kernel, slot: int, pfn: int) -> None:
    """Copy a slot's bytes into a frame."""
    if k.frames.data is not None and k.swap.data is not None:
        k.frames.data[pfn] = k.swap.data[slot]
    k.line.charge(Kind.SWAP_IN, count=1, size=PAGE)


def write_slot(k: Kernel, pfn: int, slot: int) -> None:
    if k.frames.data is not None and k.swap.data is not None:
        k.swap.data[slot] = k.frames.data[pfn]
    k.line.charge(Kind.SWAP_OUT, count=1, size=PAGE)


def pageout(k: Kernel, t: Task, head: int) -> Steps[bool]:
    """Reclaim one folio: isolate, lock (only tried), swap it out or drop it, free it.  False: it stays.

    The caller holds no reference, and need not: a folio that goes away meanwhile is one that stays.  A large folio is
    reclaimed by its parts, but dropped whole.
    """
    f = k.frames
    if f.flags[head] & (DEVICE | HUGETLB) or not f.refcount[head]:
        return False
    if not f.flags[head] & LRU:
        drain_cpu(k, t.cpu)
    if not isolate(k, head):
        return False
    yield "reclaim"
    if k.fails("trylock") or not k.folio_locks.trylock(t, head):
        putback(k, t, head)
        return False
    if f.pages(head) > 1 and f.flags[head] & SWAPBACKED:
        return (yield from _reclaim_parts(k, t, head))
    freed = yield from _reclaim(k, t, head)
    if freed:
        # Nobody but the isolation refers to it: it is not put back, and its bytes are elsewhere or not wanted.
        k.folio_locks.unlock(t, head)
        k.put(head, "isolate")
    else:
        k.folio_locks.unlock(t, head)
        putback(k, t, head)
    return freed


def _reclaim_parts(k: Kernel, t: Task, head: int) -> Steps[bool]:
    """A locked, isolated folio of 512 that has to go to swap: part it, and reclaim each part.

    Where it is swapped out as a whole, which wants all of it mapped, and room for it, its pages of zeros are written,
    too; else it is split like any other, which finds them.  Somebody else's reference keeps all of it.
    """
    f = k.frames
    gone = bool((f.v.mapcount[head : head + HUGE] == 0).any()) and not f.entire[head]
    if f.refcount[head] != f.folio_mapcount(head) + 1:
        parted = False
    elif gone or len(k.swap.free) < HUGE:
        parted = yield from split_mapped(k, t, head, "isolate")
    else:
        parted = yield from split_entries(k, t, head, (e.PRES, e.PROTNONE))
        parted = parted and split_folio(k, t, head, "isolate")
    k.folio_locks.unlock(t, head)
    if not parted:
        putback(k, t, head)
        return False
    f.v.flags[head : head + HUGE][f.v.refcount[head : head + HUGE] > 0] |= LRU
    k.put(head, "isolate")
    freed = False
    for pfn in range(head, head + HUGE):
        if f.refcount[pfn] and f.mapcount[pfn]:
            freed = (yield from pageout(k, t, pfn)) or freed
    return freed


def _reclaim(k: Kernel, t: Task, head: int) -> Steps[bool]:
    """The locked, isolated folio: unmap it, write it if it is dirty, take it out of its cache.  True: it can be
    freed.
    """
    f, swap = k.frames, k.swap
    anon = bool(f.flags[head] & ANON)
    if anon and f.flags[head] & SWAPBACKED and not f.flags[head] & SWAPCACHE:
        if not any(vma for vma, _, _ in places(k, head)) or not f.folio_mapcount(head):
            return False
        if may_be_pinned(k, head):
            return False  # it would come back at once; nobody hears of it
        slot = None if k.fails("swap") else swap.take()
        if slot is None:
            return False
        add_to_cache(k, head, slot)
        f.flags[head] |= DIRTY  # nothing is in the slot yet
        yield "swap cache"
    unmapped = yield from try_to_unmap(k, t, head)
    if not unmapped or f.folio_mapcount(head):
        return False
    if f.flags[head] & SWAPCACHE:
        slot = f.private[head]
        if f.flags[head] & DIRTY:
            f.flags[head] &= ~DIRTY
            yield "swap write"
            write_slot(k, head, slot)
        yield "swap written"
        if f.refcount[head] != 2 or f.flags[head] & DIRTY or f.folio_mapcount(head):
            return False  # somebody found it in the cache meanwhile
        drop_from_cache(k, head)
        return True
    if anon:  # given to MADV_FREE and not written since
        return f.refcount[head] == 1
    return _drop_file_page(k, head)


def _drop_file_page(k: Kernel, head: int) -> bool:
    f = k.frames
    file = k.files.get(-f.mapping[head])
    if file is None or f.refcount[head] != 2 or file.disk is None:
        return False  # somebody uses it; or it is shared memory without a disk, which stays
    write_back(k, file, head)
    del file.pages[f.index[head]]
    f.mapping[head] = 0
    k.put(head, "cache")
    return True


def write_back(k: Kernel, file: File, head: int) -> None:
    """Copy a dirty page of a file to its disk; it is clean then."""
    f = k.frames
    if f.flags[head] & DIRTY and file.disk is not None:
        if f.data is not None:
            file.disk[f.index[head]] = f.data[head]
        f.flags[head] &= ~DIRTY


def swap_in(k: Kernel, t: Task, slot: int) -> Steps[int | None]:
    """The folio of a slot, from the cache or read from it, with a reference `fault`; None: no memory.

    Who finds a page in the cache that is being read waits for its lock.
    """
    f, swap = k.frames, k.swap
    head = swap.cache.get(slot)
    if head is None:
        fresh = k.alloc("fault", zero=False)
        if fresh is None:
            return None
        yield "swap read"
        head = swap.cache.get(slot)
        if head is not None or not swap.count[slot]:
            k.put(fresh, "fault")  # somebody was faster
            if head is None:
                return -1
        else:
            k.folio_locks.take(t, fresh)
            add_to_cache(k, fresh, slot)
            f.flags[fresh] |= SWAPBACKED
            yield "swap cache"
            read_slot(k, slot, fresh)
            f.flags[fresh] |= UPTODATE
            k.folio_locks.unlock(t, fresh)
            return fresh
    k.get(head, "fault")
    return head

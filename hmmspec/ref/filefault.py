"""Faults on files and shared anonymous memory: the page cache, and private copies of its pages.

Shared anonymous memory is a file without a disk (shmem): its pages stay in the page cache until the last mapping is
gone.  A page of a file with a disk is mapped read-only at first, so that the first write is seen and makes it dirty.

Source: `mm/memory.c` @009857a22860 (do_read_fault, do_cow_fault, do_shared_fault), `mm/filemap.c`, `mm/shmem.c`.
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref.anon import present
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.counts import account, add_anon, add_file, anon_prepare
from hmmspec.ref.frames import DIRTY, PAGE, SWAPBACKED, UPTODATE
from hmmspec.ref.lru import lru_add
from hmmspec.ref.spaces import SHARED, SOFTDIRTY, UFFD_WP, WRITE, Fault, File, Mm
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task


def cached_page(k: Kernel, t: Task, file: File, index: int, mm: Mm | None) -> Steps[int | None]:
    """The page of a file, read in if it is not cached, with a reference `fault`; None: no memory.

    Its charge goes to who touches it first (`mm` None: to the root)."""
    f = k.frames
    while True:
        head = file.pages.get(index)
        if head is not None:
            k.get(head, "fault")
            if not f.flags[head] & UPTODATE:
                yield from k.folio_locks.lock(t, head)
                k.folio_locks.unlock(t, head)
            return head
        fresh = k.alloc("fault")
        if fresh is None:
            return None
        yield "page cache"
        if index in file.pages:
            k.put(fresh, "fault")
            continue
        if mm is not None:
            if not k.charge(fresh, mm):
                k.put(fresh, "fault")
                return None
        else:
            k.root_memcg.charged += 1
            f.memcg[fresh] = k.root_memcg.id
        k.get(fresh, "cache")
        file.pages[index] = fresh
        f.mapping[fresh] = -file.id
        f.index[fresh] = index
        if file.disk is None:
            f.flags[fresh] |= SWAPBACKED
        k.folio_locks.take(t, fresh)
        yield "page read"
        if file.disk is not None and f.data is not None:
            f.data[fresh] = file.disk[index]
        f.flags[fresh] |= UPTODATE
        k.folio_locks.unlock(t, fresh)
        lru_add(k, t, fresh)
        return fresh


def file_fault(k: Kernel, t: Task, fault: Fault) -> Steps[str]:
    """First touch of a page of a file mapping: map the cached page, or a private copy of it."""
    mm, vma, slot = fault.mm, fault.vma, fault.slot
    file, f = vma.file, k.frames
    assert file is not None and slot is not None
    index = vma.index(fault.vpn)
    if index >= file.size:
        return "sigbus"
    copy = fault.write and not vma.flags & SHARED
    new: int | None = None
    if copy:
        anon_prepare(k, vma)
        new = k.alloc("alloc", zero=False)
        if new is None:
            return "oom"
        if not k.charge(new, mm):
            k.put(new, "alloc")
            return "oom"
    head = yield from cached_page(k, t, file, index, mm)
    if head is None:
        if new is not None:
            k.put(new, "alloc")
        return "oom"
    if new is not None:
        f.copy(head, new)
        k.line.charge(Kind.COPY_BY_CPU, size=PAGE)
        f.flags[new] |= UPTODATE | SWAPBACKED
    yield from k.folio_locks.lock(t, head)
    if file.pages.get(index) != head:
        k.folio_locks.unlock(t, head)
        k.put(head, "fault")
        if new is not None:
            k.put(new, "alloc")
        return "ok"
    words, lock = k.tables.words, k.tables.lock(slot >> 9)
    yield from lock.acquire(t)
    if words[slot] != fault.word:
        lock.release(t)
        if new is not None:
            k.put(new, "alloc")
        k.put(head, "fault")
    elif new is not None:
        k.hand_over(new, "alloc", "map")
        add_anon(k, vma, fault.vpn, new, True)
        account(k, mm, new, 1)
        lru_add(k, t, new)
        words[slot] = present(fault, new, True)
        lock.release(t)
        k.put(head, "fault")
    else:
        k.hand_over(head, "fault", "map")
        add_file(k, head)
        account(k, mm, head, 1)
        words[slot] = _mapped(k, fault, file, head)
        lock.release(t)
    yield "pte written"
    k.folio_locks.unlock(t, head)
    return "ok"


def _mapped(k: Kernel, fault: Fault, file: File, head: int) -> int:
    """The entry of a page-cache page.  Only shared mappings write to it; where a disk has to follow, not before a
    write (files in memory have none: `files_in_memory`).
    """
    armed = fault.word & e.UFFD if fault.vma.flags & UFFD_WP else 0
    if fault.write:
        if "file-write-stays-clean" not in k.defects:
            k.frames.flags[head] |= DIRTY
        return present(fault, head, True) & (~e.WRITE if armed else -1) | armed
    flags = fault.vma.flags
    # Soft-dirty tracking has to see the first write, too; a new mapping counts as written anyway.
    memory = file.disk is None or "files_in_memory" in k.profile
    free = flags & SHARED and flags & WRITE and flags & SOFTDIRTY and memory and not flags & UFFD_WP
    return e.entry(e.PRES, head, e.YOUNG | armed | (e.WRITE if free else 0))

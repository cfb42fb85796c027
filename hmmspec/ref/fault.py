"""The CPU's page fault: which entry was found, and who deals with it (handle_mm_fault).

The caller holds mmap_lock for reading.  The answer is `ok` (try the access again), `oom`, `sigbus`, `sigsegv` or
`hwpoison`. Answering `ok` without progress is allowed: the access faults again.

Source: `mm/memory.c` @009857a22860 (handle_pte_fault, do_numa_page), `mm/migrate.c` (migration_entry_wait).
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref.anon import anonymous_fault, swap_fault, write_fault
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.filefault import file_fault
from hmmspec.ref.frames import EXCLUSIVE, HUGE
from hmmspec.ref.hugefault import anonymous_huge_fault, huge_write_fault, suitable
from hmmspec.ref.hugetlb import hugetlb_fault
from hmmspec.ref.spaces import HUGETLB, READ, SHARED, SPECIAL, WRITE, Fault, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.tlb import flush_page, flush_range

__all__ = ["Fault", "handle_fault", "make_table", "migration_wait"]


def handle_fault(k: Kernel, t: Task, mm: Mm, vpn: int, write: bool) -> Steps[str]:
    """One fault on one page, for a CPU, a driver (hmm_range_fault) or GUP."""
    k.line.charge(Kind.CPU_FAULT)
    vma = mm.find(vpn)
    if mm.reaped:
        return "sigbus"  # its memory was taken away: no page may come back (check_stable_address_space)
    if vma is None or not vma.flags & (WRITE if write else READ | WRITE):
        return "sigsegv"
    if not write and not vma.flags & READ:
        return "sigsegv"
    fault = Fault(mm, vma, vpn, write)
    if vma.flags & HUGETLB:
        return (yield from hugetlb_fault(k, t, fault))
    word = mm.pmd.get(vpn >> 9, 0)
    if not word and suitable(vma, vpn):
        answer = yield from anonymous_huge_fault(k, t, fault)
        if answer != "fallback":
            return answer
        word = mm.pmd.get(vpn >> 9, 0)
    if word and word & e.KIND != e.TABLE:
        fault.word = word
        return (yield from _huge(k, t, fault))
    if not word and not (yield from make_table(k, t, mm, vpn >> 9)):
        return "oom"
    slot = k.tables.slot(mm, vpn)
    if slot is None:
        return "ok"  # a PMD-size entry came meanwhile
    fault.slot, fault.word = slot, k.tables.words[slot]
    yield "pte sampled"
    return (yield from _page(k, t, fault))


def make_table(k: Kernel, t: Task, mm: Mm, pmd: int) -> Steps[bool]:
    """See to it that there is a page table (or something PMD-size); False: none can be had."""
    if k.fails("table"):
        return False
    yield from mm.pmd_lock.acquire(t)
    good = True
    if not mm.pmd.get(pmd):
        row = k.tables.take(mm, pmd)
        good = row is not None
        if row is not None:
            mm.pmd[pmd] = e.entry(e.TABLE, row)
    mm.pmd_lock.release(t)
    return good


def _page(k: Kernel, t: Task, fault: Fault) -> Steps[str]:
    vma, word = fault.vma, fault.word
    match word & e.KIND:
        case e.NONE:
            return (yield from _missing(k, t, fault))
        case e.PRES | e.ZERO:
            if fault.write and not word & e.WRITE:
                return (yield from write_fault(k, t, fault))
            yield from _age(k, t, fault)
            return "ok"
        case e.SWAP:
            return (yield from swap_fault(k, t, fault))
        case e.MIGR:
            yield from migration_wait(k, t, fault)
            return "ok"
        case e.DEVPRIV:
            return (yield from k.hooks.private_fault(k, t, fault, word)) if k.hooks.private_fault else "sigbus"
        case e.DEVEXCL:
            return (yield from k.hooks.exclusive_fault(k, t, fault, word)) if k.hooks.exclusive_fault else "sigbus"
        case e.PROTNONE:
            yield from _numa(k, t, fault)
            return "ok"
        case e.MARKER:
            if word >> e.SHIFT == e.UFFD_MARK:
                return (yield from _missing(k, t, fault))
            return "sigsegv" if word >> e.SHIFT == e.GUARD_MARK else "hwpoison"
        case e.HWPOISON:
            return "hwpoison"
        case _:
            k.report("warning", f"a fault meets {e.show(word)} in {vma}")
            return "sigbus"


def _missing(k: Kernel, t: Task, fault: Fault) -> Steps[str]:
    vma = fault.vma
    if vma.file is not None:
        return (yield from file_fault(k, t, fault))
    if vma.flags & SPECIAL:
        return "sigbus"  # a driver's mapping without a fault handler
    return (yield from anonymous_fault(k, t, fault))


def _age(k: Kernel, t: Task, fault: Fault) -> Steps[None]:
    """Nothing to do but to note the access: the entry allows it (somebody else was faster, or the TLB was old)."""
    slot = fault.slot
    assert slot is not None
    lock = k.tables.lock(slot >> 9)
    yield from lock.acquire(t)
    if k.tables.words[slot] == fault.word:
        k.tables.words[slot] = fault.word | e.YOUNG | (e.DIRTY if fault.write else 0)
        flush_page(k, fault.mm, fault.vpn)
    lock.release(t)
    yield "pte written"


def _numa(k: Kernel, t: Task, fault: Fault) -> Steps[None]:
    """An entry that nobody may use, in a VMA that allows access (NUMA hint, or mprotect went back): a mapping again."""
    slot = fault.slot
    assert slot is not None
    lock = k.tables.lock(slot >> 9)
    yield from lock.acquire(t)
    word = k.tables.words[slot]
    if word == fault.word:
        pfn = word >> e.SHIFT
        own = k.frames.flags[pfn] & EXCLUSIVE and not fault.vma.flags & SHARED
        writable = e.WRITE if own and fault.vma.flags & WRITE and word & e.DIRTY and word & e.SOFT else 0
        k.tables.words[slot] = (word & ~(e.KIND | e.WRITE)) | e.PRES | writable
    lock.release(t)
    yield "pte written"


def migration_wait(k: Kernel, t: Task, fault: Fault) -> Steps[None]:
    """Sleep until the page of a migration entry is unlocked: the migrator is done with it, one way or the other.

    The waiter is queued under the lock of the entry, and needs no reference: as long as the entry is there, the page is
    locked and its migrator holds one (ffa65753c431).  Where kernels took one, it got into the way of the migration.
    """
    lock = fault.mm.pmd_lock if fault.slot is None else k.tables.lock(fault.slot >> 9)
    yield from lock.acquire(t)
    now = fault.mm.pmd.get(fault.vpn >> 9, 0) if fault.slot is None else k.tables.words[fault.slot]
    head = (now >> e.SHIFT) - k.frames.tail[now >> e.SHIFT] if now & e.KIND == e.MIGR else 0
    waits = now == fault.word and bool(k.frames.lock[head])
    referenced = waits and (
        "migration_wait_without_reference" not in k.profile or "fault-wait-takes-reference" in k.defects
    )
    if referenced:
        k.get(head, "wait")
    lock.release(t)
    if waits:
        yield k.folio_locks.queue(head)
    else:
        yield "migration entry gone"
    if referenced:
        k.put(head, "wait")


def _huge(k: Kernel, t: Task, fault: Fault) -> Steps[str]:
    """A fault on a PMD-size entry."""
    mm, word = fault.mm, fault.word
    first = fault.vpn & ~(HUGE - 1)
    match word & e.KIND:
        case e.PRES | e.ZERO:
            if fault.write and not word & e.WRITE:
                return (yield from huge_write_fault(k, t, fault))
            yield from mm.pmd_lock.acquire(t)
            if mm.pmd.get(first >> 9) == word:
                mm.pmd[first >> 9] = word | e.YOUNG | (e.DIRTY if fault.write else 0)
                flush_range(k, mm, first, first + HUGE)
            mm.pmd_lock.release(t)
            return "ok"
        case e.PROTNONE:
            yield from mm.pmd_lock.acquire(t)
            if mm.pmd.get(first >> 9) == word:
                mm.pmd[first >> 9] = (word & ~(e.KIND | e.WRITE)) | e.PRES
            mm.pmd_lock.release(t)
            return "ok"
        case e.MIGR:
            yield from migration_wait(k, t, fault)
            return "ok"
        case e.DEVPRIV:
            return (yield from k.hooks.private_fault(k, t, fault, word)) if k.hooks.private_fault else "sigbus"
        case _:
            k.report("warning", f"a fault meets the PMD entry {e.show(word)} in {fault.vma}")
            return "sigbus"


def check_access(vma: Vma | None, write: bool) -> bool:
    """Whether a VMA allows the access at all."""
    return vma is not None and bool(vma.flags & (WRITE if write else READ))

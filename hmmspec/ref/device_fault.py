"""A CPU touches private device memory: the fault that has the driver bring the page back.

The versions of this fault differ in what they hold while the driver works, and each was a bug of the one before:

- v0 holds nothing: the page, its memory, even the driver can be gone (16ce101db85d);
- v1 (`fault_takes_reference`) looks at the entry again under its lock and takes a reference: several faults at once now
  keep each other's migration from succeeding (1afaeb8293c9);
- v2 (`fault_trylocks`) also locks the page, or gives up: who spins may keep its holder from running (b570f37a2ce4);
- v3 (`fault_sleeps`) sleeps until the page is unlocked.

Source: `mm/memory.c` @009857a22860 (do_swap_page), `mm/huge_memory.c` (do_huge_pmd_device_private).
"""

from __future__ import annotations

from hmmspec.ref.entries import DEVPRIV, KIND, NONE, SHIFT
from hmmspec.ref.spaces import Fault
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task


def private_fault(k: Kernel, t: Task, fault: Fault, word: int) -> Steps[str]:
    """mmap_lock is held for reading, no page-table lock.  Returns 'ok' (try the access again), 'oom' or 'sigbus'."""
    pfn = word >> SHIFT
    if not holds_page(k):
        yield "device fault"
        return (yield from _call(k, t, fault, pfn))
    lock = fault.mm.pmd_lock if fault.slot is None else k.tables.lock(fault.slot >> 9)
    yield from lock.acquire(t)
    if entry_now(k, fault) != word:
        lock.release(t)
        return "ok"
    head = k.frames.head(pfn)
    locks = locks_page(k)
    if locks and (k.fails("trylock") or not k.folio_locks.trylock(t, head)):
        # The entry is there, so the page is: it needs no reference to wait for its lock.
        busy = bool(k.frames.lock[head])
        lock.release(t)
        if busy and "fault_sleeps" in k.profile:
            yield k.folio_locks.queue(head)
        else:
            yield "device page busy"
        return "ok"
    k.get(head, "fault")
    lock.release(t)
    answer = yield from _call(k, t, fault, pfn)
    if locks and "fault-leaves-lock" not in k.defects:
        k.folio_locks.unlock(t, k.frames.head(pfn))
    if "fault-leaks-reference" not in k.defects:
        k.put(pfn, "fault")
    return answer


def holds_page(k: Kernel) -> bool:
    """Whether the fault holds a reference of the page while the driver works."""
    return "fault_takes_reference" in k.profile and "fault-takes-no-reference" not in k.defects


def locks_page(k: Kernel) -> bool:
    """Whether the fault hands the page to the driver locked."""
    return holds_page(k) and "fault_trylocks" in k.profile and "fault-takes-no-lock" not in k.defects


def entry_now(k: Kernel, fault: Fault) -> int:
    """The entry that the fault was for, as it is now."""
    if fault.slot is None:
        return fault.mm.pmd.get(fault.vpn >> 9, NONE)
    return k.tables.words[fault.slot] if k.tables.slot(fault.mm, fault.vpn) == fault.slot else NONE


def _call(k: Kernel, t: Task, fault: Fault, pfn: int) -> Steps[str]:
    """The driver's callback; what it relies on is looked at here."""
    f = k.frames
    pgmap = k.pgmaps.get(f.owner[pfn])
    if pgmap is None or not f.refcount[f.head(pfn)]:
        k.report("uaf", f"a CPU fault hands frame {pfn} to its driver, but it was freed (16ce101db85d)")
        return "ok" if entry_now(k, fault) & KIND != DEVPRIV else "sigbus"
    return (yield from pgmap.migrate_to_ram(k, t, fault))

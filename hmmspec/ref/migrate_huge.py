"""migrate_vma and pages of PMD size: taken whole where the caller asks for that, split where it does not.

Sources: `mm/migrate_device.c` @08ea4eaefa56 (`migrate_vma_collect_huge_pmd`, `migrate_vma_insert_huge_pmd_page`,
`migrate_vma_split_folio`, `migrate_vma_split_unmapped_folio`); 63451de16e0a and 2c6f81d58741 (aborts leak nothing).
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from hmmspec.ref import counts, lru, thp, tlb
from hmmspec.ref import selection as sel
from hmmspec.ref.entries import (
    DEVPRIV,
    KIND,
    MIGR,
    NONE,
    PRES,
    PROTNONE,
    SHIFT,
    SOFT,
    TABLE,
    YOUNG,
    ZERO,
    entry,
    to_migration,
)
from hmmspec.ref.entries import DIRTY as ENTRY_DIRTY
from hmmspec.ref.entries import WRITE as ENTRY_WRITE
from hmmspec.ref.frames import DEVICE, DIRTY, EXCLUSIVE, HUGE, PRIVATE_DEVICE, RESERVED
from hmmspec.ref.migrate_args import MigrateArgs, is_fault_page, lock_page, unlock_page
from hmmspec.ref.spaces import UFFD_MISSING, WRITE
from hmmspec.ref.split import split_entries, split_mapped
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task


def collect_huge(k: Kernel, t: Task, args: MigrateArgs, vpn: int, stop: int) -> Steps[int]:
    """A PMD-size entry: take it whole, or split it.  Returns where the walk goes on (`vpn`: look at it again)."""
    mm, vma, f = args.mm, args.vma, k.frames
    assert mm is not None
    assert vma is not None
    pmd, i = vpn // HUGE, vpn - args.start
    yield from mm.pmd_lock.acquire(t)
    e = mm.pmd.get(pmd, NONE)
    kind = e & KIND
    if kind in (NONE, TABLE):
        mm.pmd_lock.release(t)
        return vpn
    if kind == PRES and "splits_pte_mapped" not in k.profile:
        # Such kernels split whatever is mapped as a whole, also where nothing of it is asked for.
        mm.pmd_lock.release(t)
        return vpn if (yield from split_for(k, t, args, e >> SHIFT)) else stop
    whole = bool(args.select & sel.SELECT_COMPOUND) and stop - vpn == HUGE
    head = e >> SHIFT if kind in (PRES, PROTNONE, DEVPRIV) else 0
    normal = int(head > 0 and f.mapping[head] != 0 and not f.flags[head] & RESERVED)
    chosen = sel.chooses(
        e,
        args.select,
        args.owner,
        int(vma.anonymous),
        f.flags[head],
        f.owner[head],
        normal,
        int("wrong-owner-filter" in k.defects),
    )
    if chosen == sel.SKIP:
        mm.pmd_lock.release(t)
        return stop
    if not whole:
        mm.pmd_lock.release(t)
        return vpn if (yield from thp.split_told(k, t, mm, pmd)) else stop
    if chosen == sel.HOLE:
        args.src[i] = sel.MIGRATE | sel.COMPOUND
        args.cpages += 1
        mm.pmd_lock.release(t)
        return stop
    k.get(head, "collect")
    if not lock_page(k, t, args, head):
        k.put(head, "collect")
        mm.pmd_lock.release(t)
        return stop
    present = int(kind != DEVPRIV)
    exclusive = counts.is_exclusive(k, head)
    mm.pmd[pmd] = NONE
    if present:
        tlb.flush_range(k, mm, vpn, stop)
    if exclusive and not counts.try_share(k, head):
        mm.pmd[pmd] = e
        unlock_page(k, t, args, head)
        k.put(head, "collect")
        mm.pmd_lock.release(t)
        return stop
    if present and e & ENTRY_DIRTY:
        f.flags[head] |= DIRTY
    mm.pmd[pmd] = to_migration(e, int(exclusive), present)
    counts.remove(k, head, huge=True)
    k.put(head, "map")
    args.src[i] = sel.word(head, sel.MIGRATE | sel.COMPOUND | (sel.WRITE if e & ENTRY_WRITE else 0))
    args.cpages += 1
    yield "migration entry"
    mm.pmd_lock.release(t)
    return stop


def split_for(k: Kernel, t: Task, args: MigrateArgs, pfn: int) -> Steps[bool]:
    """A large folio that page tables map piece by piece is in the way: part it.  No page-table lock is held.

    Where it is the folio of the CPU fault, the fault's reference and lock go over to the page that it wants.
    """
    f = k.frames
    head = f.head(pfn)
    fault = is_fault_page(k, args, head)
    locked = fault and args.fault_locked
    holder = "fault" if fault else "collect"
    if not fault:
        if not k.try_get(head, holder):
            return True
        if f.head(pfn) != head or f.pages(head) == 1:
            k.put(head, holder)
            return True
    if not locked and (k.fails("trylock") or not k.folio_locks.trylock(t, head)):
        if not fault:
            k.put(head, holder)
        return False
    lru.drain_cpu(k, t.cpu)
    if f.flags[head] & DEVICE:
        done = yield from split_entries(k, t, head, (PRES, PROTNONE, DEVPRIV))
        done = done and thp.split_folio(k, t, head, holder)
    else:
        done = yield from split_mapped(k, t, head, holder)
    if done and fault and args.fault_pfn != head:
        k.get(args.fault_pfn, "fault")
        if locked:
            k.folio_locks.take(t, args.fault_pfn)
        k.folio_locks.unlock(t, head)
        k.put(head, "fault")
        return True
    if not locked:
        k.folio_locks.unlock(t, head)
    if not fault:
        k.put(head, holder)
    return done


def has_small(args: MigrateArgs, i: int) -> bool:
    """Whether the driver has single pages for the PMD-size entry i."""
    part = args.dst[i : i + HUGE]
    return not int(part[0]) & sel.COMPOUND and bool((part & sel.VALID).any())


def split_unmapped(k: Kernel, t: Task, args: MigrateArgs, i: int) -> Steps[bool]:
    """Part a source that is locked and mapped by migration entries only, so that it can go to single pages.

    False: somebody else holds it, or the pages were chosen by frame number.
    """
    if args.vma is None:
        return False
    f, v = k.frames, k.frames.v
    src = int(args.src[i])
    head = sel.pfn_of(src)
    fault = int(is_fault_page(k, args, head))
    if f.refcount[head] != 1 + fault or not (yield from split_entries(k, t, head, (MIGR,))):
        return False
    if f.refcount[head] != 1 + fault:
        return False
    device = f.flags[head] & DEVICE
    holder = "collect" if device else "isolate"
    whole = slice(head, head + HUGE)
    f.part_folio(head)
    v.flags[whole] = f.flags[head] & ~EXCLUSIVE
    v.mapping[whole], v.memcg[whole], v.owner[whole] = f.mapping[head], f.memcg[head], f.owner[head]
    v.index[whole] = np.arange(f.index[head], f.index[head] + HUGE)
    for pfn in range(head + 1, head + HUGE):
        f.refcount[pfn] = 1
        k.folio_locks.take(t, pfn)
        if k.checks:
            k.ledger[pfn] = Counter({holder: 1})
        if device:
            k.pgmaps[f.owner[head]].folio_split(k, head, pfn)
    if device:
        k.pgmaps[f.owner[head]].folio_split(k, head, None)
    args.src[i : i + HUGE] = sel.word(np.arange(head, head + HUGE), src & (sel.MIGRATE | sel.WRITE))
    return True


def insert_huge(k: Kernel, t: Task, args: MigrateArgs, i: int) -> Steps[bool]:
    """A hole of PMD size gets one page; False as `insert_one`."""
    mm, vma = args.mm, args.vma
    assert mm is not None
    assert vma is not None
    vpn, new = args.start + i, sel.pfn_of(int(args.dst[i]))
    pmd = vpn // HUGE
    if not vma.anonymous or vpn % HUGE or vma.start > vpn or vma.end < vpn + HUGE:
        return False
    if not k.charge(new, mm):
        return False
    # The page table that a later split will need is set aside first.
    spare = None if k.fails("table") else k.tables.take(mm, pmd)
    if spare is None:
        k.uncharge(new)
        return False
    yield from mm.pmd_lock.acquire(t)
    e = mm.pmd.get(pmd, NONE)
    if mm.reaped or mm.dead or vma.flags & UFFD_MISSING or e & KIND not in (NONE, ZERO):
        mm.pmd_lock.release(t)
        if "huge-insert-leaks-table" not in k.defects:
            k.tables.put(spare)
        k.uncharge(new)
        return False
    k.tables.put(spare)
    if e & KIND == ZERO:
        tlb.flush_range(k, mm, vpn, vpn + HUGE)
    counts.add_anon(k, vma, vpn, new, exclusive=True, huge=True)
    counts.account(k, mm, new, HUGE)
    k.get(new, "map")
    mm.pmd[pmd] = fresh_entry(k, new, vma.flags)
    yield "hole filled"
    mm.pmd_lock.release(t)
    return True


def fresh_entry(k: Kernel, pfn: int, vma_flags: int) -> int:
    """The first entry for a page that fills a hole."""
    writable = ENTRY_WRITE if vma_flags & WRITE or "hole-always-writable" in k.defects else 0
    if k.frames.flags[pfn] & PRIVATE_DEVICE:
        return entry(DEVPRIV, pfn, writable)
    return entry(PRES, pfn, YOUNG | (writable | ENTRY_DIRTY | SOFT if writable else 0))

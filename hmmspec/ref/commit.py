"""The second half of migrate_vma: pages move their identity, and migration entries become mappings again.

A page moves only if exactly the expected references are left: NOTE(exact-references) this check is what keeps a page
that somebody holds (a pin, another fault) where it is; the one after unmapping is too lenient for device pages.

Sources: `mm/migrate_device.c` (`migrate_vma_pages`, `migrate_vma_insert_page`, `migrate_vma_finalize`); `mm/migrate.c`
(`__folio_migrate_mapping`, `folio_migrate_flags`); 41cddf83d8b0 (a source that moved goes to no LRU).
"""

from __future__ import annotations

import numpy as np

from hmmspec.ref import counts, lru, migrate_huge, notifier, rmap, swapping, tlb
from hmmspec.ref import selection as sel
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.entries import KIND, NONE, TABLE, ZERO
from hmmspec.ref.fault import make_table
from hmmspec.ref.frames import (
    ACTIVE,
    ANON,
    DEVICE,
    DIRTY,
    HUGE,
    PRIVATE_DEVICE,
    SWAPBACKED,
    SWAPCACHE,
    UPTODATE,
    WRITTEN_BEHIND,
)
from hmmspec.ref.migrate_args import MigrateArgs, cache_references, is_fault_page, unlock_page
from hmmspec.ref.spaces import UFFD_MISSING, Mm
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.thp import split_pmd

MOVED_FLAGS = ANON | SWAPBACKED | DIRTY | ACTIVE | UPTODATE


def pages(k: Kernel, t: Task, args: MigrateArgs) -> Steps[None]:
    """Give each destination the identity of its source; MIGRATE is cleared where that cannot be."""
    event: notifier.Event | None = None
    i, n = 0, len(args.src)
    while i < n:
        src, dst = int(args.src[i]), int(args.dst[i])
        small = bool(src & sel.COMPOUND) and migrate_huge.has_small(args, i)
        if not src & sel.MIGRATE or not (dst & sel.VALID or small):
            args.src[i] &= ~sel.MIGRATE
            i += HUGE if src & sel.COMPOUND else 1
            continue
        if not src & sel.VALID:
            assert args.mm is not None
            if event is None and "hole-no-notifier" not in k.defects:
                event = notifier.Event(notifier.MIGRATE, args.start + i, args.end, args.owner)
                yield from notifier.start(k, t, args.mm, event)
            i += yield from _insert(k, t, args, i, src, dst)
            continue
        if small:
            if not (yield from migrate_huge.split_unmapped(k, t, args, i)):
                args.src[i] &= ~sel.MIGRATE
                i += HUGE
            continue  # the same entry again: it is of one page now
        pages_one(k, args, i)
        yield "page moved"
        i += HUGE if int(args.src[i]) & sel.COMPOUND else 1
    if event is not None:
        assert args.mm is not None
        yield from notifier.end(k, t, args.mm, event)


def pages_one(k: Kernel, args: MigrateArgs, i: int) -> None:
    """A page (or one of PMD size) that has a source: MIGRATE stays if it moved."""
    src, dst = int(args.src[i]), int(args.dst[i])
    if dst & sel.COMPOUND and not src & sel.COMPOUND:
        args.src[i] &= ~sel.MIGRATE
        return
    f = k.frames
    head, new = sel.pfn_of(src), sel.pfn_of(dst)
    if f.flags[new] & DEVICE:
        # Only anonymous memory goes to a device, and what is in the swap cache only if it can leave it.
        if not f.flags[head] & ANON or (f.flags[head] & SWAPCACHE and not swapping.try_free_cache(k, head)):
            args.src[i] &= ~sel.MIGRATE
            return
    if not move_identity(k, args, head, new):
        args.src[i] &= ~sel.MIGRATE


def move_identity(k: Kernel, args: MigrateArgs, head: int, new: int) -> bool:
    """folio_migrate_mapping and folio_migrate_flags, at once: False if anybody else holds the source."""
    f = k.frames
    expected = f.folio_mapcount(head) + sel.late_references(
        int(is_fault_page(k, args, head)), cache_references(k, head)
    )
    over = f.refcount[head] - expected
    if over and "check-ignores-pins" not in k.defects and not ("check-off-by-one" in k.defects and over == 1):
        return False
    if f.mapping[head] < 0 or f.flags[head] & SWAPCACHE:
        return False  # pages of a cache move by core's own migration, which this is not
    f.mapping[new], f.index[new] = f.mapping[head], f.index[head]
    f.flags[new] = f.flags[new] & ~MOVED_FLAGS | f.flags[head] & MOVED_FLAGS
    if f.flags[head] & WRITTEN_BEHIND:
        f.flags[new] |= WRITTEN_BEHIND if f.flags[new] & PRIVATE_DEVICE else DIRTY
    if "charge-not-moved" not in k.defects:
        f.memcg[new], f.memcg[head] = f.memcg[head], 0
    return True


# -- holes ----------------------------------------------------------------------------------------------------------


def _insert(k: Kernel, t: Task, args: MigrateArgs, i: int, src: int, dst: int) -> Steps[int]:
    """Put a new page where nothing was.  Returns how many entries that was."""
    if src & sel.COMPOUND and dst & sel.COMPOUND:
        done = yield from migrate_huge.insert_huge(k, t, args, i)
        if not done:
            args.src[i] &= ~sel.MIGRATE
        return HUGE
    if src & sel.COMPOUND:
        # A hole of PMD size, and single pages for it: from here on they are holes like others.
        args.src[i : i + HUGE] = np.where(args.dst[i : i + HUGE] & sel.VALID, sel.MIGRATE, 0)
        return 0
    done = not dst & sel.COMPOUND and (yield from insert_one(k, t, args, i))
    if not done:
        args.src[i] &= ~sel.MIGRATE
    return 1


def insert_one(k: Kernel, t: Task, args: MigrateArgs, i: int) -> Steps[bool]:
    """A hole's new page, of device or system memory, is mapped: anonymous, exclusive, writable if the VMA is.

    False where it is not a hole any more, the memcg is full, no page table is to be had, the address space is being
    reaped, or userfaultfd has to hear of missing pages first.
    """
    mm, vma = args.mm, args.vma
    assert mm is not None
    assert vma is not None
    vpn, new = args.start + i, sel.pfn_of(int(args.dst[i]))
    if not vma.anonymous:
        return False
    if not (yield from _table_for(k, t, mm, vpn)):
        return False
    if not k.charge(new, mm):
        return False
    row = k.tables.row(mm, vpn)
    slot = k.tables.slot(mm, vpn)
    if row is None or slot is None:
        k.uncharge(new)
        return False
    lock = k.tables.lock(row)
    yield from lock.acquire(t)
    e = k.tables.words[slot]
    free = e & KIND in (NONE, ZERO) or "hole-races-fault" in k.defects
    if mm.reaped or mm.dead or vma.flags & UFFD_MISSING or not free or k.tables.row(mm, vpn) != row:
        lock.release(t)
        k.uncharge(new)
        return False
    if e & KIND == ZERO:
        tlb.flush_page(k, mm, vpn)
    counts.add_anon(k, vma, vpn, new, exclusive=True)
    if "hole-forgets-rss" not in k.defects:
        counts.account(k, mm, new, 1)
    k.get(new, "map")
    k.tables.words[slot] = migrate_huge.fresh_entry(k, new, vma.flags)
    yield "hole filled"
    lock.release(t)
    return True


def _table_for(k: Kernel, t: Task, mm: Mm, vpn: int) -> Steps[bool]:
    """A page table for the address, if there can be one; the huge zero page is split into small ones."""
    if not (yield from make_table(k, t, mm, vpn // HUGE)):
        return False
    yield from mm.pmd_lock.acquire(t)
    good = mm.pmd.get(vpn // HUGE, NONE) & KIND in (TABLE, ZERO) and split_pmd(k, mm, vpn // HUGE)
    mm.pmd_lock.release(t)
    return good


# -- finalize -------------------------------------------------------------------------------------------------------


def finalize(k: Kernel, t: Task, args: MigrateArgs) -> Steps[None]:
    """Map each page where it is now, its destination or its source, and give locks and references up."""
    moved = whole = 0
    i, n = 0, len(args.src)
    while i < n:
        src = int(args.src[i])
        went = yield from finalize_one(k, t, args, i)
        if src & sel.COMPOUND and src & sel.VALID:
            whole += went
            i += HUGE
        else:
            if src & sel.COMPOUND and went:
                whole += 1
                i += HUGE
                continue
            moved += went
            i += 1
    if moved:
        k.line.charge(Kind.MIGRATE_PAGE, count=moved)
    if whole:
        k.line.charge(Kind.MIGRATE_HUGE, count=whole)


def finalize_one(k: Kernel, t: Task, args: MigrateArgs, i: int) -> Steps[bool]:
    """One entry; True if its page moved (or a new one filled its hole)."""
    src, dst = int(args.src[i]), int(args.dst[i])
    f = k.frames
    new = sel.pfn_of(dst) if dst & sel.VALID else 0
    if not src & sel.VALID:
        if new:
            if f.flags[new] & DEVICE == 0 and src & sel.MIGRATE:
                lru.lru_add(k, t, new)
            _drop_new(k, t, new)
        return bool(new and src & sel.MIGRATE)
    head = sel.pfn_of(src)
    if src & sel.COMPOUND and migrate_huge.has_small(args, i):
        for page in args.dst[i : i + HUGE][args.dst[i : i + HUGE] & sel.VALID != 0].tolist():
            _drop_new(k, t, sel.pfn_of(page))
        new = 0
    elif new and not src & sel.MIGRATE:
        _drop_new(k, t, new)
        new = 0
    target = new or head
    device = f.flags[head] & DEVICE
    if new and not f.flags[new] & DEVICE and "finalize-forgets-lru" not in k.defects:
        lru.lru_add(k, t, new)
    if new and not device and "freed-source-on-lru" in k.defects:
        lru.lru_add(k, t, head)
    yield from rmap.remove_migration_entries(k, t, head, target)
    unlock_page(k, t, args, head)
    if device:
        k.put(head, "collect")
    elif new:
        k.put(head, "isolate")
    else:
        lru.putback(k, t, head)
    if new:
        _drop_new(k, t, new)
    return bool(new)


def _drop_new(k: Kernel, t: Task, new: int) -> None:
    """Give up the allocation's lock and reference: the mappings keep the page, or it is free again."""
    if "finalize-leaves-lock" not in k.defects:
        k.folio_locks.unlock(t, new)
    if "finalize-leaves-reference" not in k.defects:
        k.put(new, "alloc")

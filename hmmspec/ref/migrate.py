"""migrate_vma: move the pages of a virtual range between system memory and a device's, in phases.

    args = MigrateArgs(mm, vma, start, end, select, owner)
    yield from setup(k, t, args)       collect and unmap: args.src says which pages go
    ... the driver allocates locked pages, copies, and fills args.dst ...
    yield from pages(k, t, args)       (commit.py) the pages' identity moves
    ... the driver maps those that still have MIGRATE ...
    yield from finalize(k, t, args)    (commit.py) migration entries become mappings again

mmap_lock is held for reading throughout.  A page that somebody else holds, in whatever way, silently stays where it is.

Each phase is a loop over the pages of the range, with `collect_one`, `unmap_one`, `pages_one`, `finalize_one` for one
page, and a part that is done once (notifier, drain, flush, charges).

Sources: `mm/migrate_device.c` @022a12deda53 and @08ea4eaefa56; fd35ca3d12cc (dirty), 60bae7370896 (flush).
"""

from __future__ import annotations

import numpy as np

from hmmspec.ref import counts, lru, migrate_huge, notifier, rmap, tlb
from hmmspec.ref import selection as sel
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.entries import DEVPRIV, KIND, NONE, PRES, PROTNONE, SHIFT, TABLE, to_migration
from hmmspec.ref.entries import DIRTY as ENTRY_DIRTY
from hmmspec.ref.entries import WRITE as ENTRY_WRITE
from hmmspec.ref.errors import Errno
from hmmspec.ref.frames import DEVICE, DIRTY, EXCLUSIVE, HUGE, LRU, PRIVATE_DEVICE, RESERVED
from hmmspec.ref.migrate_args import MigrateArgs, lock_page, may_move, unlock_page
from hmmspec.ref.spaces import DAX, HUGETLB, SPECIAL
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task


def setup(k: Kernel, t: Task, args: MigrateArgs) -> Steps[None]:
    """Collect and unmap.  Afterwards every entry of `src` with MIGRATE is locked and mapped nowhere.

    Raises Errno EINVAL for a range that cannot be migrated at all; pages that cannot are no error.
    """
    _check(k, t, args)
    k.line.charge(Kind.MIGRATE_CALL)
    yield from collect(k, t, args)
    if args.cpages:
        yield from unmap(k, t, args)


def _check(k: Kernel, t: Task, args: MigrateArgs) -> None:
    vma = args.vma
    if vma is None or args.mm is None or vma.flags & (HUGETLB | SPECIAL | DAX):
        raise Errno("EINVAL")
    if not vma.start <= args.start < args.end <= vma.end:
        raise Errno("EINVAL")
    if args.fault_pfn:
        if not k.frames.flags[k.frames.head(args.fault_pfn)] & PRIVATE_DEVICE:
            raise Errno("EINVAL")
        if args.fault_locked and k.frames.lock[k.frames.head(args.fault_pfn)] != t.id:
            raise Errno("EINVAL")


# -- collect ------------------------------------------------------------------------------------------------------


def collect(k: Kernel, t: Task, args: MigrateArgs) -> Steps[None]:
    """Walk the range; lock what may move, and put migration entries there."""
    mm, vma = args.mm, args.vma
    assert mm is not None
    assert vma is not None
    event = notifier.Event(notifier.MIGRATE, args.start, args.end, args.owner)
    tells = "collect-no-notifier" not in k.defects
    if tells:
        yield from notifier.start(k, t, mm, event)
    vpn = args.start
    while vpn < args.end:
        stop = min(args.end, (vpn // HUGE + 1) * HUGE)
        word = mm.pmd.get(vpn // HUGE, NONE)
        if word & KIND == NONE:
            collect_hole(args, vpn, stop)
            vpn = stop
        elif word & KIND != TABLE:
            vpn = yield from migrate_huge.collect_huge(k, t, args, vpn, stop)
        else:
            vpn = yield from _collect_table(k, t, args, vpn, stop)
    args.npages = len(args.src)
    if tells:
        yield from notifier.end(k, t, mm, event)


def collect_hole(args: MigrateArgs, vpn: int, stop: int) -> None:
    """Part of a PMD where there is no page table: holes, or one of PMD size where the caller takes those."""
    vma = args.vma
    assert vma is not None
    if not vma.anonymous:
        return
    at = vpn - args.start
    if args.select & sel.SELECT_COMPOUND and stop - vpn == HUGE:
        args.src[at] = sel.MIGRATE | sel.COMPOUND
        args.cpages += 1
        return
    args.src[at : at + stop - vpn] = sel.MIGRATE
    args.cpages += stop - vpn


def _collect_table(k: Kernel, t: Task, args: MigrateArgs, vpn: int, stop: int) -> Steps[int]:
    """The pages of one page table, under its lock.  Returns how far it came: a large folio is split first."""
    mm = args.mm
    assert mm is not None
    row = k.tables.row(mm, vpn)
    if row is None:
        return vpn
    lock = k.tables.lock(row)
    yield from lock.acquire(t)
    if k.tables.row(mm, vpn) != row:
        lock.release(t)
        return vpn
    replaced = 0
    split = 0
    at = vpn
    while at < stop:
        kind, pfn = yield from collect_one(k, t, args, at)
        if kind == LARGE:
            split = pfn
            break
        replaced += kind == REPLACED
        at += 1
    if replaced and "collect-no-flush" not in k.defects:
        if "collect-flushes-late" in k.defects:
            lock.release(t)
            yield "unlocked before the flush"
            tlb.flush_range(k, mm, vpn, at)
        else:
            tlb.flush_range(k, mm, vpn, at)
            lock.release(t)
    else:
        lock.release(t)
    if split and not (yield from migrate_huge.split_for(k, t, args, split)):
        return stop  # what could not be split keeps the rest of this table where it is
    return at


PASSED, TAKEN, REPLACED, LARGE = range(4)  # nothing taken; a device page; a present page; a large folio in the way


def collect_one(k: Kernel, t: Task, args: MigrateArgs, vpn: int) -> Steps[tuple[int, int]]:
    """One entry of a page table whose lock is held.  Returns what was done, and the frame.

    A page that may move is referenced ('collect'), locked if nobody else has it locked, and its entry becomes a
    migration entry, which takes over no reference of the mapping.
    """
    mm, vma, f, words = args.mm, args.vma, k.frames, k.tables.words
    assert mm is not None
    assert vma is not None
    slot = k.tables.slot(mm, vpn)
    assert slot is not None
    i = vpn - args.start
    e = words[slot]
    kind = e & KIND
    pfn = e >> SHIFT if kind in _NAMES_FRAME else 0
    head = pfn - f.tail[pfn]
    flags = f.flags[head]
    normal = int(pfn > 0 and f.mapping[head] != 0 and not flags & RESERVED)
    chosen = sel.chooses(
        e,
        args.select,
        args.owner,
        int(vma.anonymous),
        flags,
        f.owner[head],
        normal,
        int("wrong-owner-filter" in k.defects),
    )
    if chosen == sel.HOLE:
        args.src[i] = sel.MIGRATE
        args.cpages += 1
        return PASSED, 0
    if chosen == sel.SKIP:
        return PASSED, 0
    if f.order[head]:
        # Some kernels split no folio that is mapped piece by piece, and never move a large one.
        return (LARGE, pfn) if "splits_pte_mapped" in k.profile else (PASSED, 0)
    k.get(pfn, "collect")
    if not lock_page(k, t, args, head):
        k.put(pfn, "collect")
        return PASSED, 0
    present = int(kind != DEVPRIV)
    exclusive = int(f.flags[pfn] & EXCLUSIVE != 0)
    words[slot] = NONE
    if exclusive:
        if present and "collect-no-flush" not in k.defects and "collect-flushes-late" not in k.defects:
            tlb.flush_page(k, mm, vpn)
        if present and f.pins[head]:
            words[slot] = e
            unlock_page(k, t, args, head)
            k.put(pfn, "collect")
            return PASSED, 0
        f.flags[pfn] &= ~EXCLUSIVE
    if "collect-drops-dirty" in k.defects:
        e &= ~ENTRY_DIRTY
    elif present and e & ENTRY_DIRTY:
        f.flags[head] |= DIRTY
    words[slot] = to_migration(e, exclusive, present)
    counts.remove(k, pfn)
    if "collect-keeps-mapping-reference" not in k.defects:
        k.put(pfn, "map")
    args.src[i] = sel.word(pfn, sel.MIGRATE | (sel.WRITE if e & ENTRY_WRITE else 0))
    args.cpages += 1
    yield "migration entry"
    return (REPLACED if present else TAKEN), pfn


_NAMES_FRAME = frozenset((PRES, PROTNONE, DEVPRIV))


# -- unmap --------------------------------------------------------------------------------------------------------


def unmap(k: Kernel, t: Task, args: MigrateArgs) -> Steps[None]:
    """Take the collected pages off the LRU and out of every other page table, and let those go that somebody holds.

    Afterwards `cpages` says how many entries still migrate; of the others everything is as before.
    """
    drained = "unmap-no-drain" in k.defects
    if not drained:
        lru.drain_cpu(k, t.cpu)
    back: list[int] = []
    for i in np.flatnonzero(args.src & sel.VALID).tolist():
        w = int(args.src[i])
        if not w & sel.MIGRATE:
            continue
        head = sel.pfn_of(w)
        if not drained and not k.frames.flags[head] & (DEVICE | LRU):
            drained = True
            yield from lru.drain_all(k, t)
        if not (yield from unmap_one(k, t, args, head)):
            args.src[i] &= ~sel.MIGRATE
            args.cpages -= 1
            back.append(i)
    for i in back:
        yield from roll_back(k, t, args, i)


def unmap_one(k: Kernel, t: Task, args: MigrateArgs, head: int) -> Steps[bool]:
    """Isolate a collected folio and unmap it everywhere; False: it stays ('collect' is its only reference of ours)."""
    f = k.frames
    device = f.flags[head] & DEVICE
    if not device:
        if not lru.isolate(k, head):
            return False
        k.put(head, "collect")
    if f.folio_mapcount(head):
        yield from rmap.try_to_migrate(k, t, head)
    if may_move(k, args, head):
        return True
    if not device:
        k.get(head, "collect")
        lru.putback(k, t, head)
    return False


def roll_back(k: Kernel, t: Task, args: MigrateArgs, i: int) -> Steps[None]:
    """Page i does not migrate: its mappings come back, and `src` says nothing of it any more."""
    head = sel.pfn_of(int(args.src[i]))
    yield from rmap.remove_migration_entries(k, t, head, head)
    args.src[i] = 0
    if "rollback-leaves-lock" not in k.defects:
        unlock_page(k, t, args, head)
    if "rollback-leaves-reference" not in k.defects:
        k.put(head, "collect")

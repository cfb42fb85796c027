"""The reverse map: from a folio to every entry that maps it, and the three walks that change them all.

`try_to_migrate` makes migration entries of the mappings, `remove_migration_entries` makes mappings of them again, and
`try_to_unmap` makes swap entries (or nothing, for pages of files).  The caller holds the folio lock.  Each walk takes
the reverse map's lock, and around each entry it calls the notifiers (CLEAR); migration entries are no mappings, so
putting mappings back calls nobody.

Sources: `mm/rmap.c` @0014dde7e945 (try_to_migrate_one, try_to_unmap_one), `mm/migrate.c` @04e60ad1a4cb
(remove_migration_pte); bf983108be0e and 65529295607f (device-exclusive entries are known to both walks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref.counts import account, add_anon, add_file, is_exclusive, remove, try_share
from hmmspec.ref.frames import ANON, DIRTY, EXCLUSIVE, HUGE, PRIVATE_DEVICE, SWAPBACKED, SWAPCACHE
from hmmspec.ref.spaces import READ, UFFD_WP, AnonVma, File, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Mutex, Steps, Task
from hmmspec.ref.thp import split_pmd
from hmmspec.ref.tlb import flush_page, flush_range

MAPS: Final = (e.PRES, e.PROTNONE, e.DEVPRIV, e.DEVEXCL)


def reverse_map(k: Kernel, head: int) -> AnonVma | File | None:
    """The object that knows the VMAs which may map a folio; None: it was never mapped by one."""
    number = k.frames.mapping[head]
    if number > 0:
        return k.anons.get(number)
    return k.files.get(-number) if number < 0 else None


def places(k: Kernel, head: int) -> list[tuple[Vma, int, int]]:
    """Where the folio may be mapped: (VMA, first vpn, how many pages), the part of the folio that the VMA covers.

    The entries there may map something else: whoever looks compares the frame, under the page-table lock.  By where the
    VMAs begin; of those that begin alike the one that was there first (an interval tree has them).
    """
    found = []
    known = reverse_map(k, head)
    index, pages = k.frames.index[head], k.frames.pages(head)
    for vma in sorted(known.vmas, key=_offset) if known is not None else ():
        low = max(vma.start, vma.address(index))
        high = min(vma.end, vma.address(index) + pages)
        if low < high:
            found.append((vma, low, high - low))
    return found


def _offset(vma: Vma) -> int:
    return vma.offset


def mappings(k: Kernel, head: int, kinds: tuple[int, ...], low: int, high: int, mm: Mm) -> Iterator[tuple[int, bool]]:
    """(vpn, huge) of entries in `[low, high)` in the folio; looked at without locks, again for each."""
    pages = k.frames.pages(head)
    vpn = low
    while vpn < high:
        word = mm.pmd.get(vpn >> 9, 0)
        if word & e.KIND == e.TABLE:
            word = k.tables.words[(word >> e.SHIFT << 9) | (vpn & 511)]
            if word & e.KIND in kinds and head <= word >> e.SHIFT < head + pages:
                yield vpn, False
            vpn += 1
        else:
            if word & e.KIND in kinds and word >> e.SHIFT == head and pages == HUGE:
                yield vpn, True
            if mm.pmd.get(vpn >> 9, 0) & e.KIND != e.TABLE:  # else it was split meanwhile: its parts are next
                vpn = (vpn | 511) + 1


def lock_of(k: Kernel, mm: Mm, vpn: int, huge: bool) -> Mutex:
    """The lock that covers the entry of a page."""
    row = None if huge else k.tables.row(mm, vpn)
    return mm.pmd_lock if row is None else k.tables.lock(row)


def _walk(
    k: Kernel, t: Task, head: int, kinds: tuple[int, ...], notify: bool, change: Callable[[Vma, int, bool], bool]
) -> Steps[bool]:
    """Call `change(vma, vpn, huge)` for every such entry that names the folio, under its lock; False stops.

    When nobody maps the folio any more, no other VMA is looked at, and its devices hear nothing.
    """
    known = reverse_map(k, head)
    if known is None:
        return True
    yield from known.lock.read(t)
    good = True
    for vma, low, count in places(k, head):
        mm = vma.mm
        event = notifier.Event(notifier.CLEAR, low, low + count)
        if notify and "rmap-no-notifier" not in k.defects:
            yield from notifier.start(k, t, mm, event)
        for vpn, huge in mappings(k, head, kinds, low, low + count, mm):
            lock = lock_of(k, mm, vpn, huge)
            yield from lock.acquire(t)
            still = next(mappings(k, head, kinds, vpn, vpn + 1, mm), None) == (vpn, huge)
            good = not still or change(vma, vpn, huge)
            lock.release(t)
            yield "pte written"
            if not good:
                break
        if notify and "rmap-no-notifier" not in k.defects:
            yield from notifier.end(k, t, mm, event)
        if not good or not k.frames.folio_mapcount(head):
            break
    known.lock.release(t)
    return good


def write_entry(k: Kernel, mm: Mm, vpn: int, huge: bool, word: int) -> None:
    """Store an entry of either size.  The caller holds its lock."""
    if huge:
        mm.pmd[vpn >> 9] = word
    else:
        slot = k.tables.slot(mm, vpn)
        assert slot is not None
        k.tables.words[slot] = word


def entry_of(k: Kernel, mm: Mm, vpn: int, huge: bool) -> int:
    if huge:
        return mm.pmd.get(vpn >> 9, 0)
    slot = k.tables.slot(mm, vpn)
    return 0 if slot is None else k.tables.words[slot]


def clear_and_flush(k: Kernel, mm: Mm, vpn: int, huge: bool) -> int:
    """Take an entry out (atomically: what the hardware set until now is in it) and flush; the old entry."""
    old = entry_of(k, mm, vpn, huge)
    write_entry(k, mm, vpn, huge, 0)
    if old & e.KIND in (e.PRES, e.PROTNONE) and "rmap-no-flush" not in k.defects:
        if huge:
            flush_range(k, mm, vpn, vpn + HUGE)
        else:
            flush_page(k, mm, vpn)
    return old


def dirty_folio(k: Kernel, pfn: int) -> None:
    k.frames.flags[pfn - k.frames.tail[pfn]] |= DIRTY


def try_to_migrate(k: Kernel, t: Task, head: int) -> Steps[bool]:
    """Turn every mapping of a locked folio into a migration entry; False: one may not be (pinned), some may be
    turned.
    """

    def change(vma: Vma, vpn: int, huge: bool) -> bool:
        mm = vma.mm
        old = clear_and_flush(k, mm, vpn, huge)
        pfn, kind = old >> e.SHIFT, old & e.KIND
        if old & e.DIRTY or (kind == e.DEVPRIV and "private_unmap_dirties" in k.profile):
            dirty_folio(k, pfn)
        exclusive = bool(k.frames.flags[head] & ANON) and is_exclusive(k, pfn)
        if exclusive and not try_share(k, pfn):
            write_entry(k, mm, vpn, huge, old)
            return False
        word = e.to_migration(old, int(exclusive))
        if "slow-path-loses-write" in k.defects and kind == e.DEVPRIV:
            word &= ~e.WRITE
        write_entry(k, mm, vpn, huge, word)
        remove(k, pfn, huge)
        k.put(pfn, "map")
        return True

    return (yield from _walk(k, t, head, MAPS, True, change))


def remove_migration_entries(k: Kernel, t: Task, source: int, target: int) -> Steps[None]:
    """Turn every migration entry of `source` into a mapping of `target` (of the same size; the same one: rollback).

    Both are locked.  Write permission, soft-dirty, uffd-wp and (where the folio is dirty) dirty come back as saved.
    """
    f = k.frames
    private = int(bool(f.flags[target] & PRIVATE_DEVICE))
    anon = bool(f.flags[target] & ANON)
    done = 0

    def change(vma: Vma, vpn: int, huge: bool) -> bool:
        nonlocal done
        mm = vma.mm
        if done and "restore-stops-at-one" in k.defects:
            return True
        done += 1
        old = entry_of(k, mm, vpn, huge)
        pfn = target + ((old >> e.SHIFT) - source)
        word = restored(k, old, pfn, private, int(bool(f.flags[target] & DIRTY)), int(not vma.flags & READ))
        k.get(pfn, "map")
        if anon:
            add_anon(k, vma, vpn, pfn, bool(old & (e.WRITE | e.EXCL)), huge)
        else:
            add_file(k, pfn, huge)
        write_entry(k, mm, vpn, huge, word)
        return True

    # The mapping is looked up with the target: it has taken the source's over.  A source that nobody moved is its own.
    yield from restore_walk(k, t, source, target, change)


def restored(k: Kernel, old: int, pfn: int, private: int, dirty: int, hidden: int) -> int:
    """The mapping that a migration entry becomes; with the defects of this place."""
    word = e.from_migration(old, pfn, private, dirty, hidden)
    if k.defects:
        if "restore-loses-write" in k.defects:
            word &= ~e.WRITE
        if "restore-gains-write" in k.defects:
            word |= e.WRITE
        if "restore-loses-soft-dirty" in k.defects:
            word &= ~e.SOFT
        if "restore-loses-uffd" in k.defects:
            word &= ~e.UFFD
    return word


def restore_walk(k: Kernel, t: Task, source: int, target: int, change: Callable[[Vma, int, bool], bool]) -> Steps[None]:
    """Call `change(vma, vpn, huge)` for every migration entry of `source`, found by the reverse map of `target`."""
    known = reverse_map(k, target)
    if known is None:
        return
    yield from known.lock.read(t)
    for vma, low, count in places(k, target):
        for vpn, huge in mappings(k, source, (e.MIGR,), low, low + count, vma.mm):
            lock = lock_of(k, vma.mm, vpn, huge)
            yield from lock.acquire(t)
            if next(mappings(k, source, (e.MIGR,), vpn, vpn + 1, vma.mm), None) == (vpn, huge):
                change(vma, vpn, huge)
            lock.release(t)
            yield "pte written"
    known.lock.release(t)


def try_to_unmap(k: Kernel, t: Task, head: int) -> Steps[bool]:
    """Reclaim: turn every mapping of a locked folio into a swap entry (it is in the swap cache), or into nothing.

    False: a mapping had to stay: pinned, or given to MADV_FREE and then written or held.  PMD-size mappings are split
    first.
    """
    f = k.frames

    def change(vma: Vma, vpn: int, huge: bool) -> bool:
        mm = vma.mm
        if huge and _discard(k, mm, vpn, head):
            return True
        if huge and not split_pmd(k, mm, vpn >> 9):
            return False
        old = clear_and_flush(k, mm, vpn, False) if "swap-no-flush" not in k.defects else _clear_only(k, mm, vpn)
        pfn = old >> e.SHIFT
        if old & e.DIRTY and "swap-ignores-dirty" not in k.defects:
            dirty_folio(k, pfn)
        if not f.flags[head] & ANON:
            account(k, mm, pfn, -1)
            if old & e.UFFD and vma.flags & UFFD_WP:
                write_entry(k, mm, vpn, False, e.entry(e.MARKER, e.UFFD_MARK, e.UFFD))
        elif f.flags[head] & SWAPCACHE:
            exclusive = is_exclusive(k, pfn)
            if exclusive and not try_share(k, pfn):
                write_entry(k, mm, vpn, False, old)
                return False
            slot = f.private[head]
            word = e.to_swap(old, slot, int(exclusive))
            if "swap-loses-soft-dirty" in k.defects:
                word &= ~e.SOFT
            write_entry(k, mm, vpn, False, word)
            k.swap.count[slot] += 1
            mm.rss_anon -= 1
            mm.rss_swap += 1
        elif f.flags[head] & SWAPBACKED or (f.flags[head] & DIRTY and "madvise-free-drops-dirty" not in k.defects):
            # No slot, and its content is wanted: a page given to MADV_FREE was written again.
            f.flags[head] |= SWAPBACKED
            write_entry(k, mm, vpn, False, old)
            return False
        elif f.refcount[head] != 1 + f.folio_mapcount(head):
            # Somebody besides reclaim holds it, and may write it yet.
            if "held_is_not_lazy" in k.profile:
                f.flags[head] |= SWAPBACKED
            write_entry(k, mm, vpn, False, old)
            return False
        else:
            mm.rss_anon -= 1
        f.flags[pfn] &= ~EXCLUSIVE
        remove(k, pfn)
        k.put(pfn, "map")
        return True

    kinds = (e.PRES, e.PROTNONE, e.DEVEXCL)
    return (yield from _walk(k, t, head, kinds, "swap-no-notifier" not in k.defects, change))


def _discard(k: Kernel, mm: Mm, vpn: int, head: int) -> bool:
    """Drop a PMD-size mapping of a folio that was given to MADV_FREE, not written since, and held by nobody."""
    f = k.frames
    if "drops_lazy_whole" not in k.profile:
        return False
    if f.flags[head] & (SWAPBACKED | DIRTY) or not f.flags[head] & ANON or mm.pmd[vpn >> 9] & e.DIRTY:
        return False
    if f.refcount[head] != 1 + f.folio_mapcount(head):
        return False
    clear_and_flush(k, mm, vpn, True)
    account(k, mm, head, -HUGE)
    f.flags[head] &= ~EXCLUSIVE
    remove(k, head, huge=True)
    k.put(head, "map")
    return True


def _clear_only(k: Kernel, mm: Mm, vpn: int) -> int:
    old = entry_of(k, mm, vpn, False)
    write_entry(k, mm, vpn, False, 0)
    return old

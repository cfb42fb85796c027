"""The invariants of the reference kernel, looked at as a whole: after every step, or when a test asks.

I1 a migration entry's page is locked.  I2 mapcount and RSS are what the entries say.  I3 references cover the
mappings, a free page has none, and every reference has a holder.  I4 nothing the CPU can use names a private device
page or a free one.  I5 a running invalidation leaves no device entry in its range (but those of its owner).  I6 a
device that may write does so where the CPU may, too, and one that has a page for itself where the CPU may not.  I8 a
clean page has the bytes of its swap slot or file.  I9 a device page's pgmap is there.  I10 locks, charges and swap
counts are balanced.  I7, that a read gives the last write, is judged from outside.  Beside them: Perm (no entry allows
more than its VMA), COW (who may write a private page has it alone), StaleTLB (a CPU's translation agrees with the
table, but while somebody holds the lock of that table, or the mmap_lock for writing) and uaf (who is called back is
still there).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref.frames import (
    ANON,
    DEVICE,
    DIRTY,
    EXCLUSIVE,
    HUGE,
    HUGETLB,
    LRU,
    PRIVATE_DEVICE,
    RESERVED,
    SWAPCACHE,
    UPTODATE,
)
from hmmspec.ref.spaces import WRITE, Mm, Vma
from hmmspec.ref.state import Kernel, show_held
from hmmspec.ref.tasks import Task

Words = NDArray[np.int64]
_MAPPING = np.array([bool(e.MAPPING_MASK >> kind & 1) for kind in range(16)])


def check(k: Kernel) -> None:
    """Look at everything that must hold at every moment; what does not is put into `k.findings`."""
    base, huge = _entries(k)
    _migration(k, base, huge)
    _counts(k, base, huge)
    _reachable(k, base, huge)
    _translations(k)
    _permissions(k, base, huge)
    _devices(k)
    _clean(k, base)
    _balance(k)
    for mm in k.mms.values():
        if isinstance(mm.notifiers, notifier.Subscriptions):
            _subscribed(k, mm.notifiers)


def _subscribed(k: Kernel, n: notifier.Subscriptions) -> None:
    """Who is called at the next invalidation is still there."""
    for sub in (*n.subs, *(sub for _, sub in n.deferred)):
        if sub.freed:
            k.report("uaf", f"{sub.name} is still subscribed, and its owner freed it")


def check_quiet(k: Kernel) -> None:
    """What must hold while no operation runs, beside `check`: no lock is held, TLBs agree with the tables, no migration
    entry, no invalidation."""
    check(k)
    _translations(k, quiet=True)
    for task in k.tasks.values():
        check_task(k, task)
    base, huge = _entries(k)
    left = int((base & e.KIND == e.MIGR).sum() + (huge & e.KIND == e.MIGR).sum())
    if left:
        k.report("I1", f"{left} migration entries are left although nobody migrates")
    locked = np.flatnonzero(k.frames.v.lock)
    if len(locked):
        k.report("I10", f"folio {locked[0]} is locked by nobody who runs")
    for mm in k.mms.values():
        if isinstance(mm.notifiers, notifier.Subscriptions):
            _settled(k, mm, mm.notifiers)


def _settled(k: Kernel, mm: Mm, n: notifier.Subscriptions) -> None:
    """Nobody invalidates: the sequence is even, no subscription has it, and nothing is put off."""
    if n.active or n.running:
        k.report("I10", f"{n.active} invalidations of {mm} never ended")
    elif n.seq & 1 or n.deferred:
        k.report("I10", f"the notifier sequence of {mm} is {n.seq}, and {len(n.deferred)} changes wait for its end")


def check_task(k: Kernel, t: Task) -> None:
    """I10: a task that is done with its operation holds nothing."""
    if t.held:
        k.report("I10", f"{t} still holds {', '.join(map(str, t.held))}")


def check_empty(k: Kernel) -> None:
    """After all processes ended and caches were dropped: every frame is free again, no swap slot or charge is left."""
    f = k.frames
    used = [int(p) for p in np.flatnonzero(f.v.refcount) if not f.flags[int(p)] & RESERVED and not _cached(k, int(p))]
    for pfn in used[:5]:
        held = show_held(k.ledger[pfn]) if pfn in k.ledger else "holders unknown"
        k.report("I10", f"frame {pfn} still has {f.refcount[pfn]} references ({held})")
    for slot in np.flatnonzero(k.swap.count)[:5]:
        k.report("I10", f"swap slot {slot} is still counted")
    pool = k.huge_pages
    if (pool.free, pool.promised) != (k.config.hugetlb_pages, 0) or pool.returning:
        k.report(
            "I10", f"{pool.free} hugetlb pages are free, {pool.promised} of them promised, although nobody is left"
        )
    if k.mms or k.anons:
        k.report("I10", f"{len(k.mms)} address spaces and {len(k.anons)} reverse maps are left")


def _cached(k: Kernel, pfn: int) -> bool:
    """Whether a frame is in the page cache of a file, where it may stay."""
    number = k.frames.mapping[pfn]
    return number < 0 and -number in k.files


def _entries(k: Kernel) -> tuple[Words, Words]:
    """All entries in use: those of page tables, and PMD-size ones."""
    rows = list(k.tables.owner)
    base = k.tables.v[rows].reshape(-1) if rows else np.zeros(0, np.int64)
    tops = [w for mm in k.mms.values() for w in mm.pmd.values() if w & e.KIND != e.TABLE]
    return base[base != 0], np.array(tops, np.int64)


def _heads(k: Kernel, words: Words) -> Words:
    frames: Words = words >> e.SHIFT
    heads: Words = frames - k.frames.v.tail[frames]
    return heads


def _mappings(words: Words) -> Words:
    found: Words = words[_MAPPING[words & e.KIND]]
    return found


def _migration(k: Kernel, base: Words, huge: Words) -> None:
    for words in (base, huge):
        heads = _heads(k, words[words & e.KIND == e.MIGR])
        open_ones = heads[k.frames.v.lock[heads] == 0]
        if len(open_ones):
            k.report("I1", f"a migration entry names folio {open_ones[0]}, which is not locked")


def _counts(k: Kernel, base: Words, huge: Words) -> None:
    f, v = k.frames, k.frames.v
    small, large = _mappings(base) >> e.SHIFT, _mappings(huge) >> e.SHIFT
    large = large[(v.flags[large] & RESERVED) == 0]
    mapped = np.bincount(small, minlength=f.total)
    entire = np.bincount(large, minlength=f.total)
    for name, have, want in (("mapcount", v.mapcount, mapped), ("PMD mapcount", v.entire, entire)):
        wrong = np.flatnonzero(have != want)
        if len(wrong):
            p = int(wrong[0])
            k.report("I2", f"the {name} of frame {p} is {have[p]}, and {want[p]} entries map it")
    total = entire.copy()
    some = np.flatnonzero(mapped)
    np.add.at(total, some - v.tail[some], mapped[some])
    short = np.flatnonzero(v.refcount < total)
    if len(short):
        p = int(short[0])
        k.report("I3", f"frame {p} has {v.refcount[p]} references and {total[p]} mappings")
    free = k.pool.free()
    bad = free[v.refcount[free] != 0]
    if len(bad):
        k.report("I3", f"frame {bad[0]} is free and has {v.refcount[bad[0]]} references")
    for head, held in k.ledger.items():
        if sum(held.values()) != f.refcount[head]:
            k.report("I3", f"frame {head} has {f.refcount[head]} references, held by: {show_held(held)}")
    _rss(k)


def _rss(k: Kernel) -> None:
    flags = k.frames.v.flags
    names: Words = np.zeros(k.swap.slots, np.int64)
    for mm in k.mms.values():
        anon = file = swap = 0
        for top in mm.pmd.values():
            if top & e.KIND == e.TABLE:
                words, pages = k.tables.v[top >> e.SHIFT], 1
            else:
                words, pages = np.array([top], np.int64), HUGE
            kinds = words & e.KIND
            counted = _heads(k, words[_MAPPING[kinds] | (kinds == e.MIGR)])
            counted = counted[flags[counted] & HUGETLB == 0]
            is_anon = int(((flags[counted] & ANON) != 0).sum())
            anon += is_anon * pages
            file += (len(counted) - is_anon) * pages
            slots = words[kinds == e.SWAP] >> e.SHIFT
            swap += len(slots)
            np.add.at(names, slots, 1)
        if (anon, file, swap) != (mm.rss_anon, mm.rss_file, mm.rss_swap):
            have = f"{mm.rss_anon}/{mm.rss_file}/{mm.rss_swap}"
            k.report("I2", f"the RSS (anon/file/swap) of {mm} is {have}, and its entries say {anon}/{file}/{swap}")
    wrong = np.flatnonzero(names != k.swap.count)
    if len(wrong):
        s = int(wrong[0])
        k.report("I10", f"swap slot {s} is counted {k.swap.count[s]} times, and {names[s]} entries name it")


def _reachable(k: Kernel, base: Words, huge: Words) -> None:
    """I4: what a CPU can use, by a table or a TLB, is neither private device memory nor free."""
    v = k.frames.v
    for words in (base, huge):
        usable = _heads(k, words[words & e.KIND == e.PRES])
        private = usable[(v.flags[usable] & PRIVATE_DEVICE) != 0]
        if len(private):
            k.report("I4", f"a present entry names frame {private[0]} of private device memory")
    for cpu in k.cpus:
        for number, cached in cpu.tlb.items():
            if not cached:
                continue
            heads = _heads(k, np.fromiter(cached.values(), np.int64, len(cached)))
            bad = heads[(v.refcount[heads] == 0) & ((v.flags[heads] & RESERVED) == 0)]
            if len(bad):
                k.report(
                    "I4", f"CPU {cpu.number} still has a translation of mm {number} to frame {bad[0]}, which is free"
                )
            bad = heads[(v.flags[heads] & PRIVATE_DEVICE) != 0]
            if len(bad):
                k.report("I4", f"CPU {cpu.number} has a translation to frame {bad[0]} of private device memory")


def _permissions(k: Kernel, base: Words, huge: Words) -> None:
    """No entry allows more than its VMA, and who may write a private anonymous page has it alone."""
    f, v = k.frames, k.frames.v
    for words in (base, huge):
        kinds = words & e.KIND
        frames = words[((kinds == e.PRES) | (kinds == e.DEVPRIV)) & (words & e.WRITE != 0)] >> e.SHIFT
        heads = frames - v.tail[frames]
        shared = frames[((v.flags[heads] & ANON) != 0) & ((v.flags[frames] & EXCLUSIVE) == 0)]
        if len(shared):
            k.report("COW", f"an entry may write frame {shared[0]}, which is not its process' alone")
    alone = np.flatnonzero(((v.flags & EXCLUSIVE) != 0) & (v.mapcount + v.entire > 1))
    if len(alone):
        p = int(alone[0])
        k.report("COW", f"frame {p} is exclusive to one process, and {f.mapcount[p]} entries map it")
    for mm in k.mms.values():
        for vma in mm.vmas:
            if not vma.flags & WRITE and not mm.mmap_lock.writer:
                _read_only(k, vma)


def _read_only(k: Kernel, vma: Vma) -> None:
    for pmd in range(vma.start >> 9, (vma.end - 1 >> 9) + 1):
        top = vma.mm.pmd.get(pmd, 0)
        if not top:
            continue
        low, high = max(vma.start - (pmd << 9), 0), min(vma.end - (pmd << 9), HUGE)
        words = k.tables.v[top >> e.SHIFT, low:high] if top & e.KIND == e.TABLE else np.array([top], np.int64)
        bad = words[(words & e.WRITE != 0) & (words & e.KIND != e.DEVEXCL)]
        if len(bad):
            k.report("Perm", f"{e.show(int(bad[0]))} in {vma}, which may not be written")


def _devices(k: Kernel) -> None:
    for mirrors in k.hooks.mirrors:
        for owner, mm, vpn, pfn, tag in mirrors():
            word = k.tables.read(mm, vpn)
            kind = word & e.KIND
            _invalidated(k, mm, owner, vpn)
            if mm.dead or kind == e.MIGR:
                continue  # its migrator deals with the owner's entry; all others were told
            if kind not in (e.PRES, e.DEVPRIV, e.DEVEXCL, e.ZERO) or word >> e.SHIFT != pfn:
                k.report(
                    "I5", f"device {owner} maps page {vpn} of {mm} to frame {pfn}, where the CPU has {e.show(word)}"
                )
            elif tag == "A" and kind != e.DEVEXCL:
                k.report("I6", f"device {owner} has page {vpn} of {mm} for itself, where the CPU has {e.show(word)}")
            elif tag == "W" and kind != e.DEVEXCL and not word & e.WRITE:
                k.report("I6", f"device {owner} may write page {vpn} of {mm}, where the CPU has {e.show(word)}")
    flags = k.frames.v.flags
    for pfn in np.flatnonzero(((flags & DEVICE) != 0) & (k.frames.v.refcount != 0)).tolist():
        if k.frames.owner[pfn] not in k.pgmaps:
            k.report("I9", f"frame {pfn} of device memory is in use, and its pgmap {k.frames.owner[pfn]} is gone")


def _invalidated(k: Kernel, mm: Mm, owner: object, vpn: int) -> None:
    if not isinstance(mm.notifiers, notifier.Subscriptions):
        return
    for event in mm.notifiers.running:
        own = event.kind in (notifier.MIGRATE, notifier.EXCLUSIVE) and event.owner == owner
        if event.start <= vpn < event.end and not own:
            k.report("I5", f"device {owner} maps page {vpn} of {mm} during an invalidation ({event.kind})")


def _clean(k: Kernel, base: Words) -> None:
    """I8: a clean page of the swap cache, or of a file with a disk, has the bytes that are kept for it."""
    f, swap = k.frames, k.swap
    if f.data is None or swap.data is None:
        return
    dirty = {w >> e.SHIFT for w in base[(base & e.DIRTY != 0) & (base & e.KIND == e.PRES)].tolist()}

    def clean(head: int) -> bool:
        flags = f.flags[head]
        return bool(flags & UPTODATE) and not flags & DIRTY and head not in dirty and not f.lock[head]

    for slot, head in swap.cache.items():
        if swap.count[slot] and clean(head) and not np.array_equal(f.data[head], swap.data[slot]):
            k.report("I8", f"frame {head} is clean, but differs from its swap slot {slot}")
        if not f.flags[head] & SWAPCACHE or f.private[head] != slot:
            k.report("I10", f"the swap cache has frame {head} for slot {slot}, and the frame does not know")
    for file in k.files.values():
        if file.disk is None:
            continue
        for index, head in file.pages.items():
            if clean(head) and not np.array_equal(f.data[head], file.disk[index]):
                k.report("I8", f"frame {head} is clean, but differs from page {index} of {file.name}")


def _balance(k: Kernel) -> None:
    v = k.frames.v
    free = (v.refcount == 0) & ((v.memcg != 0) | ((v.flags & DEVICE != 0) & (v.mapping != 0)))
    if free.any():
        p = int(free.argmax())
        k.report("I10", f"frame {p} is free, and has the memcg {v.memcg[p]} and the mapping {v.mapping[p]}")
    groups = np.flatnonzero(v.memcg)
    charged = np.bincount(v.memcg[groups], weights=1 << v.order[groups].astype(np.int64), minlength=k.next_memcg)
    for group in k.memcgs.values():
        if group.charged != int(charged[group.id]):
            k.report("I10", f"memcg {group.id} is charged {group.charged} pages, and has {int(charged[group.id])}")
    lost = np.flatnonzero(((v.flags & LRU) != 0) & (v.memcg == 0))
    if len(lost):
        k.report("I10", f"frame {lost[0]} is on the LRU without a memcg")


def _translations(k: Kernel, quiet: bool = False) -> None:
    """StaleTLB: who changes an entry flushes before it gives up the lock (60bae7370896; fork: the mmap_lock)."""
    for cpu in k.cpus:
        for number, cached in cpu.tlb.items():
            mm = k.mms.get(number)
            if not cached or (mm is not None and not quiet and (mm.dead or mm.mmap_lock.writer is not None)):
                continue
            for vpn, word in cached.items():
                now = k.tables.read(mm, vpn) if mm is not None else 0
                same = now & e.KIND == word & e.KIND and now >> e.SHIFT == word >> e.SHIFT
                if same and (now & e.WRITE or not word & e.WRITE):
                    continue
                if mm is None or quiet or not _changing(k, mm, vpn):
                    k.report(
                        "StaleTLB",
                        f"CPU {cpu.number} has {e.show(word)} for page {vpn} of mm {number}, "
                        f"the table has {e.show(now)}",
                    )


def _changing(k: Kernel, mm: Mm, vpn: int) -> bool:
    """Whether somebody holds the lock that covers the entry of this page."""
    top = mm.pmd.get(vpn >> 9, 0)
    lock = k.tables.locks.get(top >> e.SHIFT) if top & e.KIND == e.TABLE else None
    return mm.pmd_lock.owner is not None or (lock is not None and lock.owner is not None)

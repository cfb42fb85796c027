"""PMD-size pages seen from the CPU side: splitting an entry, splitting a folio.

An entry of 2 MiB is split into 512 of the same kind and bits, of every kind: present, device-private, migration, zero.
A folio is split when nobody but its mappings refers to it; its frames become folios of their own.

Sources: `mm/huge_memory.c` (__split_huge_pmd_locked, folio_split), a30b48bf1b24 (device-private PMD entries).
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref.frames import BATCHED, DEVICE, EXCLUSIVE, HUGE, HUGE_ORDER, SWAPCACHE, ZERO_PFN
from hmmspec.ref.spaces import Mm
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.tlb import flush_range


def split_pmd(k: Kernel, mm: Mm, pmd: int) -> bool:
    """Replace a PMD-size entry by a table of 512; False: no page table can be had.  Nothing to do for other entries.

    The caller holds `mm.pmd_lock`.  CPUs keep translations of mapped pages: they are the same, with the same
    permissions.
    """
    word = mm.pmd.get(pmd, 0)
    if word & e.KIND in (e.NONE, e.TABLE):
        return True
    row = k.tables.take(mm, pmd)
    if row is None:
        return False
    kind, head = word & e.KIND, word >> e.SHIFT
    f = k.frames
    if kind == e.ZERO:
        flush_range(k, mm, pmd << HUGE_ORDER, (pmd + 1) << HUGE_ORDER)  # other frames stand for the zeros from now on
        k.tables.v[row, :] = (word & (e.KIND | e.BITS)) | ZERO_PFN << e.SHIFT
    else:
        bits = word & (e.KIND | e.BITS)
        if "huge-split-loses-write" in k.defects:
            bits &= ~e.WRITE
        k.tables.v[row, :] = bits | np.arange(head, head + HUGE) << e.SHIFT
    if e.is_mapping(word):
        # One reference and one count of the whole become 512 of the parts.
        for _ in range(HUGE - 1):
            k.get(head, "map")
        f.entire[head] -= 1
        if "huge-split-forgets-count" not in k.defects:
            f.v.mapcount[head : head + HUGE] += 1
        if f.flags[head] & EXCLUSIVE:
            f.v.flags[head : head + HUGE] |= EXCLUSIVE
    mm.pmd[pmd] = e.entry(e.TABLE, row)
    return True


def split_told(k: Kernel, t: Task, mm: Mm, pmd: int) -> Steps[bool]:
    """Split what may be a PMD-size entry, and tell devices of all of it (__split_huge_pmd)."""
    event = notifier.Event(notifier.CLEAR, pmd << HUGE_ORDER, (pmd + 1) << HUGE_ORDER)
    yield from notifier.start(k, t, mm, event)
    yield from mm.pmd_lock.acquire(t)
    good = split_pmd(k, mm, pmd)
    mm.pmd_lock.release(t)
    yield from notifier.end(k, t, mm, event)
    return good


def can_split(k: Kernel, head: int, extra: int) -> bool:
    """Whether only mappings, and `extra` references of the caller, refer to the folio; it must be mapped by PTEs
    only.
    """
    f = k.frames
    return not f.entire[head] and f.refcount[head] == f.folio_mapcount(head) + extra


def split_folio(k: Kernel, _t: Task, head: int, holder: str) -> bool:
    """Part a locked folio of 512 into single ones; False: somebody else refers to it, or a PMD still maps it.

    The caller holds one reference under the name `holder` and the lock, both of the head, and keeps them.  Each part
    has the references of its own mappings; parts that nobody maps are freed.  A driver's `folio_split` is told of
    each.
    """
    f = k.frames
    if f.pages(head) == 1:
        return True
    if not can_split(k, head, 1) or f.flags[head] & (BATCHED | SWAPCACHE):
        return False
    part(k, head, holder)
    return True


def part(k: Kernel, head: int, holder: str, whole: bool = False) -> None:
    """Make 512 folios of one; references: one per mapping of each part, and the caller's one (of the head, or of each
    part where it is `whole`).
    """
    f, v = k.frames, k.frames.v
    flags, index, group, mapping = f.flags[head], f.index[head], f.memcg[head], f.mapping[head]
    owner = f.owner[head]
    all_parts = slice(head, head + HUGE)
    own = v.flags[all_parts] & EXCLUSIVE
    f.part_folio(head)
    v.flags[all_parts] = (flags & ~EXCLUSIVE) | own
    v.mapping[all_parts], v.memcg[all_parts], v.owner[all_parts] = mapping, group, owner
    v.index[all_parts] = np.arange(index, index + HUGE)
    v.age[all_parts] = f.age[head]
    v.refcount[all_parts] = v.mapcount[all_parts] + int(whole)
    f.refcount[head] += not whole
    if k.checks:
        for pfn in range(head, head + HUGE):
            held = k.ledger[pfn] = Counter()
            if f.mapcount[pfn]:
                held["map"] = f.mapcount[pfn]
            if whole or pfn == head:
                held[holder] += 1
    if flags & DEVICE:
        pgmap = k.pgmaps[owner]
        for pfn in range(head + 1, head + HUGE):
            pgmap.folio_split(k, head, pfn)
        pgmap.folio_split(k, head, None)
    for pfn in range(head, head + HUGE):
        if not f.refcount[pfn]:
            k.free_folio(pfn)

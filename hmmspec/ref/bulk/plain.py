"""What all of the bulk driver shares: when it may be used, ranges as arrays, frames taken and given back many at once.

NOTE(same-order): frames leave and enter the pools, and folios the LRU, in the order in which the rules for single pages
would have moved them.  Each function here says which single operations it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref.entries import KIND, SHIFT, TABLE
from hmmspec.ref.frames import BATCHED, HUGE, LRU, Pfns
from hmmspec.ref.spaces import Mm
from hmmspec.ref.state import BATCH, Cpu, Kernel
from hmmspec.ref.tasks import Task

Words = NDArray[np.int64]
Ints = NDArray[np.int32]
Mask = NDArray[np.bool_]

_BLOCK: Final = 1 << 14
MANY: Final = 16  # pages below which arrays cost more than they save


def ready(k: Kernel) -> bool:
    """Whether pages may be done at once: nobody else runs, nothing is made to fail, no defect, no ledger of holders."""
    return k.workers is None and not k.checks and not k.defects and not k.inject.pending and not k.inject.rates


def blocks(count: int) -> Iterator[slice]:
    """Parts of an array for which a formula with many intermediate results stays in a core's cache."""
    for start in range(0, count, _BLOCK):
        yield slice(start, min(count, start + _BLOCK))


def flat(k: Kernel) -> Words:
    """All page-table entries by slot."""
    return k.tables.v.reshape(-1)


def slots_of(mm: Mm, vpns: Pfns) -> Words:
    """The slot of each page's entry; -1: no page table there; -2: an entry of PMD size."""
    pmds = vpns >> 9
    low, high = int(pmds.min()), int(pmds.max())
    if high - low <= 2 * len(vpns) + 64:
        rows = np.array([_row(mm, pmd) for pmd in range(low, high + 1)], np.int64)[pmds - low]
    else:
        some, which = np.unique(pmds, return_inverse=True)
        rows = np.array([_row(mm, pmd) for pmd in some.tolist()], np.int64)[which]
    slots: Words = np.where(rows >= 0, rows << 9 | vpns & (HUGE - 1), rows)
    return slots


def _row(mm: Mm, pmd: int) -> int:
    word = mm.pmd.get(pmd, 0)
    if word & KIND == TABLE:
        return word >> SHIFT
    return -2 if word else -1


def entries_at(k: Kernel, slots: Words) -> Words:
    """The entries of these slots; 0 where there is no slot."""
    found: Words = flat(k)[np.maximum(slots, 0)]
    if slots.min() < 0:
        found[slots < 0] = 0
    return found


def flush_pages(k: Kernel, mm: Mm, vpns: Pfns) -> None:
    """Every CPU forgets the translations of these pages; what that costs is the caller's."""
    gone: set[int] | None = None
    low, high = int(vpns[0]), int(vpns[-1])
    whole = high - low == len(vpns) - 1  # ascending without a gap
    for cpu in k.cpus:
        cached = cpu.tlb.get(mm.id)
        if not cached:
            continue
        if gone is None and not whole:
            gone = set(vpns.tolist())
        for vpn in [v for v in cached if (low <= v <= high if gone is None else v in gone)]:
            del cached[vpn]


# -- the LRU ----------------------------------------------------------------------------------------------------------


def batch_is_quiet(k: Kernel, cpu: Cpu) -> bool:
    """Whether draining the CPU's batch frees no folio: then it does not matter when it happens."""
    refcount = k.frames.refcount
    return all(refcount[head] > 1 for head in cpu.batch)


def lru_add_many(k: Kernel, t: Task, heads: Pfns, drained: int | None = None) -> None:
    """`lru_add` of each in turn, and just before number `drained`, if given, `drain_cpu`.

    None of them is on the LRU or in a batch, and the CPU's batch is quiet (`batch_is_quiet`).
    """
    v, cpu = k.frames.v, k.cpus[t.cpu]
    waiting = len(cpu.batch)
    line = np.concatenate([np.array(cpu.batch, np.int64), heads]) if waiting else heads
    out = 0 if drained is None else waiting + drained
    out += (len(line) - out) // BATCH * BATCH
    listed, kept = line[:out], line[out:]
    if out:
        # The batch's reference goes; of those that are in no batch before and after, nothing changes.
        v.refcount[listed[:waiting]] -= 1
        v.flags[listed] = v.flags[listed] & ~BATCHED | LRU
        v.age[listed] = np.arange(k.lru_clock, k.lru_clock + out)
        k.lru_clock += out
    added = kept[max(0, waiting - out) :]
    v.flags[added] |= BATCHED
    v.refcount[added] += 1
    cpu.batch = kept.tolist()


# -- frames -----------------------------------------------------------------------------------------------------------


def free_system(k: Kernel, pfns: Pfns, charged: bool = True) -> None:
    """`free_folio` of each in turn: pages of system memory whose last reference went, and which are in no list."""
    v = k.frames.v
    if charged:
        uncharge_many(k, pfns)
    v.refcount[pfns] = 0
    v.flags[pfns] = 0
    v.mapping[pfns] = 0
    v.index[pfns] = 0
    v.private[pfns] = 0
    k.pool.put_many(pfns)


def uncharge_many(k: Kernel, pfns: Pfns) -> None:
    """`uncharge` of each."""
    groups = k.frames.v.memcg[pfns]
    if not groups.any():
        return
    for number, pages in zip(*(a.tolist() for a in np.unique(groups, return_counts=True)), strict=True):
        if number:
            k.memcgs[number].charged -= pages
    k.frames.v.memcg[pfns] = 0


def may_charge(mm: Mm, pages: int) -> bool:
    """Whether the memcg takes so many pages more."""
    group = mm.memcg
    return group is None or group.limit is None or group.charged + pages <= group.limit

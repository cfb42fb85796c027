"""Unmapping many pages at once: anonymous ones that only their mappings (and an LRU batch) refer to, and zero pages."""

from __future__ import annotations

import numpy as np

from hmmspec.ref import entries as e
from hmmspec.ref.bulk.move import free_device
from hmmspec.ref.bulk.plain import MANY, entries_at, flat, flush_pages, free_system, ready, slots_of
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.devmem import memories
from hmmspec.ref.frames import ANON, DEVICE, HUGE, RESERVED, SWAPCACHE
from hmmspec.ref.spaces import Vma
from hmmspec.ref.state import Kernel


def zap(k: Kernel, vma: Vma, start: int, end: int) -> int:
    """`zap_range` of whole page tables from `start` on, as long as all is ordinary.  Returns how far it came."""
    if end - start < MANY or not ready(k):
        return start
    v, mm = k.frames.v, vma.mm
    slots = slots_of(mm, np.arange(start, end))
    words = entries_at(k, slots)
    kinds = words & e.KIND
    mapped = (kinds == e.PRES) | (kinds == e.PROTNONE) | (kinds == e.DEVPRIV)
    pfns = np.where(mapped, words >> e.SHIFT, 0)
    flags = v.flags[pfns]
    single = (v.tail[pfns] == 0) & (v.order[pfns] == 0) & (v.mapcount[pfns] == 1)
    single &= (flags & (ANON | RESERVED | SWAPCACHE) == ANON) & (v.lock[pfns] == 0)
    good = (slots != -2) & (mapped & single | (kinds == e.NONE) | (kinds == e.ZERO))
    parts = np.concatenate([[0], np.arange(HUGE - start % HUGE, end - start, HUGE)]).astype(np.int64)
    whole = np.logical_and.reduceat(good, parts)
    tables = len(whole) if whole.all() else int(np.argmin(whole))
    stop = end if tables == len(whole) else start + int(parts[tables])
    if not tables:
        return start
    n = stop - start
    present = np.isin(kinds[:n], e.CACHED_KINDS)
    touched = np.add.reduceat(present, parts[:tables], dtype=np.int64) > 0
    sizes = np.diff(np.append(parts[:tables], n))
    for size in sizes[touched].tolist():
        k.line.charge(Kind.TLB_FLUSH, count=size)
    flushed = start + np.flatnonzero(np.repeat(touched, sizes))
    if len(flushed):
        flush_pages(k, mm, flushed)
    there = slots[:n][words[:n] != 0]
    flat(k)[there] = 0
    gone = pfns[:n][mapped[:n]]
    mm.rss_anon -= len(gone)
    v.mapcount[gone] -= 1
    v.refcount[gone] -= 1
    free = gone[v.refcount[gone] == 0]
    device = v.flags[free] & DEVICE != 0
    free_system(k, free[~device])
    if device.any():
        _free_devices(k, free[device])
    return stop


def _free_devices(k: Kernel, pfns: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
    v = k.frames.v
    for memory in memories(k):
        mine = pfns[v.owner[pfns] == memory.id]
        if len(mine):
            groups, times = np.unique(v.memcg[mine], return_counts=True)
            for number, pages in zip(groups.tolist(), times.tolist(), strict=True):
                if number:
                    k.memcgs[number].charged -= pages
            v.memcg[mine] = 0
            free_device(k, memory, mine)

"""Migration of ordinary pages, many at once: what collect, unmap, pages and finalize come to for them.

A page is ordinary if it is a single anonymous one, mapped once, and nobody but its mapping (and a CPU's LRU batch)
refers to it: then each of the checks of `migrate.py` and `commit.py` lets it go, and what is left of the four phases is
below.  The formulas for entries are theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hmmspec.ref import entries as e
from hmmspec.ref.bulk.plain import Ints, Mask, Words, blocks, flat
from hmmspec.ref.commit import MOVED_FLAGS
from hmmspec.ref.copying import copy_frames
from hmmspec.ref.devmem import DeviceMemory
from hmmspec.ref.frames import (
    ANON,
    BATCHED,
    COHERENT_DEVICE,
    DEVICE,
    DIRTY,
    EXCLUSIVE,
    FIRST_FREE,
    HUGETLB,
    HWPOISON,
    LRU,
    PRIVATE_DEVICE,
    RESERVED,
    SWAPCACHE,
    UPTODATE,
    WRITEBACK,
    WRITTEN_BEHIND,
    Pfns,
)
from hmmspec.ref.state import Kernel

_ODD = RESERVED | SWAPCACHE | HUGETLB | HWPOISON | WRITEBACK


@dataclass(eq=False)
class Facts:
    """What is known of some frames: a column of each kind, gathered once."""

    flags: Ints
    refcount: Ints
    mapcount: Ints
    pins: Ints
    lock: Ints
    mapping: Ints
    memcg: Ints
    owner: Ints
    single: Mask  # no part of a large folio

    @classmethod
    def of(cls, k: Kernel, pfns: Pfns) -> Facts:
        v, none = k.frames.v, np.zeros(len(pfns), np.int32)
        # What mostly is nowhere is looked for once, from one end to the other, which is cheaper than at random.
        large = v.order[FIRST_FREE:].any() or v.tail[FIRST_FREE:].any() or bool((pfns < FIRST_FREE).any())
        single = (v.tail[pfns] == 0) & (v.order[pfns] == 0) if large else none == 0
        pins = v.pins[pfns] if v.pins.any() else none
        lock = v.lock[pfns] if v.lock.any() else none
        counts = (v.refcount[pfns], v.mapcount[pfns], pins, lock)
        return cls(v.flags[pfns], *counts, v.mapping[pfns], v.memcg[pfns], v.owner[pfns], single)

    def part(self, at: slice | Words) -> Facts:
        counts = (self.refcount[at], self.mapcount[at], self.pins[at], self.lock[at])
        return Facts(self.flags[at], *counts, self.mapping[at], self.memcg[at], self.owner[at], self.single[at])


def ordinary(kinds: Words, f: Facts, memory: DeviceMemory | None) -> Mask:
    """Which pages are ordinary sources, of a device's memory or (None) the system's.  kinds: of their entries."""
    good: Mask = f.single & (f.mapcount == 1) & (f.lock == 0) & (f.pins == 0)
    good &= (f.flags & (_ODD | ANON) == ANON) & (f.mapping > 0) & (f.memcg != 0)
    if memory is None:
        batched = f.flags & BATCHED != 0
        good &= (kinds == e.PRES) & (f.flags & DEVICE == 0)
        good &= (f.refcount == 1 + batched) & (f.flags & (LRU | BATCHED) != 0)
    else:
        kind, flag = (e.DEVPRIV, PRIVATE_DEVICE) if memory.private else (e.PRES, COHERENT_DEVICE)
        good &= (kinds == kind) & (f.flags & flag != 0) & (f.owner == memory.id) & (f.refcount == 1)
    return good


def exchange(
    k: Kernel, slots: Words, words: Words, old: Pfns, new: Pfns, memory: DeviceMemory | None, facts: Facts
) -> Words:
    """Frames `new` take the place of `old` (of which `facts` are known) in these entries; the entries as they are now.

    new: just taken from the device's memory, or (memory None) from the system's pool, without a place on the LRU yet.
    The bytes, and giving the old frames back, are the caller's.
    """
    v = k.frames.v
    flags = v.flags[old]
    mapped = np.empty(len(words), np.int64)
    for at in blocks(len(words)):
        mapped[at], flags[at] = _exchanged(words[at], flags[at], new[at], memory)
    v.flags[new] = flags
    v.mapping[new] = facts.mapping
    v.index[new] = v.index[old]
    v.memcg[new] = facts.memcg
    v.refcount[new] = 1
    v.mapcount[new] = 1
    v.memcg[old] = 0
    v.mapcount[old] = 0
    flat(k)[slots] = mapped
    return mapped


def _exchanged(words: Words, flags: Ints, new: Pfns, memory: DeviceMemory | None) -> tuple[Words, Ints]:
    """Entries and flags of the new pages: by way of migration entries, as collect and finalize make them."""
    exclusive = (flags & EXCLUSIVE != 0).astype(np.int64)
    present = (words & e.KIND != e.DEVPRIV).astype(np.int64)
    wrote = (words & e.DIRTY != 0) & (present != 0)
    waiting = e.to_migration(words, exclusive, present)
    base = 0 if memory is None else memory.flag | UPTODATE
    behind = WRITTEN_BEHIND if memory is not None and memory.private else DIRTY
    made = flags & MOVED_FLAGS | base & ~MOVED_FLAGS | wrote * np.int32(DIRTY)
    made |= (flags & WRITTEN_BEHIND != 0) * np.int32(behind)
    dirty = (made & DIRTY != 0).astype(np.int64)
    private: Any = int(memory is not None and memory.private)
    mapped = e.from_migration(waiting, new, private, dirty)
    return mapped, made | (waiting & (e.WRITE | e.EXCL) != 0) * np.int32(EXCLUSIVE)


def free_device(k: Kernel, memory: DeviceMemory, pfns: Pfns) -> None:
    """`free_folio` of each in turn: single pages of a device's memory."""
    v = k.frames.v
    v.refcount[pfns] = 0
    v.flags[pfns] = memory.flag
    v.mapping[pfns] = 0
    v.private[pfns] = 0
    for chunk in memory.chunks:
        inside = (pfns >= chunk.first) & (pfns < chunk.first + chunk.pages)
        mine = pfns if inside.all() else pfns[inside]
        if len(mine):
            chunk.live -= len(mine)
            chunk.pool.put_many(mine)


def copy(k: Kernel, old: Pfns, new: Pfns) -> None:
    """Move the bytes."""
    if k.frames.data is not None:
        copy_frames(k.frames.data, new, k.frames.data, old)

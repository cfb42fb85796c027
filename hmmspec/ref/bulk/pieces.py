"""The test device's migrations of a range, in pieces of 512 pages, as many pieces at once as are ordinary.

`send` and `fetch` stand for the loops over pieces of `testdev.py`.  They do pieces from the start of the range on until
there is one with something out of the ordinary in it, and say how far they came.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmmspec.ref import entries as e
from hmmspec.ref import lru
from hmmspec.ref import selection as sel
from hmmspec.ref.bulk import notify
from hmmspec.ref.bulk.move import Facts, copy, exchange, free_device, ordinary
from hmmspec.ref.bulk.plain import (
    MANY,
    Mask,
    Words,
    blocks,
    entries_at,
    flush_pages,
    free_system,
    lru_add_many,
    ready,
    slots_of,
)
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.device import Binding
from hmmspec.ref.devmem import DeviceMemory
from hmmspec.ref.frames import DEVICE, EXCLUSIVE, HUGE, LRU, PAGE, RESERVED, Pfns
from hmmspec.ref.mirror import READ, SHIFT, WRITE
from hmmspec.ref.schedule import run_through
from hmmspec.ref.spaces import DAX, HUGETLB, SPECIAL, Mm, Vma
from hmmspec.ref.spaces import READ as VMA_READ
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Task


@dataclass(eq=False)
class Run:
    """Some whole pieces from `start` on: their pages' entries, and which of them move.

    edges: where each piece begins, relative to `start`, and the end of the last; the pages that move are `which`.
    """

    mm: Mm
    start: int
    edges: Words
    slots: Words
    words: Words
    take: Mask
    which: Words
    facts: Facts

    @property
    def end(self) -> int:
        return self.start + int(self.edges[-1])

    @property
    def old(self) -> Pfns:
        """The frames of the pages that move."""
        return self.moving(self.words) >> e.SHIFT

    def moving(self, column: Words) -> Words:
        """Those of a column that belong to pages that move."""
        return column if len(self.which) == len(column) else column[self.which]

    def counts(self) -> Words:
        """How many pages of each piece move."""
        sums: Words = np.add.reduceat(self.take, self.edges[:-1], dtype=np.int64)
        return sums

    def first(self, pieces: int) -> Run:
        """The same with so many pieces only."""
        n = int(self.edges[pieces])
        return Run(
            self.mm, self.start, self.edges[: pieces + 1], self.slots[:n], self.words[:n], self.take[:n],
            self.which[: int(np.searchsorted(self.which, n))], self.facts.part(slice(0, n)),
        )  # fmt: skip

    def known(self) -> Facts:
        """What is known of the frames of pages that move."""
        return self.facts if len(self.which) == len(self.take) else self.facts.part(self.which)


_SPAN = 512 * HUGE  # pages at once: 1 GiB


def send(k: Kernel, t: Task, b: Binding, start: int, end: int) -> int:
    """Move pieces to the device, and map them there.  Returns the first page that was not looked at."""
    frames: list[tuple[Pfns, Pfns]] = []
    at = start
    while at < end:
        done = _send_some(k, t, b, at, min(end, at + _SPAN), frames)
        if done == at:
            break
        at = done
    _copy_all(k, frames)
    return at


def fetch(k: Kernel, t: Task, b: Binding, start: int, end: int) -> tuple[int, int]:
    """Move pieces to system memory.  Returns the first page that was not looked at, and how many moved."""
    frames: list[tuple[Pfns, Pfns]] = []
    at = start
    while at < end:
        done = _fetch_some(k, t, b, at, min(end, at + _SPAN), frames)
        if done == at:
            break
        at = done
    _copy_all(k, frames)
    return at, sum(len(old) for old, _ in frames)


def _copy_all(k: Kernel, frames: list[tuple[Pfns, Pfns]]) -> None:
    """Move the bytes of all (sources, destinations) in one go: nobody has taken a frame that was given back since."""
    if frames and k.frames.data is not None:
        copy(k, np.concatenate([old for old, _ in frames]), np.concatenate([new for _, new in frames]))


def _send_some(k: Kernel, t: Task, b: Binding, start: int, end: int, frames: list[tuple[Pfns, Pfns]]) -> int:
    memory = b.device.memory
    run = _ordinary_run(k, b, start, end, sel.SELECT_SYSTEM, None)
    if run is None:
        return start
    run = _fitting(run, _room(memory))
    if run is None:
        return start
    old = run.old
    if len(old):
        lru.drain_cpu(k, t.cpu)
        listed = run.known().flags & LRU != 0
        away = np.flatnonzero(~listed) if not listed.all() else run.which[:0]
        away = away[k.frames.v.flags[old[away]] & LRU == 0]  # the drain has put some on the LRU
        if len(away):  # another CPU's batch: all are drained when the first such piece is unmapped
            piece = int(np.searchsorted(run.edges, run.which[away[0]], side="right")) - 1
            if piece:
                run = run.first(piece)
                old = run.old
            else:
                run_through(lru.drain_all(k, t))
    new = memory.alloc_many(k, len(old))
    _announce(k, run, memory)
    _flush(k, run, old)
    k.frames.v.private[new] = b.mm.id
    mapped = exchange(k, run.moving(run.slots), run.moving(run.words), old, new, memory, run.known())
    frames.append((old, new))
    _charge_copies(k, run, old, new, Kind.COPY_TO_DEVICE)
    free_system(k, old, charged=False)
    _mirror(b, run, new << SHIFT | np.where(mapped & e.WRITE, WRITE, READ))
    return run.end


def _fetch_some(k: Kernel, t: Task, b: Binding, start: int, end: int, frames: list[tuple[Pfns, Pfns]]) -> int:
    memory = b.device.memory
    run = _ordinary_run(k, b, start, end, sel.SELECT_PRIVATE if memory.private else sel.SELECT_COHERENT, memory)
    if run is None:
        return start
    if len(run.which):
        lru.drain_cpu(k, t.cpu)
    run = _fitting(run, len(k.pool))
    if run is None:
        return start
    old = run.old
    new = k.pool.take_many(len(old))
    _announce(k, run, memory)
    if not memory.private:
        _flush(k, run, old)
    exchange(k, run.moving(run.slots), run.moving(run.words), old, new, None, run.known())
    frames.append((old, new))
    _charge_copies(k, run, old, new, Kind.COPY_TO_SYSTEM)
    if len(new):
        # Each piece begins with a drain: only the last one's pages may still be in the batch.
        counts = run.counts()
        last = int(np.flatnonzero(counts)[-1])
        lru_add_many(k, t, new, int(counts[:last].sum()))
    free_device(k, memory, old)
    _mirror(b, run, np.zeros(len(old), np.int64))
    return run.end


def _mirror(b: Binding, run: Run, words: Words) -> None:
    """Store these mirror words for the pages that moved; the walks under way of each piece begin again."""
    if len(words) < len(run.take):
        column = b.table.read(run.start, run.end)
        column[run.which] = words
        words = column
    b.table.write(run.start, words)
    b.epoch += len(run.edges) - 1


def _ordinary_run(k: Kernel, b: Binding, start: int, end: int, select: int, memory: DeviceMemory | None) -> Run | None:
    """The pieces from `start` on in which each chosen page is ordinary, and none is a hole; None: there are none."""
    mm = b.mm
    if not ready(k) or b.device.fail_alloc or b.mutex.owner is not None or end - start < MANY:
        return None
    vma = mm.find(start)
    if vma is None or not vma.flags & VMA_READ or vma.flags & (HUGETLB | SPECIAL | DAX):
        return None
    end = min(end, vma.end)
    if end - start < MANY or notify.listeners(k, mm) is None:
        return None
    vpns = np.arange(start, end)
    slots = slots_of(mm, vpns)
    words = entries_at(k, slots)
    facts, chosen, good = _choose(k, vma, words, select, b.device.memory.id, memory)
    good &= slots != -2
    edges = np.arange(0, len(vpns), HUGE)
    whole = np.logical_and.reduceat(good, edges)
    pieces = len(whole) if whole.all() else int(np.argmin(whole))
    if not pieces:
        return None
    take = chosen == sel.TAKE
    run = Run(mm, start, np.append(edges, len(vpns)), slots, words, take, np.flatnonzero(take), facts)
    return run if pieces == len(whole) else run.first(pieces)


def _choose(
    k: Kernel, vma: Vma, words: Words, select: int, owner: int, memory: DeviceMemory | None
) -> tuple[Facts, Words, Mask]:
    """What migrate_vma chooses of each page, and which pages are simple enough to be done here."""
    kinds = words & e.KIND
    named = (kinds == e.PRES) | (kinds == e.DEVPRIV) | (kinds == e.PROTNONE)
    pfns = (words >> e.SHIFT) * named
    facts = Facts.of(k, pfns)
    chosen, good = np.empty(len(words), np.int64), np.empty(len(words), np.bool_)
    anonymous = int(vma.anonymous)
    for at in blocks(len(words)):
        f = facts.part(at)
        normal = ((pfns[at] > 0) & (f.mapping != 0) & (f.flags & RESERVED == 0)).astype(np.int64)
        flags, owners, some = f.flags.astype(np.int64), f.owner.astype(np.int64), words[at]
        asked = (kinds[at], flags & DEVICE, owners, normal)  # all that the choice depends on
        if all(bool((column == column[0]).all()) for column in asked):
            some, flags, owners, normal = some[:1], flags[:1], owners[:1], normal[:1]
        found = sel.chooses(some, select, owner, anonymous, flags, owners, normal)
        chosen[at] = found
        good[at] = f.single & ((found == sel.SKIP) | (found == sel.TAKE) & ordinary(kinds[at], f, memory))
    return facts, chosen, good


def _room(memory: DeviceMemory) -> int:
    """How many single pages the device can still hand out."""
    free = sum(len(c.pool) for c in memory.chunks if not c.dying)
    return free + memory.pages - sum(c.pages for c in memory.chunks)


def _fitting(run: Run, room: int) -> Run | None:
    """As many pieces as there is memory for."""
    if len(run.which) <= room:
        return run
    pieces = int(np.searchsorted(np.cumsum(run.counts()), room, side="right"))
    return run.first(pieces) if pieces else None


def _announce(k: Kernel, run: Run, memory: DeviceMemory) -> None:
    """What is charged for each piece whatever is in it, and its MIGRATE invalidation."""
    pieces = len(run.edges) - 1
    k.line.charge(Kind.MIGRATE_CALL, times=pieces)
    notify.migrating(k, run.mm, run.start + np.stack([run.edges[:-1], run.edges[1:]], axis=1), memory.id)
    for pages, times in _often(run.counts()):
        k.line.charge(Kind.MIGRATE_PAGE, count=pages, times=times)


def _flush(k: Kernel, run: Run, old: Pfns) -> None:
    """Present entries went: a flush for each exclusive page, and one for each page table of each piece."""
    if not len(old):
        return
    exclusive = int((k.frames.v.flags[old] & EXCLUSIVE != 0).sum())
    if exclusive:
        k.line.charge(Kind.TLB_FLUSH, times=exclusive)
    count = int(run.edges[-1])
    tables = np.arange(-(run.start % HUGE) % HUGE, count, HUGE)
    parts = np.union1d(run.edges[:-1], tables)
    touched = np.add.reduceat(run.take, parts, dtype=np.int64) > 0
    sizes = np.diff(np.append(parts, count))
    for size, times in _often(sizes[touched]):
        k.line.charge(Kind.TLB_FLUSH, count=size, times=times)
    flush_pages(k, run.mm, run.start + np.flatnonzero(np.repeat(touched, sizes)))


def _charge_copies(k: Kernel, run: Run, old: Pfns, new: Pfns, kind: Kind) -> None:
    """One copy for each piece: so many runs that are contiguous on both sides, so many bytes."""
    if not len(old):
        return
    counts = run.counts()
    counts = counts[counts > 0]
    begin = np.concatenate([[0], np.cumsum(counts)[:-1]])
    breaks = np.ones(len(old), np.int64)
    breaks[1:] = (np.diff(old) != 1) | (np.diff(new) != 1)
    breaks[begin] = 1
    pairs = np.stack([np.add.reduceat(breaks, begin), counts], axis=1)
    found, times = np.unique(pairs, axis=0, return_counts=True)
    for (runs, pages), many in zip(found.tolist(), times.tolist(), strict=True):
        k.line.charge(kind, count=runs, size=pages * PAGE, times=many)


def _often(numbers: Words) -> list[tuple[int, int]]:
    """(number, how often it occurs), without 0."""
    found, times = np.unique(numbers[numbers > 0], return_counts=True)
    return list(zip(found.tolist(), times.tolist(), strict=True))

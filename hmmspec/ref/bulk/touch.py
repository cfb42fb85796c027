"""Accesses of a CPU, many at once, each with its own fault if it needs one: present pages, first touches, and pages
that come back from a device.

`touch_many` stands for `access.touch` of each page in turn, and leaves the same translations in the CPU's TLB: those
that were there, those that were loaded, and of too many the youngest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from hmmspec.ref import access
from hmmspec.ref import entries as e
from hmmspec.ref.bulk import notify
from hmmspec.ref.bulk.move import Facts, copy, exchange, free_device, ordinary
from hmmspec.ref.bulk.plain import (
    MANY,
    Words,
    batch_is_quiet,
    entries_at,
    flat,
    lru_add_many,
    may_charge,
    ready,
    slots_of,
)
from hmmspec.ref.copying import zero_frames
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.counts import anon_prepare
from hmmspec.ref.devmem import DeviceMemory, memories
from hmmspec.ref.driver import TestDriver
from hmmspec.ref.frames import ANON, EXCLUSIVE, PAGE, SWAPBACKED, UPTODATE, ZERO_PFN, Pfns
from hmmspec.ref.schedule import run_through
from hmmspec.ref.spaces import DAX, HUGEPAGE, HUGETLB, READ, SPECIAL, UFFD_MISSING, UFFD_WP, WRITE, Mm, Vma
from hmmspec.ref.state import TLB_SIZE, Kernel
from hmmspec.ref.tasks import Task

HIT, HAVE, FRESH, ZEROED, BACK, ODD = range(6)  # what an access comes to; ODD: anything else, page by page
_WINDOW = 4096  # accesses that are looked at again after an odd one


@dataclass(eq=False)
class Found:
    """Accesses as they would go: what each comes to, its slot and entry, its VMA, the TLB's word for a HIT."""

    vpns: Pfns
    kind: Words
    slots: Words
    words: Words
    vma: Words
    hit: Words
    vmas: list[Vma]
    memory: DeviceMemory | None  # of those that are BACK

    def first(self, n: int) -> Found:
        """The same with so many accesses only."""
        vpns, kind, slots = self.vpns[:n], self.kind[:n], self.slots[:n]
        return Found(vpns, kind, slots, self.words[:n], self.vma[:n], self.hit[:n], self.vmas, self.memory)


def touch_many(k: Kernel, t: Task, mm: Mm, vpns: Pfns, write: bool, whole: bool = False) -> Iterator[tuple[Pfns, str]]:
    """`access.touch` of each page in turn; no page may be named twice.

    Yields (frames, what ended the program) for as many accesses as were done at once; the caller moves the data before
    it goes on.  whole: every byte of every page is about to be written, so new pages need not be cleared.
    """
    at, window = 0, len(vpns)
    while at < len(vpns):
        part = vpns[at : at + window]
        good = 0
        if len(part) >= MANY and ready(k) and not t.signal and not mm.dead:
            found = _look(k, t, mm, part, write)
            odd = np.flatnonzero(found.kind == ODD)
            good = int(odd[0]) if len(odd) else len(part)
            if good >= MANY:
                pfns = _do(k, t, mm, found.first(good), write, whole)
                at += good
                yield pfns, ""
                continue
        for vpn in part[: max(1, good + 1)].tolist():
            pfn = run_through(access.touch(k, t, mm, vpn, write))
            if isinstance(pfn, str):
                yield np.zeros(0, np.int64), pfn
                return
            at += 1
            yield np.array([pfn]), ""
        window = _WINDOW


def _look(k: Kernel, t: Task, mm: Mm, vpns: Pfns, write: bool) -> Found:
    """What each of these accesses comes to, if all before it are done."""
    slots = slots_of(mm, vpns)
    words = entries_at(k, slots)
    kinds = words & e.KIND
    vmas = mm.vmas
    vma = np.searchsorted(np.array([v.start for v in vmas], np.int64), vpns, side="right") - 1
    ends = np.array([v.end for v in vmas] or [0], np.int64)
    flags = np.array([_allowed(v, write) for v in vmas] or [0], np.int64)
    allowed = np.where((vma >= 0) & (vpns < ends[vma]), flags[vma], 0)
    kind = np.full(len(vpns), ODD, np.int64)
    if not t.signal and batch_is_quiet(k, k.cpus[t.cpu]):
        none = (words == 0) & (slots != -2) & (allowed & _FIRST_TOUCH != 0)
        none &= (slots >= 0) | (allowed & _HUGE == 0)
        kind[none] = FRESH if write else ZEROED
        memory = _mark_back(k, mm, kind, words, allowed, write)
    else:
        memory = None
    have = (kinds == e.PRES) & ((words & e.WRITE != 0) | (not write))
    if not write:
        have |= (kinds == e.ZERO) & (words & e.HIDDEN == 0)
    kind[have] = HAVE
    hit = np.zeros(len(vpns), np.int64)
    _mark_hits(k, t, mm, vpns, kind, hit, write)
    found = Found(vpns, kind, slots, words, vma, hit, vmas, memory)
    _limit(k, mm, found)
    return found


_FIRST_TOUCH, _BACK, _HUGE = 1, 2, 4


def _allowed(vma: Vma, write: bool) -> int:
    """Which faults may be done at once in a VMA."""
    if not vma.flags & READ or (write and not vma.flags & WRITE):
        return 0
    if vma.flags & (HUGETLB | SPECIAL | DAX):
        return 0
    first = vma.anonymous and not vma.flags & (UFFD_MISSING | UFFD_WP)
    return _BACK | (_FIRST_TOUCH if first else 0) | (_HUGE if vma.flags & HUGEPAGE else 0)


def _mark_back(k: Kernel, mm: Mm, kind: Words, words: Words, allowed: Words, write: bool) -> DeviceMemory | None:
    """Pages of one device's private memory that a fault brings back, without anything in the way."""
    which = (words & e.KIND == e.DEVPRIV) & (allowed & _BACK != 0)
    if write:
        which &= words & (e.WRITE | e.UFFD) == e.WRITE
    places = np.flatnonzero(which)
    if not len(places) or "fault_takes_reference" not in k.profile or notify.listeners(k, mm) is None:
        return None
    pfns = words[places] >> e.SHIFT
    owner = int(k.frames.owner[int(pfns[0])])
    memory = next((m for m in memories(k) if m.id == owner), None)
    if memory is None or not isinstance(memory.driver, TestDriver) or memory.driver.device.fail_alloc:
        return None
    good = ordinary(words[places] & e.KIND, Facts.of(k, pfns), memory)
    kind[places[good]] = BACK
    return memory


def _mark_hits(k: Kernel, t: Task, mm: Mm, vpns: Pfns, kind: Words, hit: Words, write: bool) -> None:
    """Which accesses find their translation in the TLB: it is there, and was not thrown out by those before them."""
    cached = k.cpus[t.cpu].tlb.get(mm.id)
    if not cached:
        return
    order = np.argsort(vpns, kind="stable")
    known = np.fromiter(cached, np.int64, len(cached))
    place = np.minimum(np.searchsorted(vpns[order], known), len(vpns) - 1)
    met = vpns[order][place] == known
    # (number of the access, age in the TLB), by access; each earlier access that was no hit has loaded one entry.
    candidates = sorted(zip(order[place[met]].tolist(), np.flatnonzero(met).tolist(), strict=True))
    spare, hits = TLB_SIZE - len(cached), 0
    for i, age in candidates:
        if i - hits > spare + age:
            continue  # gone by then
        word = cached[int(vpns[i])]
        if write and word & (e.WRITE | e.DIRTY) != e.WRITE | e.DIRTY:
            kind[i] = ODD  # loaded again in its place: rare enough
            return
        kind[i], hit[i] = HIT, word
        hits += 1


def _limit(k: Kernel, mm: Mm, found: Found) -> None:
    """No more than there is room for: the first access beyond is odd."""
    new = found.kind == FRESH
    takes = new | (found.kind == BACK)
    room = len(k.pool)
    group = mm.memcg
    if int(takes.sum()) > room:
        found.kind[np.flatnonzero(takes)[room]] = ODD
    if not may_charge(mm, int(new.sum())) and group is not None and group.limit is not None:
        found.kind[np.flatnonzero(new)[max(0, group.limit - group.charged)]] = ODD
    if bool((found.slots == -1).any()):
        missing = np.flatnonzero((found.slots == -1) & ((found.kind == FRESH) | (found.kind == ZEROED)))
        _, where = np.unique(found.vpns[missing] >> 9, return_index=True)
        tables = np.sort(where)
        if len(tables) > k.tables.left():
            found.kind[missing[tables[k.tables.left()]]] = ODD


def fault_many(k: Kernel, t: Task, mm: Mm, vpns: Pfns, write: bool) -> int:
    """`handle_fault` of each page in turn, none of which has an entry, for a driver: no CPU makes the access.

    Returns how many were done: the next one is out of the ordinary.
    """
    if t.signal or mm.dead:
        return 0
    found = _look(k, t, mm, vpns, write)
    odd = np.flatnonzero((found.kind != FRESH) & (found.kind != ZEROED))
    good = int(odd[0]) if len(odd) else len(vpns)
    if good:
        found = found.first(good)
        _fault_all(k, t, mm, found, False)
        flat(k)[found.slots] = found.words
    return good


def _do(k: Kernel, t: Task, mm: Mm, found: Found, write: bool, whole: bool) -> Pfns:
    """Do accesses that are none of them odd; the frame of each."""
    _fault_all(k, t, mm, found, whole)
    words = found.words
    mapped = found.kind != HIT
    if mapped.all():
        words = _walked(words, write)
        flat(k)[found.slots] = words
    else:
        walked = _walked(words[mapped], write)
        flat(k)[found.slots[mapped]] = walked
        words[mapped] = walked
        words[~mapped] = found.hit[~mapped]
    _fill(k, t, mm, found.vpns[mapped], words[mapped])
    return words >> e.SHIFT


def _fault_all(k: Kernel, t: Task, mm: Mm, found: Found, whole: bool) -> None:
    """Take the faults of those accesses that have one; `found.words` are the entries afterwards."""
    kind = found.kind
    faults = int(((kind == FRESH) | (kind == ZEROED) | (kind == BACK)).sum())
    if not faults:
        return
    k.line.charge(Kind.CPU_FAULT, times=faults)
    if bool((found.slots == -1).any()):
        _make_tables(k, mm, found)
    takes = np.flatnonzero((kind == FRESH) | (kind == BACK))
    if len(takes):
        _take_pages(k, t, mm, found, takes, whole)
    found.words[kind == ZEROED] = e.entry(e.ZERO, ZERO_PFN, e.YOUNG)


def _walked(words: Words, write: bool) -> Words:
    """Entries after the hardware found them: young, and dirty by a write; the zero page's stay."""
    age = e.YOUNG | (e.DIRTY if write else 0)
    return words | np.where(words & e.KIND == e.PRES, age, 0)


def _make_tables(k: Kernel, mm: Mm, found: Found) -> None:
    """Page tables where the first of the accesses finds none, in their order."""
    missing = np.flatnonzero((found.slots == -1) & ((found.kind == FRESH) | (found.kind == ZEROED)))
    pmds = found.vpns[missing] >> 9
    _, where = np.unique(pmds, return_index=True)
    for pmd in pmds[np.sort(where)].tolist():
        row = k.tables.take(mm, pmd)
        assert row is not None
        mm.pmd[pmd] = e.entry(e.TABLE, row)
    found.slots[missing] = slots_of(mm, found.vpns[missing])


def _take_pages(k: Kernel, t: Task, mm: Mm, found: Found, takes: Words, whole: bool) -> None:
    """System pages for first touches and for pages of a device, in the order of the accesses."""
    pfns = k.pool.take_many(len(takes))
    back = found.kind[takes] == BACK
    new = takes[~back]
    if len(new):
        _first_touch(k, mm, found, new, pfns[~back], whole)
    drained = None
    if back.any():
        # Each migration begins with a drain of the batch: what was added before the last one is on the LRU.
        drained = int(np.flatnonzero(back)[-1])
        _bring_back(k, mm, found, takes[back], pfns[back])
    lru_add_many(k, t, pfns, drained)


def _first_touch(k: Kernel, mm: Mm, found: Found, which: Words, pfns: Pfns, whole: bool) -> None:
    """`anonymous_fault` of each: a new page of zeros, exclusive, charged and counted; the LRU is the caller's."""
    v, group = k.frames.v, mm.memcg
    if k.frames.data is not None and not whole:
        zero_frames(k.frames.data, pfns)
    if group is not None:
        group.charged += len(pfns)
        v.memcg[pfns] = group.id
    mm.rss_anon += len(pfns)
    numbers = found.vma[which]
    vpns = found.vpns[which]
    _, where = np.unique(numbers, return_index=True)
    for i in np.sort(where).tolist():
        vma = found.vmas[int(numbers[i])]
        mine = numbers == numbers[i]
        v.mapping[pfns[mine]] = anon_prepare(k, vma).id
        v.index[pfns[mine]] = vpns[mine] - vma.start + vma.offset
    v.flags[pfns] = UPTODATE | SWAPBACKED | ANON | EXCLUSIVE
    v.refcount[pfns] = 1
    v.mapcount[pfns] = 1
    found.words[which] = e.PRES | pfns << e.SHIFT | e.YOUNG | e.WRITE | e.DIRTY | e.SOFT


def _bring_back(k: Kernel, mm: Mm, found: Found, which: Words, pfns: Pfns) -> None:
    """`private_fault` of each: a migration of one page to system memory; the LRU is the caller's."""
    memory, vpns, words = found.memory, found.vpns[which], found.words[which]
    assert memory is not None
    assert isinstance(memory.driver, TestDriver)
    old = words >> e.SHIFT
    line, times = k.line, len(which)
    line.charge(Kind.MIGRATE_CALL, times=times)
    line.charge(Kind.COPY_TO_SYSTEM, count=1, size=PAGE, times=times)
    line.charge(Kind.MIGRATE_PAGE, times=times)
    notify.migrating(k, mm, np.stack([vpns, vpns + 1], axis=1), memory.id)
    found.words[which] = exchange(k, found.slots[which], words, old, pfns, None, Facts.of(k, old))
    copy(k, old, pfns)
    free_device(k, memory, old)
    binding = memory.driver.device.bindings.get(mm.id)
    if binding is not None:
        binding.table.clear(vpns)
        binding.epoch += times


def _fill(k: Kernel, t: Task, mm: Mm, vpns: Pfns, words: Words) -> None:
    """`tlb.fill` of each in turn; none of them is there."""
    if not len(vpns):
        return
    tlb = k.cpus[t.cpu].tlb
    cached = tlb.setdefault(mm.id, {})
    out = len(cached) + len(vpns) - TLB_SIZE
    if out >= len(cached):
        cached.clear()
    else:
        for vpn in list(islice(cached, max(0, out))):
            del cached[vpn]
    cached.update(zip(vpns[-TLB_SIZE:].tolist(), words[-TLB_SIZE:].tolist(), strict=True))

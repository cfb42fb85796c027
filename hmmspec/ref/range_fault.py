"""hmm_range_fault: what the CPU's page table says of a range, faulting in what is asked for and missing.

It takes no references: what it reports is true only as long as the notifier's sequence stands still, which the caller
asks under its own lock (NOTE(sequence-machine) in notifier.py).

The walk only says what has to be faulted; the fault handler is called after it, with nothing held but mmap_lock.  Then
the walk goes on at the first page that is not done: entries below it are answers already, the others still requests.

Source: `mm/hmm.c` @0a1e70b48f45; 8a295dbbaf72 (foreign pages are faulted), 73e89224dfea (own PMD entries are seen).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref import notifier
from hmmspec.ref import requests as rq
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.entries import DEVPRIV, KIND, MARKER, MIGR, NONE, SHIFT, TABLE
from hmmspec.ref.errors import Errno
from hmmspec.ref.fault import Fault, handle_fault, migration_wait
from hmmspec.ref.frames import HUGE, HUGE_ORDER
from hmmspec.ref.spaces import IO, PFNMAP, READ, WRITE, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task

Words = NDArray[np.int64]


@dataclass(eq=False)
class HmmRange:
    """One request: `words` in and out (requests.py), entry i for page `start + i`.  `seq` is from read_begin;
    `owner` is the pgmap whose private pages the caller can use itself."""

    mm: Mm
    sub: notifier.Subscription
    start: int
    end: int
    owner: int
    words: Words
    default: int = 0
    mask: int = 0
    seq: int = 0
    charged: bool = True


@dataclass(frozen=True)
class Todo:
    """What the walk could not answer: the page, what it needs, and the entry that it met (MIGR: to wait for it)."""

    vpn: int
    what: int
    vma: Vma | None
    word: int = 0
    slot: int | None = None


def hmm_range_fault(k: Kernel, t: Task, r: HmmRange) -> Steps[None]:
    """Fill `r.words`.  mmap_lock is held for reading, before and after.

    Raises Errno: EBUSY (an invalidation came; begin again), EPERM (write fault in a mapping that is not writable),
    EFAULT (no access there, or the fault ended in a signal), ENOMEM.
    """
    if r.charged:
        k.line.charge(Kind.WALK, count=r.end - r.start)
    at = r.start
    while True:
        if notifier.check_retry(r.sub, r.seq):
            raise Errno("EBUSY")
        todo = yield from _walk(k, r, at)
        if todo is None:
            return
        at = todo.vpn
        yield from _fault(k, t, r, todo)


def _fault(k: Kernel, t: Task, r: HmmRange, todo: Todo) -> Steps[None]:
    """Do what the walk found to be done about one page."""
    vma = todo.vma
    if todo.what == rq.FINE:
        return
    if todo.what == rq.FAULT_ERROR or vma is None:
        raise Errno("EFAULT")
    if todo.what == rq.WAIT:
        yield from migration_wait(k, t, Fault(r.mm, vma, todo.vpn, False, todo.word, todo.slot))
        return
    if todo.what == rq.WRITE_FAULT and not vma.flags & WRITE:
        raise Errno("EPERM")
    stop = todo.vpn + 1
    if "range_fault_faults_rest" in k.profile:
        stop = min(r.end, vma.end, (todo.vpn // HUGE + 1) * HUGE)
    for vpn in range(todo.vpn, stop):
        answer = yield from handle_fault(k, t, r.mm, vpn, todo.what == rq.WRITE_FAULT)
        if answer == "oom" and "range_fault_enomem" in k.profile:
            raise Errno("ENOMEM")
        if answer not in ("ok", "retry"):
            raise Errno("EFAULT")


def _walk(k: Kernel, r: HmmRange, at: int) -> Steps[Todo | None]:
    """Answer pages from `at` on, until one needs something."""
    while at < r.end:
        yield "hmm walk"
        vma = r.mm.find(at)
        if vma is None or vma.flags & (IO | PFNMAP) or not vma.flags & READ:
            stop = min(r.end, vma.end if vma is not None else _next_start(r.mm, at))
            asked = _first_asked(r, at, stop)
            if asked is not None:
                return Todo(asked, rq.FAULT_ERROR, vma)
            r.words[at - r.start : stop - r.start] = rq.ERROR
            at = stop
            continue
        stop = min(r.end, vma.end, (at // HUGE + 1) * HUGE)
        word = r.mm.pmd.get(at // HUGE, NONE)
        if word & KIND == TABLE:
            todo = yield from _walk_table(k, r, vma, at, stop)
        elif word & KIND == NONE:
            todo = _walk_hole(r, vma, at, stop)
        else:
            todo = _walk_huge(k, r, vma, at, stop, word)
        if todo is not None:
            return todo
        at = stop
    return None


def _next_start(mm: Mm, vpn: int) -> int:
    """Where the next VMA after an address begins."""
    return min((v.start for v in mm.vmas if v.start > vpn), default=1 << 52)


def _request(k: Kernel, r: HmmRange, vpn: int) -> int:
    request = rq.wanted(int(r.words[vpn - r.start]), r.mask, r.default)
    return request & ~rq.REQ_WRITE if "write-request-ignored" in k.defects else request


def _first_asked(r: HmmRange, start: int, stop: int) -> int | None:
    """The first page of the range that somebody asks for."""
    asked = rq.wanted(r.words[start - r.start : stop - r.start], r.mask, r.default) & rq.REQ_FAULT
    hits = np.flatnonzero(asked)
    return start + int(hits[0]) if len(hits) else None


def _walk_hole(r: HmmRange, vma: Vma, at: int, stop: int) -> Todo | None:
    """No page table: nothing is there, or it is to be faulted in."""
    asked = _first_asked(r, at, stop)
    if asked is None:
        r.words[at - r.start : stop - r.start] = 0
        return None
    r.words[at - r.start : asked - r.start] = 0
    request = rq.wanted(int(r.words[asked - r.start]), r.mask, r.default)
    return Todo(asked, rq.need_fault(request, 0), vma)


def _walk_table(k: Kernel, r: HmmRange, vma: Vma, at: int, stop: int) -> Steps[Todo | None]:
    """The entries of one page table, each read at its own moment."""
    for vpn in range(at, stop):
        slot = k.tables.slot(r.mm, vpn)
        if slot is None:
            return Todo(vpn, rq.FINE, vma)  # the table is gone or became one large entry: look again
        e = k.tables.words[slot]
        own = is_own(k, e, r.owner)
        request = _request(k, r, vpn)
        foreign = e & KIND == DEVPRIV and not own
        if foreign and "foreign-page-is-error" in k.defects:
            if request & rq.REQ_FAULT:
                return Todo(vpn, rq.FAULT_ERROR, vma)
            r.words[vpn - r.start] = rq.ERROR
            continue
        if foreign and "foreign-page-is-valid" in k.defects:
            own = 1
        what = rq.decide(e, request, own)
        if what != rq.FINE:
            return Todo(vpn, what, vma, e, slot)
        r.words[vpn - r.start] = rq.unasked(e, own)
        yield "hmm pte"
    return None


def is_own(k: Kernel, e: int, owner: int) -> int:
    """1 where the entry is private memory of that owner."""
    return int(e & KIND == DEVPRIV and k.frames.owner[e >> SHIFT] == owner)


def _walk_huge(k: Kernel, r: HmmRange, vma: Vma, at: int, stop: int, word: int) -> Todo | None:
    """An entry of PMD size: one answer for all its pages.  Unlike a page's, a foreign one is an error in a snapshot."""
    kind = word & KIND
    own = is_own(k, word, r.owner) if "range_fault_pmd_owner" in k.profile else 0
    if "huge-page-not-seen" in k.defects:
        own = 0
    for vpn in range(at, stop):
        e = word if kind == MARKER or "huge-snapshot-order" in k.defects else word + (vpn % HUGE << SHIFT)
        request = _request(k, r, vpn)
        what = rq.decide(e, request, own)
        if what != rq.FINE:
            return Todo(vpn, what, vma, word if kind == MIGR else e, None)
        r.words[vpn - r.start] = rq.ERROR if kind == DEVPRIV and not own else rq.found(e, own, HUGE_ORDER)
    return None

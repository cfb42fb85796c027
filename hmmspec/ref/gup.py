"""get_user_pages: references of the pages behind a range of addresses, plain or as pins, for short or for long.

Fast GUP looks at the tables without the mmap_lock and falls back to the slow way.  Private device pages are never
handed out: their entries are not present, so GUP faults, and that brings the page back.  A long-term pin does not leave
a page in coherent device memory either: it is moved to system memory first, or the pin fails with EBUSY.

A pin means that the process keeps exactly this page: an anonymous page that is not exclusive is unshared before it is
pinned (FAULT_FLAG_UNSHARE), and fork copies it at once.

Source: `mm/gup.c` @0092cb388b08 (follow_page_pte, faultin_page, check_and_migrate_movable_pages).
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref.access import TRIES
from hmmspec.ref.anon import write_fault
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.errors import Errno
from hmmspec.ref.fault import Fault, handle_fault
from hmmspec.ref.frames import ANON, COHERENT_DEVICE, DIRTY, EXCLUSIVE, HUGE, RESERVED
from hmmspec.ref.hugetlb import hugetlb_fault
from hmmspec.ref.lru import drain_all
from hmmspec.ref.spaces import HUGETLB, IO, PFNMAP, READ, SHARED, WRITE, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task


def gup(
    k: Kernel,
    t: Task,
    mm: Mm,
    start: int,
    count: int,
    *,
    write: bool = False,
    fast: bool = False,
    pin: bool = False,
    longterm: bool = False,
    name: str = "gup",
) -> Steps[list[int]]:
    """The frames of `count` pages, each with one reference `gup NAME` (and a pin); give them back with `release`.

    Raises EFAULT (no access), ENOMEM, EBUSY (a long-term pin of a page that could not be moved), EINTR; then no
    reference is kept.  `longterm` needs `pin`.
    """
    if count < 0 or start < 0 or (longterm and not pin):
        raise Errno("EINVAL")
    holder = f"gup {name}"
    k.line.charge(Kind.WALK, count=count)
    while True:
        got: list[int] = []
        try:
            yield from _collect(k, t, mm, start, count, write, fast, pin, longterm, holder, got)
        except Errno:
            release(k, got, name, pin)
            raise
        foreign = [p for p in got if k.frames.flags[k.frames.head(p)] & COHERENT_DEVICE] if longterm else []
        if not foreign or "longterm-stays-on-device" in k.defects:
            return got
        yield from _move_away(k, t, got, foreign, pin, name)


def _collect(
    k: Kernel,
    t: Task,
    mm: Mm,
    start: int,
    count: int,
    write: bool,
    fast: bool,
    pin: bool,
    longterm: bool,
    holder: str,
    got: list[int],
) -> Steps[None]:
    """Add the frames to `got`, one by one."""
    if fast:
        while len(got) < count:
            pfn = _look(k, mm, start + len(got), write, pin, longterm)
            yield "fast gup"
            if pfn is None or not _grab(k, pfn, pin, holder):
                break
            if _look(k, mm, start + len(got), write, pin, longterm) != pfn:  # the entry changed meanwhile: give it back
                _ungrab(k, pfn, pin, holder)
                break
            got.append(pfn)
    if len(got) == count:
        return
    yield from mm.mmap_lock.read(t)
    try:
        tries = 0
        while len(got) < count:
            vpn = start + len(got)
            vma = mm.find(vpn)
            if mm.dead or not _allowed(vma, write):
                raise Errno("EFAULT")
            assert vma is not None
            if t.signal or k.fails("signal"):
                raise Errno("EINTR")
            pfn = yield from _slow(k, t, mm, vpn, write, pin, longterm, holder, touched=fast or not pin)
            if pfn is not None:
                got.append(pfn)
                tries = 0
                continue
            answer = yield from _fault(k, t, mm, vma, vpn, write, pin, longterm)
            if answer != "ok":
                raise Errno("ENOMEM" if answer == "oom" else "EFAULT")
            tries += 1
            if tries > (200 if k.workers is None else TRIES):
                k.report("L1", f"GUP of page {vpn} of {mm} faults again and again")
                raise Errno("EFAULT")
    finally:
        mm.mmap_lock.release(t)


def _allowed(vma: Vma | None, write: bool) -> bool:
    return vma is not None and not vma.flags & (PFNMAP | IO) and bool(vma.flags & (WRITE if write else READ))


def _look(k: Kernel, mm: Mm, vpn: int, write: bool, pin: bool, longterm: bool) -> int | None:
    """The frame of a present entry that is good enough, or None.  Only long-term pins have no use for the zero page."""
    word = k.tables.read(mm, vpn)
    kind, pfn = word & e.KIND, word >> e.SHIFT
    if kind == e.ZERO and not write and not longterm and not word & e.HIDDEN:
        return pfn
    if kind != e.PRES:
        return None
    if write and not word & e.WRITE and "gup-takes-read-only" not in k.defects:
        return None
    if pin and not write and _must_unshare(k, mm.find(vpn), pfn, word, longterm):
        return None
    return pfn


def _must_unshare(k: Kernel, vma: Vma | None, pfn: int, word: int, longterm: bool) -> bool:
    """Whether a write would copy the page away from under a pin (gup_must_unshare).  Of a file's page in private memory
    only long-term pins want to see what is written later.
    """
    f = k.frames
    if "gup-pins-shared" in k.defects or word & e.WRITE:
        return False
    head = f.head(pfn)
    if not f.flags[head] & ANON:
        return longterm and (vma is None or vma.cow)
    return not f.flags[head if f.entire[head] else pfn] & EXCLUSIVE


def _grab(k: Kernel, pfn: int, pin: bool, holder: str) -> bool:
    if k.frames.flags[k.frames.head(pfn)] & RESERVED:
        return True
    if not k.try_get(pfn, holder):
        return False
    if pin:
        k.frames.pins[k.frames.head(pfn)] += 1
    return True


def _ungrab(k: Kernel, pfn: int, pin: bool, holder: str) -> None:
    head = k.frames.head(pfn)
    if k.frames.flags[head] & RESERVED:
        return
    if pin:
        k.frames.pins[head] -= 1
        if "unpin-forgets-reference" in k.defects:
            return
    k.put(pfn, holder)


def _slow(
    k: Kernel, t: Task, mm: Mm, vpn: int, write: bool, pin: bool, longterm: bool, holder: str, touched: bool
) -> Steps[int | None]:
    """Under the page-table lock: the frame, with its reference, or None: a fault is needed."""
    row = k.tables.row(mm, vpn)
    lock = mm.pmd_lock if row is None else k.tables.lock(row)
    yield from lock.acquire(t)
    pfn = _look(k, mm, vpn, write, pin, longterm)
    if pfn is not None and not _grab(k, pfn, pin, holder):
        pfn = None
    if pfn is not None and write and touched:
        touch(k, mm, vpn)
    lock.release(t)
    return pfn


def touch(k: Kernel, mm: Mm, vpn: int) -> None:
    """A page that was looked up to be written counts as written from now on (FOLL_TOUCH): all but pin_user_pages() and
    what needs no lock have it so.  The caller holds the page-table lock."""
    word = mm.pmd.get(vpn // HUGE, e.NONE)
    if word & e.KIND == e.PRES:
        mm.pmd[vpn // HUGE] = word | e.DIRTY | e.SOFT
        return
    word = k.tables.read(mm, vpn)
    if not word & e.DIRTY:
        k.frames.flags[k.frames.head(word >> e.SHIFT)] |= DIRTY


def _fault(k: Kernel, t: Task, mm: Mm, vma: Vma, vpn: int, write: bool, pin: bool, longterm: bool) -> Steps[str]:
    """Bring the page in; for a pin of a page that may be shared, get a copy of its own (unshare)."""
    word = k.tables.read(mm, vpn)
    slot = k.tables.slot(mm, vpn)
    unshared = (e.PRES, e.ZERO) if longterm else (e.PRES,)
    unshare = pin and not write and not vma.flags & SHARED and word & e.KIND in unshared
    if unshare and vma.flags & HUGETLB:
        return (yield from hugetlb_fault(k, t, Fault(mm, vma, vpn, False), unshare=True))
    if unshare and slot is not None:
        answer = yield from write_fault(k, t, Fault(mm, vma, vpn, True, word, slot), unshare=True)
        return answer
    return (yield from handle_fault(k, t, mm, vpn, write or unshare))


def _move_away(k: Kernel, t: Task, got: list[int], foreign: list[int], pin: bool, name: str) -> Steps[None]:
    """Turn the pins into plain references, move coherent device pages to system memory, and give everything up: the
    caller looks at the addresses again.  Raises EBUSY."""
    holder = f"gup {name}"
    for pfn in got:
        head = k.frames.head(pfn)
        if pin and not k.frames.flags[head] & RESERVED:
            k.frames.pins[head] -= 1
        if pfn not in foreign:
            k.put(pfn, holder) if not k.frames.flags[head] & RESERVED else None
    yield from drain_all(k, t)
    good = True
    for pfn in foreign:
        if good:
            move = k.hooks.migrate_coherent
            good = move is not None and (yield from move(k, t, pfn))
        k.put(pfn, holder)
    if not good:
        raise Errno("EBUSY")


def release(k: Kernel, pfns: list[int], name: str = "gup", pin: bool = False) -> None:
    """Give up what `gup` gave (put_page, or unpin_user_page)."""
    for pfn in pfns:
        _ungrab(k, pfn, pin, f"gup {name}")

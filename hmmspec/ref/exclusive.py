"""Device-exclusive access: a page that only one device may use for a while, so that its atomics work.

`make_exclusive` replaces a writable mapping of anonymous memory by an entry that no CPU can use, and gives the page out
locked.  Whoever touches the address next (a CPU, GUP, another device's fault) puts the mapping back, after the notifier
told the device.  The entry counts as a mapping all the while.

Source: `mm/rmap.c` @0014dde7e945 (make_device_exclusive), `mm/memory.c` (remove_device_exclusive_entry,
restore_exclusive_pte); b756a3b5e7ea, and the clean-up of 2025 (f495bd7e0d9b: the mapcount stays).
"""

from __future__ import annotations

from hmmspec.ref import counts, notifier, rmap, thp, tlb
from hmmspec.ref.entries import (
    DEVEXCL,
    KIND,
    NONE,
    PRES,
    PROTNONE,
    SHIFT,
    SOFT,
    TABLE,
    UFFD,
    from_exclusive,
    to_exclusive,
)
from hmmspec.ref.entries import DIRTY as ENTRY_DIRTY
from hmmspec.ref.entries import WRITE as ENTRY_WRITE
from hmmspec.ref.errors import Errno
from hmmspec.ref.fault import handle_fault
from hmmspec.ref.frames import ANON, DIRTY, EXCLUSIVE, HUGE
from hmmspec.ref.gup import touch
from hmmspec.ref.spaces import HUGETLB as VM_HUGETLB
from hmmspec.ref.spaces import IO, PFNMAP, READ, WRITE, Fault, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task

ROUNDS = 200  # attempts, after which EBUSY


def make_exclusive(k: Kernel, t: Task, sub: notifier.Subscription, vpn: int, owner: int) -> Steps[tuple[int, int]]:
    """The page's frame, locked and with a reference 'exclusive', and the sequence of `sub` from before its mapping
    became device-exclusive: if that has changed since, the mapping may be gone again, lock or not.

    mmap_lock is held for reading.  Raises Errno: EFAULT (no such mapping, or not writable), EOPNOTSUPP (not anonymous),
    EINTR (killed while waiting for the lock), ENOMEM, EBUSY.
    """
    mm = sub.mm
    for _ in range(ROUNDS):
        pfn = yield from _writable_page(k, t, mm, vpn)
        head = k.frames.head(pfn)
        if not k.frames.flags[head] & ANON:
            k.put(pfn, "exclusive")
            raise Errno("EOPNOTSUPP")
        if t.signal or k.fails("signal"):
            k.put(pfn, "exclusive")
            raise Errno("EINTR")
        yield from k.folio_locks.lock(t, head)
        seq = yield from notifier.read_begin(k, t, sub)
        event = notifier.Event(notifier.EXCLUSIVE, vpn, vpn + 1, owner)
        yield from notifier.start(k, t, mm, event)
        done = yield from _convert(k, t, mm, vpn, pfn)
        yield from notifier.end(k, t, mm, event)
        if done:
            return pfn, seq
        k.folio_locks.unlock(t, k.frames.head(pfn))
        k.put(pfn, "exclusive")
    raise Errno("EBUSY")


def make_range_exclusive(k: Kernel, t: Task, mm: Mm, first: int, count: int, owner: int) -> Steps[list[int | None]]:
    """As kernels before 6.15 do it: the frames of the pages that could be got, each locked and with a reference
    'exclusive'; None for one that could not be made exclusive.  The list ends before a page that could not be got.

    mmap_lock is held for reading.  All mappings of a folio become exclusive at once, by its first page; the others of a
    large one cannot be.
    """
    got: list[int] = []
    for vpn in range(first, first + count):
        try:
            got.append((yield from _writable_page(k, t, mm, vpn)))
        except Errno:
            break
    out: list[int | None] = []
    for vpn, pfn in enumerate(got, first):
        done = False
        if k.frames.head(pfn) == pfn and k.folio_locks.trylock(t, pfn):
            done = bool(k.frames.flags[pfn] & ANON) and (yield from _convert_all(k, t, mm, vpn, pfn, owner))
            if not done:
                k.folio_locks.unlock(t, pfn)
        if not done:
            k.put(pfn, "exclusive")
        out.append(pfn if done else None)
    return out


def _convert_all(k: Kernel, t: Task, mm: Mm, vpn: int, head: int, owner: int) -> Steps[bool]:
    """Replace every mapping of a locked folio; whether that was all, and the one that is asked for could be written.

    Each VMA that may have one is told, whether or not it has; none of them once the folio is mapped no more.
    """
    known = rmap.reverse_map(k, head)
    if known is None:
        return False
    yield from known.lock.read(t)
    left, valid = k.frames.folio_mapcount(head), False
    for vma, low, count in rmap.places(k, head):
        event = notifier.Event(notifier.EXCLUSIVE, low, low + count, owner)
        yield from notifier.start(k, t, vma.mm, event)
        good = True
        for at, huge in rmap.mappings(k, head, rmap.MAPS, low, low + count, vma.mm):
            e = k.tables.read(vma.mm, at)
            good = not huge and (yield from _convert(k, t, vma.mm, at, e >> SHIFT, writable=False))
            if not good:
                break
            left -= 1
            valid = valid or (vma.mm is mm and at == vpn and bool(e & ENTRY_WRITE))
        yield from notifier.end(k, t, vma.mm, event)
        if not good or not left:
            break
    known.lock.release(t)
    return valid and not left


def _writable_page(k: Kernel, t: Task, mm: Mm, vpn: int) -> Steps[int]:
    """Fault the page in for writing and take a reference, as GUP does; PMD-size mappings are split."""
    for _ in range(ROUNDS):
        vma = mm.find(vpn)
        if vma is None or vma.flags & (IO | PFNMAP) or not vma.flags & WRITE:
            raise Errno("EFAULT")
        if vma.flags & VM_HUGETLB:
            raise Errno("EOPNOTSUPP")  # GUP that is to split large mappings does not look at these
        word = mm.pmd.get(vpn // HUGE, NONE)
        if word & KIND == PRES:
            if not (yield from thp.split_told(k, t, mm, vpn // HUGE)):
                raise Errno("ENOMEM")
            continue
        slot = k.tables.slot(mm, vpn)
        if word & KIND == TABLE and slot is not None:
            lock = k.tables.lock(slot >> 9)
            yield from lock.acquire(t)
            e = k.tables.words[slot]
            if e & KIND == PRES and e & ENTRY_WRITE:
                k.get(e >> SHIFT, "exclusive")
                touch(k, mm, vpn)
                lock.release(t)
                return e >> SHIFT
            lock.release(t)
        answer = yield from handle_fault(k, t, mm, vpn, True)
        if answer == "oom":
            raise Errno("ENOMEM")
        if answer not in ("ok", "retry"):
            raise Errno("EFAULT")
    raise Errno("EBUSY")


def _convert(k: Kernel, t: Task, mm: Mm, vpn: int, pfn: int, *, writable: bool = True) -> Steps[bool]:
    """Replace the mapping, if it is still the one that was found; `writable`: and can be written."""
    slot = k.tables.slot(mm, vpn)
    if slot is None:
        return False
    lock = k.tables.lock(slot >> 9)
    yield from lock.acquire(t)
    e = k.tables.words[slot]
    same = k.tables.slot(mm, vpn) == slot and e & KIND in (PRES, PROTNONE) and e >> SHIFT == pfn
    if not same or (writable and not e & ENTRY_WRITE):
        lock.release(t)
        return False
    k.tables.words[slot] = NONE
    if "exclusive-no-flush" not in k.defects:
        tlb.flush_page(k, mm, vpn)
    if e & ENTRY_DIRTY and "exclusive-loses-dirty" not in k.defects:
        k.frames.flags[k.frames.head(pfn)] |= DIRTY
    k.tables.words[slot] = to_exclusive(e) | (e & ENTRY_WRITE if "exclusive_by_range" in k.profile else 0)
    if "exclusive-drops-mapcount" in k.defects:
        counts.remove(k, pfn)
    yield "device-exclusive entry"
    lock.release(t)
    return True


def exclusive_fault(k: Kernel, t: Task, fault: Fault, word: int) -> Steps[str]:
    """Somebody touches the address: tell the device, and put the mapping back."""
    pfn = word >> SHIFT
    # The entry was read without a lock: its page may be free by now.
    if not k.try_get(pfn, "revoke"):
        yield "exclusive page gone"
        return "ok"
    head = k.frames.head(pfn)
    yield from k.folio_locks.lock(t, head)
    event = notifier.Event(notifier.CLEAR, fault.vpn, fault.vpn + 1)
    tells = "exclusive-no-notifier" not in k.defects
    if tells:
        yield from notifier.start(k, t, fault.mm, event)
    slot = fault.slot
    assert slot is not None
    lock = k.tables.lock(slot >> 9)
    yield from lock.acquire(t)
    if k.tables.slot(fault.mm, fault.vpn) == slot and k.tables.words[slot] == word:
        k.tables.words[slot] = restored(k, fault.vma, word)
        yield "exclusive entry restored"
    lock.release(t)
    if tells:
        yield from notifier.end(k, t, fault.mm, event)
    k.folio_locks.unlock(t, head)
    k.put(pfn, "revoke")
    return "ok"


def restored(k: Kernel, vma: Vma, word: int) -> int:
    """The mapping that a device-exclusive entry becomes: writable if VMA, page and soft-dirty tracking allow it.

    Older kernels remember in the entry whether it was writable; what comes back so counts as written.
    """
    f = k.frames
    pfn = word >> SHIFT
    dirty = int(f.flags[f.head(pfn)] & DIRTY != 0)
    writable = int(vma.flags & WRITE != 0 and f.flags[pfn] & EXCLUSIVE != 0 and word & SOFT != 0 and not word & UFFD)
    if "exclusive-restores-write" in k.defects:
        writable = 1
    if "exclusive-drops-mapcount" in k.defects:
        f.mapcount[pfn] += 1
    if "exclusive_by_range" in k.profile:
        dirty = int(word & ENTRY_WRITE != 0 and not word & UFFD)
        writable = dirty * int(vma.flags & WRITE != 0)
        word |= SOFT * dirty
    e = from_exclusive(word, writable, dirty if "exclusive_by_range" in k.profile else dirty * writable)
    return e if vma.flags & READ else e - PRES + PROTNONE


def exclusive_restore(k: Kernel, t: Task, vma: Vma, vpn: int, word: int) -> bool:
    """fork: put the mapping back under the page-table lock, without waiting; False: the page is locked by somebody.

    fork's own invalidation told the device already.
    """
    head = k.frames.head(word >> SHIFT)
    if k.fails("trylock") or not k.folio_locks.trylock(t, head):
        return False
    slot = k.tables.slot(vma.mm, vpn)
    assert slot is not None
    if k.tables.words[slot] == word and word & KIND == DEVEXCL:
        k.tables.words[slot] = restored(k, vma, word)
    k.folio_locks.unlock(t, head)
    return True

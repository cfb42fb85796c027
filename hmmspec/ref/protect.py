"""Changing what entries allow: mprotect, userfaultfd write protection, and clearing soft-dirty.

All three walk a range with one rule per entry, under the page-table lock, and flush what was present before anybody may
rely on it.  Only mprotect changes VMAs.

Source: `mm/mprotect.c` @076d1ab51ae6 (change_pte_range, can_change_private_pte_writable), `fs/proc/task_mmu.c`
(clear_refs).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref.counts import may_be_pinned
from hmmspec.ref.errors import Errno
from hmmspec.ref.fault import make_table
from hmmspec.ref.frames import ANON, EXCLUSIVE, HUGE
from hmmspec.ref.layout import areas, modify
from hmmspec.ref.spaces import ACCOUNT, HUGETLB, MAY_WRITE, READ, SHARED, SOFTDIRTY, SPECIAL, UFFD_WP, WRITE, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.thp import split_told
from hmmspec.ref.tlb import flush_range

Rule = Callable[[Kernel, Vma, int], int]
PERMISSIONS: Final = READ | WRITE
PRESENT: Final = (e.PRES, e.PROTNONE)


def mprotect(k: Kernel, t: Task, mm: Mm, start: int, count: int, prot: int) -> Steps[None]:
    """Set the permissions of a range to `prot` (READ, WRITE).

    Raises EINVAL, ENOMEM (a gap, no page table), EACCES; what comes before the gap, or before the mapping that may not
    be written, is changed all the same.
    """
    end = start + count
    if count <= 0 or start < 0:
        raise Errno("EINVAL")
    yield from mm.mmap_lock.write(t)
    try:
        while start < end:
            vma = mm.find(start)
            if vma is None:
                raise Errno("ENOMEM")
            low, start = start, min(vma.end, end)
            if prot & WRITE and not vma.flags & MAY_WRITE:
                raise Errno("EACCES")
            if vma.flags & PERMISSIONS == prot:
                continue
            vma = yield from modify(k, t, vma, low, start, _permitted(vma, prot))
            event = notifier.Event(notifier.PROTECTION_VMA, low, start)
            quiet = "mprotect-no-notifier" in k.defects
            if not quiet:
                yield from notifier.start(k, t, mm, event)
            good = yield from change_range(k, t, vma, low, start, new_protection, "mprotect-no-flush")
            if not quiet:
                yield from notifier.end(k, t, mm, event)
            if not good:
                raise Errno("ENOMEM")
    finally:
        mm.mmap_lock.release(t)


def _permitted(vma: Vma, prot: int) -> int:
    """The flags of a VMA with other permissions.  Private memory counts as committed when it becomes writable, and
    stays so, unless none of it was ever used."""
    flags = vma.flags & ~PERMISSIONS | prot
    if prot & WRITE:
        return flags if vma.flags & (WRITE | HUGETLB | SHARED) else flags | ACCOUNT
    return flags & ~ACCOUNT if vma.anonymous and vma.anon is None else flags


def new_protection(k: Kernel, vma: Vma, word: int) -> int:
    """The entry that mprotect leaves: the permissions of the VMA, which were changed already.

    It takes write permission from every kind; it gives it back only to present pages that need no fault for it (their
    owner's alone, or shared and dirty).  Migration entries of exclusive pages remember that they are.
    """
    kind, flags = word & e.KIND, vma.flags
    if flags & HUGETLB and kind in PRESENT:
        # hugetlb is not tracked, and private pages become writable by faults only.
        writable = e.WRITE if flags & WRITE and flags & SHARED else 0
        return word & ~(e.KIND | e.WRITE) | (e.PRES if flags & READ else e.PROTNONE) | writable
    if kind in PRESENT:
        pfn = word >> e.SHIFT
        word = word & ~e.KIND | (e.PRES if flags & READ else e.PROTNONE)
        if not flags & WRITE:
            return word if "mprotect-keeps-write" in k.defects else word & ~e.WRITE
        if not word & e.WRITE and _may_be_writable(k, vma, word, pfn):
            word |= e.WRITE
        return word
    if kind == e.ZERO:
        return word & ~e.HIDDEN if flags & READ else word | e.HIDDEN
    if flags & WRITE:
        return word
    return _not_present(k, word)


def _not_present(k: Kernel, word: int) -> int:
    """An entry that is not present without write permission, whoever changes protections, and why.

    That of a page on a device loses its soft-dirty bit, too: change_pte_range says why nobody misses it.
    """
    kind = word & e.KIND
    if kind == e.DEVPRIV and word & e.WRITE:
        return word if "mprotect-keeps-device-write" in k.defects else word & ~(e.WRITE | e.SOFT)
    if kind == e.DEVEXCL:
        return word & ~e.WRITE
    if kind == e.MIGR and word & e.WRITE:
        pfn = word >> e.SHIFT
        return e.protect_migration(word, int(bool(k.frames.flags[pfn - k.frames.tail[pfn]] & ANON)))
    return word


def _may_be_writable(k: Kernel, vma: Vma, word: int, pfn: int) -> bool:
    if word & e.UFFD and vma.flags & UFFD_WP:
        return False
    if not vma.flags & SOFTDIRTY and not word & e.SOFT:
        return False
    if vma.flags & SHARED:
        # Only where somebody wants to see the first write it has to be a fault.
        memory = vma.file is not None and (vma.file.disk is None or "files_in_memory" in k.profile)
        return bool(word & e.DIRTY) or bool(memory and vma.flags & SOFTDIRTY and not vma.flags & UFFD_WP)
    return bool(k.frames.flags[pfn] & EXCLUSIVE) or "mprotect-upgrades-shared" in k.defects


def change_range(k: Kernel, t: Task, vma: Vma, start: int, end: int, rule: Rule, no_flush: str = "") -> Steps[bool]:
    """Apply `rule` to every entry of `[start, end)` that is not none; PMD-size entries as a whole, or split where the
    range covers a part.  False: no page table for a split."""
    mm = vma.mm
    vpn = start
    while vpn < end:
        stop = min(end, (vpn | (HUGE - 1)) + 1)
        word = mm.pmd.get(vpn >> 9, 0)
        if word and word & e.KIND != e.TABLE and stop - vpn < HUGE:
            if not (yield from split_told(k, t, mm, vpn >> 9)):
                return False
        elif word and word & e.KIND != e.TABLE:
            yield from mm.pmd_lock.acquire(t)
            word = mm.pmd.get(vpn >> 9, 0)
            if word & e.KIND not in (e.NONE, e.TABLE):
                mm.pmd[vpn >> 9] = rule(k, vma, word)
                if word & e.KIND in e.CACHED_KINDS and not (no_flush and no_flush in k.defects):
                    flush_range(k, mm, vpn, stop)
            mm.pmd_lock.release(t)
            yield "pmd written"
        if mm.pmd.get(vpn >> 9, 0) & e.KIND == e.TABLE:
            yield from _change_table(k, t, vma, vpn, stop, rule, no_flush)
        vpn = stop
    return True


def _change_table(k: Kernel, t: Task, vma: Vma, start: int, end: int, rule: Rule, no_flush: str) -> Steps[None]:
    mm, words = vma.mm, k.tables.words
    low = k.tables.slot(mm, start)
    assert low is not None
    lock = k.tables.lock(low >> 9)
    yield from lock.acquire(t)
    present = False
    for slot in range(low, low + end - start):
        word = words[slot]
        if word:
            new = rule(k, vma, word)
            if new != word:
                words[slot] = new
                present |= word & e.KIND in e.CACHED_KINDS
                yield "pte written"
    if present and not (no_flush and no_flush in k.defects):
        flush_range(k, mm, start, end)
    lock.release(t)
    yield "protected"


def userfault_register(k: Kernel, t: Task, mm: Mm, start: int, count: int, flag: int, on: bool = True) -> Steps[None]:
    """Arm userfaultfd for a range: `flag` UFFD_MISSING or UFFD_WP.  Raises EINVAL where nothing is mapped, or by
    a driver.

    When write protection is disarmed, entries lose theirs, and markers go.
    """
    yield from mm.mmap_lock.write(t)
    try:
        vmas = mm.overlapping(start, start + count)
        if count <= 0 or not vmas or any(v.flags & SPECIAL for v in vmas):
            raise Errno("EINVAL")
        for low, high in areas(mm, start, start + count):
            vma = mm.find(low)
            assert vma is not None
            if not on and flag == UFFD_WP:
                yield from change_range(k, t, vma, low, high, _unprotected)
            flags = vma.flags | flag if on else vma.flags & ~flag
            if flags != vma.flags:
                yield from modify(k, t, vma, low, high, flags)
    finally:
        mm.mmap_lock.release(t)


def userfault_protect(k: Kernel, t: Task, mm: Mm, start: int, count: int, on: bool) -> Steps[None]:
    """Write-protect a range for userfaultfd, or take the protection away (UFFDIO_WRITEPROTECT, with holes protected by
    markers), area by area; holes between areas are passed over.  Raises ENOENT at an area that is not armed, or where
    there is none; EINVAL in the middle of a hugetlb page; ENOMEM."""
    yield from mm.mmap_lock.read(t)
    try:
        vmas = mm.overlapping(start, start + count)
        if not vmas:
            raise Errno("ENOENT")
        for vma in vmas:
            if not vma.flags & UFFD_WP:
                raise Errno("ENOENT")
            if vma.flags & HUGETLB and (start % 512 or count % 512):
                raise Errno("EINVAL")
            low, high = max(start, vma.start), min(start + count, vma.end)
            event = notifier.Event(notifier.PROTECTION_VMA, low, high)
            yield from notifier.start(k, t, mm, event)
            good = yield from change_range(k, t, vma, low, high, _protected if on else _unprotected)
            if good and on:
                good = yield from _mark_holes(k, t, mm, low, high)
            yield from notifier.end(k, t, mm, event)
            if not good:
                raise Errno("ENOMEM")
    finally:
        mm.mmap_lock.release(t)


def _protected(k: Kernel, _vma: Vma, word: int) -> int:
    """uffd-wp on: an entry is not writable then; a device-exclusive entry will not be when it is restored."""
    if word & e.KIND in PRESENT:
        return word & ~e.WRITE | e.UFFD
    return _not_present(k, word) | e.UFFD


def _unprotected(k: Kernel, vma: Vma, word: int) -> int:
    """uffd-wp off; the entry is writable at once where it needs no fault for that."""
    if word & e.KIND == e.MARKER and word >> e.SHIFT == e.UFFD_MARK:
        return e.NONE
    if word & e.KIND not in PRESENT:
        return _not_present(k, word) & ~e.UFFD
    word &= ~e.UFFD
    private = vma.flags & (WRITE | SHARED | HUGETLB) == WRITE
    if private and _may_be_writable(k, vma, word, word >> e.SHIFT):
        word |= e.WRITE
    return word


def _mark_holes(k: Kernel, t: Task, mm: Mm, start: int, end: int) -> Steps[bool]:
    words = k.tables.words
    vma = mm.find(start)
    if vma is not None and vma.flags & HUGETLB:
        yield from mm.pmd_lock.acquire(t)
        for pmd in range(start >> 9, end >> 9):
            mm.pmd.setdefault(pmd, e.entry(e.MARKER, e.UFFD_MARK, e.UFFD))
        mm.pmd_lock.release(t)
        return True
    for vpn in range(start, end):
        if not mm.pmd.get(vpn >> 9) and not (yield from make_table(k, t, mm, vpn >> 9)):
            return False
        slot = k.tables.slot(mm, vpn)
        if slot is None:
            continue
        lock = k.tables.lock(slot >> 9)
        yield from lock.acquire(t)
        if not words[slot]:
            words[slot] = e.entry(e.MARKER, e.UFFD_MARK, e.UFFD)
        lock.release(t)
        yield "pte written"
    return True


def clear_soft_dirty(k: Kernel, t: Task, mm: Mm) -> Steps[None]:
    """Begin a new round of soft-dirty tracking (writing 4 to clear_refs): entries are clean and read-only from now
    on.
    """
    yield from mm.mmap_lock.write(t)
    try:
        for vma in mm.vmas:
            vma.flags &= ~SOFTDIRTY
        event = notifier.Event(notifier.SOFT_DIRTY, 0, notifier.EVERYTHING)
        yield from notifier.start(k, t, mm, event)
        for vma in list(mm.vmas):
            if not vma.flags & HUGETLB:
                yield from change_range(k, t, vma, vma.start, vma.end, _soft_clean)
        yield from notifier.end(k, t, mm, event)
    finally:
        mm.mmap_lock.release(t)


def _soft_clean(k: Kernel, vma: Vma, word: int) -> int:
    """Only present and swap-type entries have the bit; a present one has to fault on the next write, and so one that
    may be pinned stays as it is: somebody may write to it at any time."""
    kind = word & e.KIND
    if kind == e.PRES and word & e.WRITE and vma.cow and may_be_pinned(k, word >> e.SHIFT):
        return word
    return word & ~(e.SOFT | e.WRITE) if kind in PRESENT else word & ~e.SOFT

"""mremap: entries of every kind travel to new addresses.

An entry is moved as it is, and counts as written since soft-dirty was cleared (move_soft_dirty_pte).  userfaultfd does
not follow: its protection stays behind, and the new place is not armed.  The reverse map's
lock is held for writing meanwhile: a walk finds a page at the old or the new place, never at none.

Source: `mm/mremap.c`; the mirror hears of it by UNMAP over the old range.
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref.errors import Errno
from hmmspec.ref.fault import make_table
from hmmspec.ref.frames import HUGE
from hmmspec.ref.layout import carve, enlist, forget_pages, settle
from hmmspec.ref.mmap import LIMIT, _unmap
from hmmspec.ref.spaces import HUGETLB, PFNMAP, UFFD_MISSING, UFFD_WP, AnonVma, File, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.thp import split_pmd
from hmmspec.ref.tlb import flush_range
from hmmspec.ref.zap import free_tables


def mremap(k: Kernel, t: Task, mm: Mm, start: int, count: int, to: int, dontunmap: bool = False) -> Steps[None]:
    """Move `count` pages to `to` (MREMAP_MAYMOVE | MREMAP_FIXED); what was there goes.

    `dontunmap`: the old VMA stays, empty.  Pages of hugetlb go whole.  Raises EINVAL (the ranges overlap, or begin in
    such a page), EFAULT (not one VMA), ENOMEM.
    """
    if count <= 0 or min(start, to) < 0 or max(start, to) + count > LIMIT:
        raise Errno("EINVAL")
    early = "mremap_unmaps_first" in k.profile
    if abs(start - to) < count and not early:
        raise Errno("EINVAL")
    yield from mm.mmap_lock.write(t)
    try:
        vma = mm.find(start)
        if vma is not None and vma.flags & HUGETLB:
            if start % HUGE or to % HUGE:
                raise Errno("EINVAL")
            count += -count % HUGE  # whole pages go
            if abs(start - to) < count:
                raise Errno("EINVAL")
        if early:
            if vma is None:
                raise Errno("EFAULT")
            if abs(start - to) < count:
                raise Errno("EINVAL")
            yield from _unmap(k, t, mm, to, to + count)
            vma = mm.find(start)  # another one, if the place to move to was a part of it
        if vma is None or vma.end < start + count:
            raise Errno("EFAULT")
        if dontunmap and vma.flags & (PFNMAP | HUGETLB):
            raise Errno("EINVAL")
        if not early:
            yield from _unmap(k, t, mm, to, to + count)
        vma = mm.find(start) or vma  # another one, if the place to move to was a part of it
        if vma.flags & HUGETLB:
            vma = (yield from carve(k, t, mm, start, start + count))[0]
        unused = vma.anonymous and vma.anon is None
        offset = to if unused else vma.index(start)
        new = Vma(mm, to, to + count, vma.flags, offset, vma.file, vma.anon, list(vma.chain), vma.driver, vma.opened)
        new.taken, new.bereft = vma.taken, vma.bereft
        enlist(new)
        new = settle(k, new, vma if unused and dontunmap else None)
        vma = mm.find(start) or vma
        event = notifier.Event(notifier.UNMAP, start, start + count)
        quiet = "mremap-no-notifier" in k.defects
        if not quiet:
            yield from notifier.start(k, t, mm, event)
        moved = yield from _move(k, t, vma, start, count, to)
        if not quiet:
            yield from notifier.end(k, t, mm, event)
        if not moved:
            new.taken = None
            # Entries that moved already go back; the tables that they need are still there.
            yield from _move(k, t, new, to, count, start)
            yield from _unmap(k, t, mm, to, to + count)
            raise Errno("ENOMEM")
        if vma.flags & HUGETLB:
            vma.taken = None  # what was promised goes along
        new.flags &= ~(UFFD_MISSING | UFFD_WP)
        if not dontunmap:
            yield from _unmap(k, t, mm, start, start + count)
        elif (vma.start, vma.end) == (start, start + count):
            forget_pages(k, vma)
        free_tables(k, mm, start, start + count)
    finally:
        mm.mmap_lock.release(t)


def _move(k: Kernel, t: Task, old: Vma, start: int, count: int, to: int) -> Steps[bool]:
    """Move entries of a VMA to another place; False: no page table could be had for some."""
    locks: list[AnonVma | File] = [*old.chain, *([old.file] if old.file else [])]
    for known in locks:
        yield from known.lock.write(t)
    try:
        shift = to - start
        vpn = start
        while vpn < start + count:
            stop = min(start + count, (vpn | (HUGE - 1)) + 1, (((vpn + shift) | (HUGE - 1)) + 1) - shift)
            if not (yield from _move_part(k, t, old, vpn, stop, shift)):
                return False
            vpn = stop
        return True
    finally:
        for known in locks:
            known.lock.release(t)


def _move_part(k: Kernel, t: Task, old: Vma, start: int, end: int, shift: int) -> Steps[bool]:
    """Entries of one old and one new page table; or a whole PMD-size entry, where both addresses are aligned."""
    mm, armed = old.mm, bool(old.flags & (UFFD_MISSING | UFFD_WP))
    word = mm.pmd.get(start >> 9, 0)
    if not word:
        return True
    target = (start + shift) >> 9
    if word & e.KIND != e.TABLE:
        yield from mm.pmd_lock.acquire(t)
        word = mm.pmd.get(start >> 9, 0)
        whole = end - start == HUGE and not shift % HUGE and not mm.pmd.get(target)
        if word & e.KIND not in (e.NONE, e.TABLE):
            if whole:
                mm.pmd[target] = _moved(k, mm.pmd.pop(start >> 9), armed)
                if "mremap-no-flush" not in k.defects:
                    flush_range(k, mm, start, end)
                mm.pmd_lock.release(t)
                yield "pmd written"
                return True
            if not split_pmd(k, mm, start >> 9):
                mm.pmd_lock.release(t)
                return False
        mm.pmd_lock.release(t)
    if not (yield from make_table(k, t, mm, target)):
        return False
    yield from _move_entries(k, t, mm, start, end, shift, armed)
    return True


def _move_entries(k: Kernel, t: Task, mm: Mm, start: int, end: int, shift: int, armed: bool) -> Steps[None]:
    source, target = k.tables.slot(mm, start), k.tables.slot(mm, start + shift)
    assert source is not None and target is not None
    words, tables = k.tables.words, k.tables
    # Two locks of one kind: always the lower row first.
    rows = sorted({source >> 9, target >> 9})
    for row in rows:
        yield from tables.lock(row).acquire(t)
    present = False
    for i in range(end - start):
        word = words[source + i]
        if word:
            words[source + i] = 0
            present |= word & e.KIND in e.CACHED_KINDS
            words[target + i] = _moved(k, word, armed)
            yield "pte written"
    if present and "mremap-no-flush" not in k.defects:
        flush_range(k, mm, start, end)
    for row in rows:
        tables.lock(row).release(t)


def _moved(k: Kernel, word: int, armed: bool) -> int:
    """What the new place gets; armed: userfaultfd protects the old one."""
    kind = word & e.KIND
    if armed:
        if kind == e.MARKER and word >> e.SHIFT == e.UFFD_MARK:
            return e.NONE
        word &= ~e.UFFD
    if kind == e.DEVPRIV and "mremap-loses-write" in k.defects:
        word &= ~e.WRITE
    return word | e.SOFT if kind != e.MARKER else word

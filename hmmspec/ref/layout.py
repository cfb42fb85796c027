"""The list of VMAs: splitting, joining, and the lists that know them (reverse maps, files)."""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref.errors import Errno
from hmmspec.ref.frames import HUGE
from hmmspec.ref.spaces import HUGETLB, SOFTDIRTY, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.thp import split_pmd


def enlist(vma: Vma) -> None:
    """Put a VMA into its mm, its reverse maps and its file."""
    vma.mm.insert(vma)
    link(vma)


def link(vma: Vma) -> None:
    for anon in vma.chain:
        anon.vmas.append(vma)
    if vma.file is not None:
        vma.file.vmas.append(vma)


def unlist(k: Kernel, vma: Vma) -> None:
    """Take a VMA out of all lists; reverse maps without a VMA, and shared memory without one, are gone."""
    vma.mm.vmas.remove(vma)
    unlink(k, vma)


def unlink(k: Kernel, vma: Vma) -> None:
    for anon in vma.chain:
        anon.vmas.remove(vma)
        if not anon.vmas:
            k.anons.pop(anon.id, None)
    file = vma.file
    if file is not None:
        file.vmas.remove(vma)
        if not file.vmas and file.unlinked:
            drop_file(k, file.id)


def drop_file(k: Kernel, number: int) -> None:
    """The last user of an unlinked file is gone: its pages leave the page cache."""
    file = k.files.pop(number)
    for head in file.pages.values():
        k.frames.mapping[head] = 0
        k.put(head, "cache")
    file.pages.clear()


def split_at(k: Kernel, t: Task, mm: Mm, vpn: int) -> Steps[None]:
    """Make `vpn` a boundary between VMAs; a PMD-size entry that it cuts is split.  mmap_lock is held for writing.

    Raises EINVAL inside of a hugetlb page, ENOMEM without a page table.
    """
    vma = mm.find(vpn)
    if vma is None or vma.start == vpn:
        return
    if vma.flags & HUGETLB and vpn % HUGE:
        raise Errno("EINVAL")
    if vpn % HUGE and mm.pmd.get(vpn >> 9, 0) & e.KIND not in (e.NONE, e.TABLE):
        yield from mm.pmd_lock.acquire(t)
        good = split_pmd(k, mm, vpn >> 9)
        mm.pmd_lock.release(t)
        if not good:
            raise Errno("ENOMEM")
    enlist(vma.part(vpn, vma.end))
    vma.end = vpn


def carve(k: Kernel, t: Task, mm: Mm, start: int, end: int) -> Steps[list[Vma]]:
    """The VMAs of `[start, end)`, split so that none sticks out."""
    yield from split_at(k, t, mm, start)
    yield from split_at(k, t, mm, end)
    return mm.overlapping(start, end)


def covered(mm: Mm, start: int, end: int) -> bool:
    """Whether VMAs cover the range without a gap."""
    at = start
    for vma in mm.overlapping(start, end):
        if vma.start > at:
            return False
        at = vma.end
    return at >= end


def join(k: Kernel, mm: Mm, start: int, end: int) -> None:
    """Join neighbours around the range that differ in nothing (vma_merge)."""
    previous: Vma | None = None
    for vma in mm.overlapping(max(0, start - 1), end + 1):
        if previous is not None and _alike(previous, vma):
            if previous.anon is None and vma.anon is not None:
                for anon in vma.chain:
                    anon.vmas.append(previous)
                previous.anon, previous.chain = vma.anon, list(vma.chain)
            finish = vma.end
            unlist(k, vma)
            previous.end = finish
            previous.flags |= vma.flags & SOFTDIRTY  # what is joined is new as a whole, if a part of it is
        else:
            previous = vma


def _alike(one: Vma, other: Vma) -> bool:
    same = not (one.flags ^ other.flags) & ~SOFTDIRTY and one.file is other.file and one.driver is other.driver
    anon = one.anon is other.anon or one.anon is None or other.anon is None
    chain = one.chain == other.chain or one.anon is None or other.anon is None
    return one.end == other.start and same and anon and chain and one.index(one.end) == other.offset

"""The list of VMAs: splitting, joining, and the lists that know them (reverse maps, files)."""

from __future__ import annotations

from hmmspec.ref.errors import Errno
from hmmspec.ref.frames import HUGE
from hmmspec.ref.spaces import HUGETLB, SOFTDIRTY, SPECIAL, AnonVma, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.thp import split_told


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


def forget_pages(k: Kernel, vma: Vma) -> None:
    """No page of a VMA is left: it is in no reverse map any more, as if it had never been used (unlink_anon_vmas)."""
    for anon in vma.chain:
        anon.vmas.remove(vma)
        if not anon.vmas:
            k.anons.pop(anon.id, None)
    vma.anon, vma.chain = None, []
    if vma.anonymous:
        vma.offset = vma.start


def drop_file(k: Kernel, number: int) -> None:
    """The last user of an unlinked file is gone: its pages leave the page cache."""
    file = k.files.pop(number)
    if file.huge:
        k.huge_pages.promised -= file.size // HUGE - len(file.pages)
    for head in file.pages.values():
        k.frames.mapping[head] = 0
        k.put(head, "cache")
    file.pages.clear()


def split_at(k: Kernel, t: Task, mm: Mm, vpn: int) -> Steps[None]:
    """Make `vpn` a boundary between VMAs; a PMD-size entry that it cuts is split.  mmap_lock is held for writing.

    Devices are told of the 2 MiB around it, whether an entry is split or not (split_huge_pmd_address).  Raises EINVAL
    inside of a hugetlb page, ENOMEM without a page table.
    """
    vma = mm.find(vpn)
    if vma is None or vma.start == vpn:
        return
    if vma.flags & HUGETLB and vpn % HUGE:
        raise Errno("EINVAL")
    low = vpn // HUGE * HUGE
    if vpn % HUGE and vma.start <= low and low + HUGE <= vma.end and not (yield from split_told(k, t, mm, vpn >> 9)):
        raise Errno("ENOMEM")
    enlist(vma.part(vpn, vma.end))
    vma.end = vpn
    _put_last(vma)


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


def areas(mm: Mm, start: int, end: int) -> list[tuple[int, int]]:
    """What is mapped of a range, VMA by VMA: who changes one may join it with others."""
    return [(max(start, vma.start), min(end, vma.end)) for vma in mm.overlapping(start, end)]


def modify(k: Kernel, t: Task, vma: Vma, start: int, end: int, flags: int) -> Steps[Vma]:
    """Give the part `[start, end)` of a VMA these flags, and answer the VMA that it belongs to then (vma_modify).

    That is a neighbour with the same flags, or the part split off.  Only what is changed is held against its
    neighbours: VMAs that became alike in another way stay apart.  Raises EINVAL, ENOMEM as `split_at`.
    """
    mm = vma.mm
    yield from split_at(k, t, mm, start)
    yield from split_at(k, t, mm, end)
    vma = mm.overlapping(start, end)[0]
    vma.flags = flags
    return _merge(k, vma, existing=True)


def settle(k: Kernel, vma: Vma, apart: Vma | None = None) -> Vma:
    """Join a new VMA with its neighbours, `apart` left out; what it belongs to then (vma_merge_new_range)."""
    return _merge(k, vma, existing=False, apart=apart)


def _merge(k: Kernel, vma: Vma, existing: bool, apart: Vma | None = None) -> Vma:
    """The neighbour that is joined keeps its place in all lists, the lower one if there are two.

    An existing VMA gives its flags to what becomes of it, a new one takes those of the neighbour: so VMAs that are
    soft-dirty may lose that, but where `joined_stays_soft_dirty`.
    """
    if vma.flags & (SPECIAL | HUGETLB):
        return vma
    near = vma.mm.vmas
    at, source = near.index(vma), vma if existing else None
    low = near[at - 1] if at and near[at - 1] is not apart else None
    high = near[at + 1] if at + 1 < len(near) and near[at + 1] is not apart else None
    if low is not None and not (_follows(low, vma) and _may_share(k, source, vma.anon, low)):
        low = None
    if high is not None and not (_follows(vma, high) and _may_share(k, source, vma.anon, high)):
        high = None
    if low is not None and high is not None and low.anon and high.anon and low.anon is not high.anon:
        high = None
    kept = low or high
    if kept is None:
        return vma
    gone = [other for other in (vma, high) if other is not None and other is not kept]
    soft = (kept.flags | vma.flags | (high.flags if high is not None else 0)) & SOFTDIRTY
    if kept.anon is None:
        used = next((other for other in reversed(gone) if other.anon is not None), None)
        if used is not None:
            kept.anon, kept.chain = used.anon, list(used.chain)
            for anon in kept.chain:
                anon.vmas.append(kept)
    if existing:
        kept.flags = vma.flags
    if "joined_stays_soft_dirty" in k.profile:
        kept.flags |= soft
    start, end = min(kept.start, vma.start), max(kept.end, vma.end, high.end if high is not None else 0)
    for other in gone:
        unlist(k, other)
    kept.offset, kept.start, kept.end = kept.index(start), start, end
    _put_last(kept)
    return kept


def _put_last(vma: Vma) -> None:
    """A VMA of another size is put into its reverse maps anew."""
    for anon in vma.chain:
        anon.vmas.remove(vma)
        anon.vmas.append(vma)


def _follows(one: Vma, other: Vma) -> bool:
    """Whether two VMAs, in this order, are one mapping but for their reverse maps."""
    same = not (one.flags ^ other.flags) & ~SOFTDIRTY and one.file is other.file and one.opened == other.opened
    return same and one.driver is other.driver and one.end == other.start and one.index(one.end) == other.offset


def _may_share(k: Kernel, source: Vma | None, anon: AnonVma | None, target: Vma) -> bool:
    """Whether a VMA with this reverse map can be joined to `target`.

    Not where they have different ones, nor where that would bring one with forked relations to a VMA without.  Linux
    6.12 looks at the target for the latter also where the target has none: a neighbour whose memory was never used
    then does not take in one whose memory was.
    """
    if anon is None or target.anon is None:
        if "joins_untouched" not in k.profile:
            return len(target.chain) == 1 or anon is target.anon
        used = target if target.anon is not None else source
        return used is None or len(used.chain) <= 1
    return anon is target.anon

"""Counting mappings: mapcount, RSS, and the exclusive mark of anonymous pages.  Nothing in here yields.

NOTE(counts): a mapping entry (PRES, PROTNONE, DEVPRIV, DEVEXCL; of either size) counts once in `mapcount` of its frame,
or in `entire` of the head, and holds one reference of the head.  A migration entry counts in neither, but in the RSS.

Sources: `mm/rmap.c` (folio_add_anon_rmap_pte, folio_remove_rmap_pte, folio_try_share_anon_rmap_pte and
folio_try_dup_anon_rmap_pte), `include/linux/mm.h` (mm counters); device pages count as anonymous memory.
"""

from __future__ import annotations

from hmmspec.ref.frames import ANON, EXCLUSIVE, HUGE, HUGETLB, PRIVATE_DEVICE, RESERVED, SWAPBACKED
from hmmspec.ref.spaces import READ, SOFTDIRTY, WRITE, AnonVma, Mm, Vma
from hmmspec.ref.state import Kernel


def anon_prepare(k: Kernel, vma: Vma) -> AnonVma:
    """The reverse map for new anonymous pages of a VMA; when it has none it takes that of a neighbour, so that mprotect
    may join them one day, or a new one (anon_vma_prepare)."""
    return vma.anon or own_reverse_map(vma, _reusable(vma) or k.new_anon())


def own_reverse_map(vma: Vma, anon: AnonVma) -> AnonVma:
    """Where new anonymous pages of the VMA go from now on."""
    vma.anon = anon
    vma.chain.append(anon)
    anon.vmas.append(vma)
    return anon


def _reusable(vma: Vma) -> AnonVma | None:
    """The reverse map of the next VMA, or of the one before, if they differ at most in what mprotect may change; none
    that went through a fork."""
    vmas = vma.mm.vmas
    at = vmas.index(vma)
    for one, other, old in ((at, at + 1, at + 1), (at - 1, at, at - 1)):
        if 0 <= old < len(vmas) and _compatible(vmas[one], vmas[other]) and len(vmas[old].chain) == 1:
            if (anon := vmas[old].anon) is not None:
                return anon
    return None


def _compatible(low: Vma, high: Vma) -> bool:
    flags = (low.flags ^ high.flags) & ~(READ | WRITE | SOFTDIRTY)
    same = not flags and low.file is high.file and low.opened == high.opened and low.driver is high.driver
    return same and low.end == high.start and low.index(low.end) == high.offset


def add_anon(k: Kernel, vma: Vma, vpn: int, pfn: int, exclusive: bool, huge: bool = False) -> None:
    """Count one more mapping of an anonymous page; the first one says where the page is found (its mapping and index).

    A page that may be shared belongs to the oldest reverse map of the VMA, which every process that may map it is in.
    """
    f = k.frames
    head = pfn - f.tail[pfn]
    if not f.mapping[head]:
        own = anon_prepare(k, vma)
        f.mapping[head] = own.id if exclusive else vma.chain[0].id
        f.index[head] = vma.index(vpn) - (pfn - head)
        f.flags[head] |= ANON | SWAPBACKED
    _count(k, pfn, head, huge)
    if exclusive:
        f.flags[pfn] |= EXCLUSIVE


def take_over(k: Kernel, vma: Vma, pfn: int) -> None:
    """An anonymous page that was shared once is the VMA's alone now: it is found by the VMA's own reverse map, and who
    shared it is not looked at (nor told) any more (folio_move_anon_rmap)."""
    f = k.frames
    f.mapping[pfn - f.tail[pfn]] = anon_prepare(k, vma).id
    f.flags[pfn] |= EXCLUSIVE


def add_file(k: Kernel, pfn: int, huge: bool = False) -> None:
    """Count one more mapping of a page of a file, or of one that a driver put in."""
    _count(k, pfn, pfn - k.frames.tail[pfn], huge)


def _count(k: Kernel, pfn: int, head: int, huge: bool) -> None:
    if huge:
        k.frames.entire[head] += 1
    else:
        k.frames.mapcount[pfn] += 1


def dup(k: Kernel, pfn: int, huge: bool = False) -> None:
    """fork: one more mapping of the same page, which is nobody's alone from now on."""
    head = pfn - k.frames.tail[pfn]
    _count(k, pfn, head, huge)
    k.frames.flags[pfn] &= ~EXCLUSIVE


def remove(k: Kernel, pfn: int, huge: bool = False) -> None:
    """One mapping less; the mapping's reference and the RSS are the caller's."""
    f = k.frames
    head = pfn - f.tail[pfn]
    column, at = (f.entire, head) if huge else (f.mapcount, pfn)
    if column[at] <= 0:
        k.report("I2", f"the mapcount of frame {pfn} drops below zero")
        return
    column[at] -= 1


def account(k: Kernel, mm: Mm, pfn: int, n: int) -> None:
    """Add `n` base pages to the RSS that the frame counts in; pages of hugetlb count in none."""
    if k.frames.flags[pfn - k.frames.tail[pfn]] & HUGETLB:
        return
    if k.frames.flags[pfn - k.frames.tail[pfn]] & ANON:
        mm.rss_anon += n
    else:
        mm.rss_file += n


def may_be_pinned(k: Kernel, pfn: int) -> bool:
    return bool(k.frames.pins[pfn - k.frames.tail[pfn]])


def try_share(k: Kernel, pfn: int) -> bool:
    """Give up that a page is exclusive before its entry becomes something that is not present.

    False: it may be pinned, and a pinned page stays exclusive and mapped.  Private device pages are never pinned.
    """
    f = k.frames
    if not f.flags[pfn] & EXCLUSIVE:
        return True
    if not f.flags[pfn - f.tail[pfn]] & PRIVATE_DEVICE and may_be_pinned(k, pfn):
        return False
    f.flags[pfn] &= ~EXCLUSIVE
    return True


def is_exclusive(k: Kernel, pfn: int) -> bool:
    return bool(k.frames.flags[pfn] & EXCLUSIVE)


def counted(k: Kernel, pfn: int) -> bool:
    """Whether the frame has counts at all (the zero page has none)."""
    return not k.frames.flags[pfn] & RESERVED


def pages_of(huge: bool) -> int:
    return HUGE if huge else 1

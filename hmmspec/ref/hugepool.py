"""The pool of hugetlb pages: how many are in nobody's hands, and how many of these are promised to a mapping.

A private mapping is promised a page for each of its 2 MiB when it is made, and so is a shared file: their first touch
finds one.  Who comes later is promised nothing: a child after fork, the owner who copies a page that a child has, too.
They get what nobody was promised, if there is any.

Source: `mm/hugetlb.c` (hugetlb_reserve_pages, alloc_hugetlb_folio, hugetlb_vm_op_close, free_huge_folio).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hmmspec.ref.frames import ANON, HUGE, Frames
from hmmspec.ref.spaces import HUGETLB, SHARED, Vma


@dataclass(eq=False)
class HugePages:
    """`free`: pages that nobody has; `promised` of these are for mappings that did not take theirs yet.

    returning: heads that are promised to their mapping again when they are free.
    """

    free: int
    promised: int = 0
    returning: set[int] = field(default_factory=set)

    @property
    def available(self) -> int:
        """Pages that may still be promised, or be given to somebody who was promised none."""
        return self.free - self.promised

    def promise(self, count: int) -> bool:
        """Promise so many pages; False: there are fewer."""
        if self.available < count:
            return False
        self.promised += count
        return True

    def take(self, own: bool) -> bool:
        """One page less is free; `own`: it had been promised."""
        if self.free <= 0 or (not own and self.available <= 0):
            return False
        self.free -= 1
        self.promised -= own
        return True

    def put(self, head: int) -> None:
        """A page is free again."""
        self.free += 1
        if head in self.returning:
            self.returning.remove(head)
            self.promised += 1


def close(pool: HugePages, vma: Vma) -> None:
    """A mapping goes: what it was promised and did not take is for others."""
    if vma.flags & HUGETLB and vma.taken is not None:
        inside = range(vma.offset, vma.offset + vma.end - vma.start)
        pool.promised -= (vma.end - vma.start) // HUGE - sum(index in inside for index in vma.taken)


def unmapped(pool: HugePages, f: Frames, vma: Vma, first: int, head: int) -> None:
    """The owner's mapping of a page went, and nobody else has one: it is promised that page, or another, once more."""
    if vma.taken is not None and not vma.flags & SHARED and f.flags[head] & ANON and not f.folio_mapcount(head):
        vma.taken.discard(vma.index(first))
        pool.returning.add(head)


def not_used(pool: HugePages, vma: Vma, first: int, head: int, own: bool) -> None:
    """A page that was taken for this place is given back at once; `own`: it had been promised."""
    if own:
        pool.returning.add(head)
        if vma.taken is not None:
            vma.taken.discard(vma.index(first))

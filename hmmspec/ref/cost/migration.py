"""What Linux does on the CPU to move pages: calls, pages, PMD-size pages, flushes, and the copy where a CPU does it.

`T = calls x call + pages x page + PMD pages x huge + flushes + bytes / rate`.  A PMD-mapped page that moves whole takes
another path than 512 base pages: its constants are its own, and are never an average with the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hmmspec.ref.cost.units import PMD, Impossible, chunks, ps_for, wanted


@dataclass(frozen=True)
class Flush:
    """One flush of CPU TLBs.

    call_ps: the interrupt to the other CPUs and its answer; page_ps: each page; most_pages: from so many on the whole
    TLB is flushed instead, which costs as much as that many pages.
    """

    call_ps: int = 0
    page_ps: int = 0
    most_pages: int = 33

    def __post_init__(self) -> None:
        wanted("call_ps of a flush", self.call_ps)
        wanted("page_ps of a flush", self.page_ps)
        wanted("most_pages of a flush", self.most_pages, 1)

    def ps(self, pages: int) -> int:
        """One flush of a range of `pages` pages; nothing to flush costs nothing."""
        return self.call_ps + self.page_ps * min(pages, self.most_pages) if pages else 0


@dataclass(frozen=True)
class Migration:
    """The CPU's part of page migration.

    call_ps: each call; folio_ps: each base page or larger folio that is not PMD-mapped; huge_ps: each PMD-mapped folio.
    copy_rate, huge_copy_rate: bytes a second where a CPU copies, in base pages and in PMD-size pages.
    flush, flush_batch: a flush for each so many pages of a call; where a measured folio_ps has flushes in it already,
    the flush is free.
    """

    call_ps: int = 0
    folio_ps: int = 0
    huge_ps: int = 0
    copy_rate: int = 7_180_000_000
    huge_copy_rate: int = 11_080_000_000
    flush: Flush = field(default_factory=Flush)
    flush_batch: int = 512

    def __post_init__(self) -> None:
        for name in ("call_ps", "folio_ps", "huge_ps"):
            wanted(name, getattr(self, name))
        for name in ("copy_rate", "huge_copy_rate", "flush_batch"):
            wanted(name, getattr(self, name), 1)

    def bookkeeping_ps(self, folios: int, huge: int = 0, calls: int = 1) -> int:
        """`calls` calls that move `folios` folios and `huge` PMD-mapped ones, without flushes and without the copy."""
        for name, number in (("folios", folios), ("PMD-size pages", huge), ("calls", calls)):
            wanted(f"the number of {name}", number)
        return calls * self.call_ps + folios * self.folio_ps + huge * self.huge_ps

    def flushes_ps(self, pages: int) -> int:
        """The flushes of one call that unmaps `pages` pages."""
        whole, rest = divmod(wanted("the number of pages", pages), self.flush_batch)
        return whole * self.flush.ps(self.flush_batch) + self.flush.ps(rest)

    def copy_ps(self, size: int, *, huge: bool = False) -> int:
        """A copy of `size` bytes by the CPU."""
        return ps_for(wanted("the size of a copy", size), self.huge_copy_rate if huge else self.copy_rate)

    def by_cpu_ps(self, size: int, folio: int, *, calls: int = 1, pmd_mapped: bool = False) -> int:
        """`size` bytes in folios of `folio` bytes each, moved from system memory to system memory by a CPU.

        pmd_mapped: take the path of PMD-size pages; folio must be that size.  Raises Impossible.
        """
        folios = chunks(wanted("the size", size), wanted("the size of a folio", folio, 1))
        if pmd_mapped:
            if folio != PMD:
                raise Impossible("HMM141", f"a PMD maps {PMD} bytes, not {folio}")
            return self.bookkeeping_ps(0, folios, calls) + self.flushes_ps(folios) + self.copy_ps(size, huge=True)
        return self.bookkeeping_ps(folios, 0, calls) + self.flushes_ps(folios) + self.copy_ps(size)

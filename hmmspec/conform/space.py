"""Address spaces as a program knows them: which page is mapped how, and which piece of memory is behind it.

No frames, no page tables, no devices: only what the mapping calls promise.  The oracle keeps the data in it, and the
generator of random programs uses it to choose commands that have something to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hmmspec.conform.commands import PMD_PAGES

ANONYMOUS = frozenset({"private", "shared", "hugetlb", "device"})
COPIED = frozenset({"private", "file_private", "hugetlb", "device"})  # a fork's child gets a copy
CACHED = frozenset({"file_private", "device"})  # not the process' own page until it is written


class Cell:
    """A page of memory as far as its contents go.

    values: the stamps that it may hold now; None: nothing is known.  lazy: MADV_FREE was called and nothing written
    since, so that it may turn into zero at any moment.
    """

    __slots__ = ("lazy", "values")

    def __init__(self, *values: int) -> None:
        self.values: frozenset[int] | None = frozenset(values)
        self.lazy = False

    def copy(self) -> Cell:
        """Another page with the same contents."""
        out = Cell()
        out.values, out.lazy = self.values, self.lazy
        return out

    def write(self, *values: int) -> None:
        """It holds one of these now."""
        self.values, self.lazy = frozenset(values), False

    def maybe(self, *values: int) -> None:
        """It holds one of these now, or what it held."""
        if self.values is not None:
            self.values |= frozenset(values)

    def forget(self) -> None:
        """It may hold anything."""
        self.values, self.lazy = None, False

    def read(self, value: int) -> bool:
        """This was read: whether it can be.  If so that is what it holds."""
        if self.values is not None and value not in self.values:
            return False
        self.values = frozenset({value, 0}) if self.lazy else frozenset({value})
        if value == 0:
            self.lazy = False
        return True


@dataclass
class Slot:
    """A mapped page.  `cell` is None for a private page of a file that was never written: the file's page is seen."""

    prot: str
    kind: str
    source: str | None = None
    index: int = 0
    cell: Cell | None = None
    inherited: bool = True  # by a fork's child
    unknown: bool = False  # whether it is mapped at all, and how, is not known
    demoted: bool = False  # its entry may have lost write permission (fork, mprotect) that a fault would give back

    @property
    def readable(self) -> bool:
        return self.prot != "none"

    @property
    def writable(self) -> bool:
        return self.prot == "rw"


@dataclass
class Hold:
    """Pages that somebody in the kernel keeps.  A None among the cells: what is seen there is not known."""

    cells: list[Cell | None]
    write: bool
    pin: bool


@dataclass
class Space:
    """One process: its pages, the devices that it has open, what is held of it."""

    slots: dict[int, Slot] = field(default_factory=dict)
    devices: set[str] = field(default_factory=set)
    holds: dict[str, Hold] = field(default_factory=dict)

    def range(self, page: int, count: int) -> Iterator[Slot | None]:
        """The slots of pages, in order."""
        get = self.slots.get
        return (get(p) for p in range(page, page + count))

    def unmap(self, page: int, count: int) -> None:
        """Take pages out."""
        for p in range(page, page + count):
            self.slots.pop(p, None)

    def doubt(self, page: int, count: int) -> None:
        """Nothing is known any more about these pages."""
        for p in range(page, page + count):
            self.slots[p] = Slot("rw", "private", cell=None, unknown=True)

    def mapped(self, page: int, count: int) -> bool:
        """Whether every page is mapped (or may be)."""
        return all(s is not None for s in self.range(page, count))

    def splits_hugetlb(self, page: int, count: int) -> bool:
        """Whether an end of the range is inside a hugetlb page, which cannot be split."""
        return self.cuts_hugetlb(page) or self.cuts_hugetlb(page + count)

    def cuts_hugetlb(self, page: int) -> bool:
        """Whether a hugetlb page goes on here."""
        slot = self.slots.get(page)
        return bool(page % PMD_PAGES) and slot is not None and slot.kind == "hugetlb"

    def whole(self, page: int, count: int) -> int:
        """How many pages mremap moves: those of hugetlb go whole."""
        slot = self.slots.get(page)
        return count + -count % PMD_PAGES if slot is not None and slot.kind == "hugetlb" else count

    def move(self, page: int, count: int, to: int, keep: bool) -> None:
        """mremap: the slots travel; with `keep` (DONTUNMAP) the old place stays mapped and empty."""
        moved = [(p - page + to, self.slots.pop(p)) for p in range(page, page + count) if p in self.slots]
        self.unmap(to, count)
        for at, slot in moved:
            self.slots[at] = slot
            if keep:
                cell = Cell(0) if slot.kind == "private" else slot.cell if slot.kind in {"shared", "file"} else None
                self.slots[at - to + page] = Slot(
                    slot.prot, slot.kind, slot.source, slot.index, cell, slot.inherited, slot.unknown
                )

    def forked(self) -> Space:
        """The space of a child.  What a fork does to the parent, one that fails half-way may have done, too."""
        out = Space()
        for page, slot in self.slots.items():
            slot.demoted = True
            if slot.inherited:
                cell = slot.cell.copy() if slot.cell is not None and slot.kind in COPIED else slot.cell
                out.slots[page] = Slot(slot.prot, slot.kind, slot.source, slot.index, cell, True, slot.unknown, True)
        for hold in self.holds.values():
            if not hold.pin:
                # After a fork either side may get the copy: only pins promise to stay with the parent's page.
                hold.cells = [None] * len(hold.cells)
        return out


def pages(command: object) -> Iterable[int]:
    """The pages that a command names."""
    page, count = getattr(command, "page", None), getattr(command, "count", 1)
    return () if page is None else range(page, page + count)

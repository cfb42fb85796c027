"""What an address space is made of: processes' `Mm`, their `Vma`s, reverse maps, files and memcgs.  Data only.

Addresses are virtual page numbers (`vpn`) everywhere; ranges are half open, `[start, end)`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref.frames import PAGE
from hmmspec.ref.tasks import Mutex, RwLock

READ: Final = 1
WRITE: Final = 2
SHARED: Final = 4  # MAP_SHARED: stores are seen by all who map it
HUGETLB: Final = 8
MIXEDMAP: Final = 16  # a driver put single pages in (the test device's mmap)
PFNMAP: Final = 32  # a driver put bare pfns in: no pages behind them
HUGEPAGE: Final = 64  # MADV_HUGEPAGE
NOHUGEPAGE: Final = 128
UFFD_MISSING: Final = 256  # userfaultfd is told of missing pages
UFFD_WP: Final = 512  # userfaultfd write protection is armed
DAX: Final = 1024
IO: Final = 2048
SPECIAL: Final = PFNMAP | IO | MIXEDMAP  # VM_SPECIAL: migrate_vma refuses them
MAY_WRITE: Final = 4096  # mprotect may make it writable
DONTFORK: Final = 1 << 16  # a child does not get this mapping (VM_DONTCOPY)
ACCOUNT: Final = 1 << 17  # its pages count as committed: private and once writable (VM_ACCOUNT)
SOFTDIRTY: Final = 8192  # a new mapping: all of it counts as written since the program last cleared soft-dirty


@dataclass(eq=False)
class AnonVma:
    """The reverse map of anonymous pages: every VMA that may map a page whose `mapping` is this id."""

    id: int
    vmas: list[Vma] = field(default_factory=list)
    lock: RwLock = field(default_factory=lambda: RwLock("anon_vma"))


@dataclass(eq=False)
class File:
    """A file with its page cache; shared anonymous memory is one without a disk (shmem).

    `pages` maps the page's index to the head of its folio (the cache holds one reference); `disk` has the bytes.
    """

    id: int
    name: str
    size: int  # pages
    disk: NDArray[np.uint8] | None = None
    pages: dict[int, int] = field(default_factory=dict)
    vmas: list[Vma] = field(default_factory=list)
    lock: RwLock = field(default_factory=lambda: RwLock("i_mmap"))
    unlinked: bool = False  # dropped with its last mapping
    huge: bool = False  # hugetlbfs: every 512th index has a folio, of 512 pages

    @classmethod
    def on_disk(cls, number: int, name: str, size: int) -> File:
        return cls(number, name, size, np.zeros((size, PAGE), np.uint8))


@dataclass(eq=False)
class Vma:
    """One mapping.  `offset` is the page offset of `start` in the file, or the anonymous index (mremap keeps it)."""

    mm: Mm
    start: int
    end: int
    flags: int
    offset: int
    file: File | None = None
    anon: AnonVma | None = None  # where new anonymous pages of this VMA go
    chain: list[AnonVma] = field(
        default_factory=list
    )  # all reverse maps it is in (its own, and of those it was forked from)
    driver: object | None = None  # whose mmap made it (MIXEDMAP, PFNMAP)
    opened: int = 0  # which open of the file was mapped: each mmap opens it anew
    # hugetlb, private: the indices whose promised page was taken (one set for all parts of a mapping); None: no page
    # was promised, as to a child.  And whether a page of it was taken away for its owner, since the pool was empty.
    taken: set[int] | None = None
    bereft: bool = False

    def index(self, vpn: int) -> int:
        return vpn - self.start + self.offset

    def address(self, index: int) -> int:
        """Where the page of that index would be mapped; may be outside of the VMA."""
        return index - self.offset + self.start

    @property
    def anonymous(self) -> bool:
        """vma_is_anonymous: private memory without a file.  Shared anonymous memory has a shmem file."""
        return self.file is None and not self.flags & (SPECIAL | HUGETLB)

    @property
    def cow(self) -> bool:
        """Private and possibly writable: fork has to copy or share its pages on write."""
        return not self.flags & SHARED and bool(self.flags & MAY_WRITE)

    def part(self, start: int, end: int) -> Vma:
        """A VMA for a part of this one; it is in no list yet."""
        return replace(self, start=start, end=end, offset=self.index(start), chain=list(self.chain))

    def __repr__(self) -> str:
        return f"vma {self.start}-{self.end} of {self.mm.name}"


@dataclass(eq=False)
class Memcg:
    """A memory control group: pages charged to it, and how many may be."""

    id: int
    limit: int | None = None
    charged: int = 0


@dataclass(eq=False)
class Mm:
    """One address space.

    `pmd` maps a PMD index (vpn // 512) to its entry: TABLE with a row of the pool, or a PMD-size entry.  `rss_anon`,
    `rss_file` and `rss_swap` are in base pages.  `users` counts what keeps it alive (threads, `mmget`); it is dead at
    0. The fields for notifiers are those of NOTE(sequence-machine) in notifier.py.
    """

    id: int
    name: str
    memcg: Memcg | None = None
    vmas: list[Vma] = field(default_factory=list)  # by start
    pmd: dict[int, int] = field(default_factory=dict)
    mmap_lock: RwLock = field(default_factory=lambda: RwLock("mmap_lock"))
    pmd_lock: Mutex = field(default_factory=lambda: Mutex("pmd lock", spin=True))
    rss_anon: int = 0
    rss_file: int = 0
    rss_swap: int = 0
    users: int = 1
    dead: bool = False
    reaped: bool = False  # the OOM reaper took it: no new pages may be put in
    notifiers: object | None = None  # notifier.Subscriptions, made with the first subscription

    def find(self, vpn: int) -> Vma | None:
        """The VMA that holds the page."""
        i = bisect_right(self.vmas, vpn, key=_start) - 1
        if i >= 0:
            vma = self.vmas[i]
            if vpn < vma.end:
                return vma
        return None

    def overlapping(self, start: int, end: int) -> list[Vma]:
        """The VMAs that share a page with the range, by address."""
        i = max(0, bisect_right(self.vmas, start, key=_start) - 1)
        found = []
        for vma in self.vmas[i:]:
            if vma.start >= end:
                break
            if vma.end > start:
                found.append(vma)
        return found

    def insert(self, vma: Vma) -> None:
        self.vmas.insert(bisect_right(self.vmas, vma.start, key=_start), vma)

    def __repr__(self) -> str:
        return self.name


@dataclass(eq=False)
class Fault:
    """One page fault: where, for what, and the entry as it was sampled (without a lock).

    `slot` is the place of the entry in the pool; None: it is a PMD-size entry (the kernel's `vmf->pte` is NULL).
    """

    mm: Mm
    vma: Vma
    vpn: int
    write: bool
    word: int = 0
    slot: int | None = None

    @property
    def huge(self) -> bool:
        return self.slot is None


def _start(vma: Vma) -> int:
    return vma.start

"""Page-table entries: one 64-bit word each, and the formulas that turn one into another.

An entry is `kind | bits | payload << 16`.  The payload is a frame number (PRES, DEVPRIV, MIGR, DEVEXCL, ZERO,
HWPOISON), a swap slot (SWAP), a row of the pool of page tables (TABLE) or which marker it is (MARKER).  Every formula
is made of bit operations without a branch, so that it takes one word (an `int`) or an array of them (`numpy.int64`):
that is how the stepped and the bulk driver share each rule.

Sources: the kinds and what they hold are those of Linux' page-table entries as HMM meets them:
`include/linux/swapops.h` (newer: `leafops.h`) for the non-present ones, `mm/migrate_device.c`, `mm/rmap.c`,
`mm/migrate.c` (`remove_migration_pte`), `mm/memory.c` (`copy_nonpresent_pte`, `restore_exclusive_pte`) and
`mm/mprotect.c` for the conversions.
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.int64]
W_ = TypeVar("W_", int, Words)

KIND: Final = 15
NONE: Final = 0
PRES: Final = 1  # a mapping the CPU may use; WRITE says how
ZERO: Final = 2  # the shared zero page, read-only, without a count
PROTNONE: Final = 3  # a mapping nobody may use now (mprotect to none, NUMA hint)
SWAP: Final = 4  # payload: the swap slot
DEVPRIV: Final = 5  # a page of private device memory: counts as a mapping, a CPU access faults
MIGR: Final = 6  # its page is locked by a migrator; counts as no mapping
DEVEXCL: Final = 7  # a system page that a device uses exclusively: counts as a mapping
SPECIAL: Final = 8  # a pfn without a page behind it (VM_PFNMAP)
MARKER: Final = 9  # payload: UFFD_MARK, POISON_MARK or GUARD_MARK
HWPOISON: Final = 10  # the page is broken; payload: its frame
TABLE: Final = 15  # only above the last level; payload: a row of the pool

UFFD_MARK, POISON_MARK, GUARD_MARK = 1, 2, 3

WRITE: Final = 1 << 4
YOUNG: Final = 1 << 5
DIRTY: Final = 1 << 6
SOFT: Final = 1 << 7  # soft-dirty: written since the program last cleared it
UFFD: Final = 1 << 8  # userfaultfd write protection
EXCL: Final = (
    1 << 9
)  # in MIGR, SWAP and DEVEXCL only: the page was exclusive to this process (a flag of the page when present)
HIDDEN: Final = 1 << 10  # in ZERO only: the VMA allows no access (mprotect to none); present all the same
BITS: Final = 0xFFF0
SHIFT: Final = 16

NAMES: Final = {
    NONE: "none", PRES: "present", ZERO: "zero", PROTNONE: "protnone", SWAP: "swap", DEVPRIV: "device-private", MIGR:
    "migration", DEVEXCL: "device-exclusive", SPECIAL: "special", MARKER: "marker", HWPOISON: "hwpoison", TABLE:
    "table",
}  # fmt: skip
MAPPING_KINDS: Final = (PRES, PROTNONE, DEVPRIV, DEVEXCL)  # these hold a reference and a mapcount of their page
CACHED_KINDS: Final = (PRES, ZERO, PROTNONE, SPECIAL)  # a CPU may have a translation of these: to be flushed
MAPPING_MASK: Final = sum(1 << kind for kind in MAPPING_KINDS)


def entry(kind: int, payload: int = 0, bits: int = 0) -> int:
    return kind | bits | payload << SHIFT


def kind(e: W_) -> W_:
    return e & KIND


def frame(e: W_) -> W_:
    """The payload: frame, swap slot or row."""
    return e >> SHIFT


def is_mapping(e: int) -> bool:
    """Whether the entry holds a reference and counts in its page's mapcount."""
    return bool(MAPPING_MASK >> (e & KIND) & 1)


def flag(e: W_, bit: int) -> W_:
    """1 where the entry has the bit (one bit), else 0."""
    return (e & bit) // bit


def write_protect(e: W_) -> W_:
    """fork and mprotect: the same entry without write permission."""
    return e & ~WRITE


def to_migration(e: W_, exclusive: W_, keep_age: int = 1) -> W_:
    """The migration entry for a mapping (PRES, DEVPRIV, DEVEXCL): same page; W if it was writable, else X if exclusive.

    `exclusive` is 1 where the page is exclusive to the process.  Soft-dirty and uffd-wp stay; young and dirty stay for
    present entries (`keep_age` 1).  A device-exclusive entry counts as old, clean and read-only: who may write faults
    first.
    """
    writable = e & WRITE & ~(((e & KIND) == DEVEXCL) * WRITE)
    age = e & ((YOUNG | DIRTY) * keep_age)
    word: W_ = (
        (e & ~(KIND | BITS))
        | MIGR
        | writable
        | (exclusive * EXCL & ~(writable // WRITE * EXCL))
        | age
        | (e & (SOFT | UFFD))
    )
    return word


def from_migration(e: W_, to: W_, private: W_, dirty: W_, hidden: int = 0) -> W_:
    """The mapping that replaces a migration entry: of frame `to`, device-private where `private` is 1; `hidden` 1: in a
    VMA that allows no access (PROTNONE in place of PRES).

    Write permission as saved, but not where uffd-wp is set on a present entry; dirty only where the entry AND the page
    (`dirty` 1) say so (`remove_migration_pte`); a device-private entry has no age.
    """
    present = 1 - private
    bits = e & (SOFT | UFFD)
    writable = e & WRITE & ~(flag(e, UFFD) * present * WRITE)
    age = (e & YOUNG | (e & DIRTY) * dirty) * present
    return (
        PRES + (DEVPRIV - PRES) * private + (PROTNONE - PRES) * present * hidden | writable | bits | age | to << SHIFT
    )


def to_swap(e: W_, slot: W_, exclusive: W_) -> W_:
    """The swap entry for a present mapping (`try_to_unmap_one`): exclusive, soft-dirty and uffd-wp are kept."""
    return SWAP | (e & (SOFT | UFFD)) | exclusive * EXCL | slot << SHIFT


def to_exclusive(e: W_) -> W_:
    """The device-exclusive entry for a present mapping (`make_device_exclusive`): soft-dirty and uffd-wp are kept."""
    return DEVEXCL | (e & (SOFT | UFFD)) | e >> SHIFT << SHIFT


def from_exclusive(e: W_, writable: W_, dirty: W_) -> W_:
    """The present mapping restored (`restore_exclusive_pte`): old; writable as the VMA and the page allow now."""
    return PRES | (e & (SOFT | UFFD)) | writable * WRITE | dirty * DIRTY | e >> SHIFT << SHIFT


def protect_migration(e: W_, exclusive: W_) -> W_:
    """mprotect of a writable migration entry: read-exclusive for anonymous pages (`exclusive` 1), else read-only."""
    return (e & ~WRITE) | flag(e, WRITE) * exclusive * EXCL


def show(e: int) -> str:
    """The entry in words, for findings: `present 17 W dirty`."""
    k = e & KIND
    names = {
        WRITE: "W",
        YOUNG: "young",
        DIRTY: "dirty",
        SOFT: "soft-dirty",
        UFFD: "uffd-wp",
        EXCL: "X",
        HIDDEN: "hidden",
    }
    return " ".join(
        [NAMES.get(k, f"kind {k}"), *([str(e >> SHIFT)] if k else []), *(n for b, n in names.items() if e & b)]
    )

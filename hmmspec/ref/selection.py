"""What `migrate_vma` decides about one page, as formulas that take one entry (ints) or many (numpy arrays).

An entry of the arrays `src` and `dst` is a word: flags in the low bits, the frame number above.  `MIGRATE` without
`VALID` is a hole: nothing is there yet, and the driver may put a new page there.

Sources: `include/linux/migrate.h`, `mm/migrate_device.c` (`migrate_vma_collect_pmd`, `migrate_vma_check_page`) and
`mm/migrate.c` (`folio_expected_ref_count`, `__folio_migrate_mapping`).
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref.entries import DEVPRIV, KIND, NONE, PRES, PROTNONE, ZERO
from hmmspec.ref.frames import COHERENT_DEVICE

W_ = TypeVar("W_", int, NDArray[np.int64])

VALID: Final = 1
MIGRATE: Final = 2
WRITE: Final = 8
COMPOUND: Final = 16
PFN_SHIFT: Final = 6

# Who may be a source (`migrate_vma.flags`).
SELECT_SYSTEM: Final = 1
SELECT_PRIVATE: Final = 2
SELECT_COHERENT: Final = 4
SELECT_COMPOUND: Final = 8  # PMD-size pages are kept whole

SKIP: Final = 0
HOLE: Final = 1
TAKE: Final = 2

_PRESENT: Final = 1 << PRES | 1 << PROTNONE


def word(pfn: W_, flags: W_ | int) -> W_:
    """The array entry for a page."""
    return pfn << PFN_SHIFT | VALID | flags


def pfn_of(w: W_) -> W_:
    return w >> PFN_SHIFT


def chooses(
    e: W_, select: int, owner: int, anonymous: int, flags: W_, owners: W_, normal: W_, ignore_owner: int = 0
) -> W_:
    """SKIP, HOLE or TAKE for the page-table entry `e`.

    select: the SELECT_* of the call; owner: its pgmap owner; anonymous: 1 in a VMA without a file.  Of the frame that
    the entry names: `flags`, `owners` (pgmap owner, 0 in system memory) and `normal` (1: it has a mapping, so it can be
    moved); they may be anything where the entry names none.  ignore_owner 1: the defect `wrong-owner-filter`.
    """
    kind = e & KIND
    system, private, coherent = select & 1, select >> 1 & 1, select >> 2 & 1
    mine = (owners == owner) | ignore_owner
    hole = (kind == NONE) * anonymous | (kind == ZERO) * system
    of_device = (flags & COHERENT_DEVICE) // COHERENT_DEVICE
    present = _PRESENT >> kind & 1
    take = present * ((1 - of_device) * system | of_device * mine * coherent) | (kind == DEVPRIV) * mine * private
    out: W_ = hole * HOLE | take * normal * TAKE
    return out


def early_references(fault_page: W_ | int, device: W_, cached: W_) -> W_:
    """References beside the mappings that the check after unmapping allows (`migrate_vma_check_page`).

    One for the isolation (or the collect, of device pages); one if the CPU fault that calls holds the page; one for
    device pages, a remainder of the days when a free one had the count 1, by which the check is one too lenient;
    one if the page is in the swap cache or the page cache (`cached` 1).
    """
    return 1 + fault_page + device + cached


def late_references(fault_page: W_ | int, cached: W_) -> W_:
    """References beside the mappings that there are exactly when the page moves (`migrate_vma_pages`)."""
    return 1 + fault_page + cached

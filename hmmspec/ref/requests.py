"""What `hmm_range_fault` decides about one page: pure tables, for one entry (ints) or many (numpy arrays).

An entry of `range.pfns` is a word: on the way in the request, on the way out what was found.  The flags have the order
of `include/linux/hmm.h`, one bit lower, so that they fit a signed 64-bit word: VALID, WRITE, ERROR from the top, the
map order (0 or 9) in five bits below, the frame number at the bottom.  A request for a fault is the VALID bit, for a
write fault the WRITE bit beside it.

Sources: `include/linux/hmm.h`; `mm/hmm.c` (`hmm_pte_need_fault`, `hmm_vma_handle_pte`, `hmm_vma_walk_pmd`).
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref.entries import (
    DEVPRIV,
    HWPOISON,
    KIND,
    MARKER,
    MIGR,
    POISON_MARK,
    PRES,
    SHIFT,
    SPECIAL,
    ZERO,
    flag,
)
from hmmspec.ref.entries import WRITE as ENTRY_WRITE

W_ = TypeVar("W_", int, NDArray[np.int64])

VALID: Final = 1 << 62
WRITE: Final = 1 << 61
ERROR: Final = 1 << 60
ORDER_SHIFT: Final = 52
ORDER_MASK: Final = 31
PFN_MASK: Final = (1 << ORDER_SHIFT) - 1

REQ_FAULT: Final = VALID
REQ_WRITE: Final = WRITE

# What is to be done about an entry.
FINE: Final = 0  # the word that was found goes out
READ_FAULT: Final = 1
WRITE_FAULT: Final = 2
WAIT: Final = 3  # a migration is going on: sleep until its page is unlocked, then look again
FAULT_ERROR: Final = 4  # the call fails with EFAULT

_BROKEN: Final = 1 << HWPOISON


def wanted(request: W_, mask: int, default: int) -> W_:
    """The effective request of an entry: `(pfns[i] & pfn_flags_mask) | default_flags`."""
    return request & mask | default


def need_fault(request: W_, have: W_) -> W_:
    """FINE, READ_FAULT or WRITE_FAULT: what the request asks beyond the flags that the CPU's entry has."""
    fault, write = (request & REQ_FAULT) // REQ_FAULT, (request & REQ_WRITE) // REQ_WRITE
    lacks_write, lacks_valid = 1 - (have & WRITE) // WRITE, 1 - (have & VALID) // VALID
    writes = fault * write * lacks_write
    out: W_ = writes * WRITE_FAULT | fault * lacks_valid * (1 - writes) * READ_FAULT
    return out


def found(e: W_, own: W_, order: int = 0) -> W_:
    """The word for an entry without a fault: VALID, WRITE, frame and order, or 0.  `own` 1: the page is private memory
    of the device that asks."""
    kind = e & KIND
    valid = (kind == PRES) | (kind == ZERO) | (kind == DEVPRIV) * own
    writable = flag(e, ENTRY_WRITE) * (kind != ZERO)
    out: W_ = valid * (VALID | writable * WRITE | order << ORDER_SHIFT | (e >> SHIFT))
    return out


def decide(e: W_, request: W_, own: W_) -> W_:
    """What is to be done about a last-level entry, given the effective request: FINE .. FAULT_ERROR.

    An own device-private page is never faulted, even if it is read-only and the request is to write.
    """
    kind = e & KIND
    fault = need_fault(request, found(e, own))
    asked = (request & REQ_FAULT) // REQ_FAULT
    mine = (kind == DEVPRIV) * own
    marker = kind == MARKER
    broken = (kind == HWPOISON) | marker * (e >> SHIFT >= POISON_MARK) | (kind == SPECIAL)
    waits = (kind == MIGR) * 1
    normal = (1 - mine) * (1 - broken) * (1 - waits)
    out: W_ = normal * fault | asked * waits * WAIT | asked * broken * FAULT_ERROR
    return out


def unasked(e: W_, own: W_, order: int = 0) -> W_:
    """The word that goes out when nothing is done: as `found`, and ERROR for a pfn without a page."""
    out: W_ = found(e, own, order) | ((e & KIND) == SPECIAL) * ERROR
    return out


# What a snapshot of the test device says of a page, one byte (`lib/test_hmm_uapi.h`).
SNAP_ERROR: Final = 0xFF
SNAP_NONE: Final = 0x00
SNAP_READ: Final = 0x01
SNAP_WRITE: Final = 0x02
SNAP_PMD: Final = 0x04
SNAP_ZERO: Final = 0x10
SNAP_PRIVATE_LOCAL: Final = 0x20
SNAP_PRIVATE_REMOTE: Final = 0x30
SNAP_COHERENT_LOCAL: Final = 0x40
SNAP_COHERENT_REMOTE: Final = 0x50


def snapshot_byte(w: W_, private: W_, coherent: W_, local: W_, zero: W_) -> W_:
    """The byte for a word that `hmm_range_fault` gave: what kind of page it names, and whose."""
    error = (w & ERROR) // ERROR
    valid = (w & VALID) // VALID * (1 - error)
    writable = (w & WRITE) // WRITE
    huge = (((w >> ORDER_SHIFT) & ORDER_MASK) >= 9) * SNAP_PMD
    device = private * (SNAP_PRIVATE_LOCAL | (1 - local) * 0x10) | coherent * (SNAP_COHERENT_LOCAL | (1 - local) * 0x10)
    plain = (1 - private) * (1 - coherent) * zero * SNAP_ZERO
    out: W_ = error * SNAP_ERROR | valid * (SNAP_READ + writable | device | plain | huge)
    return out

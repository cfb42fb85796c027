"""The tables of hmm_range_fault and of migrate_vma's choice: every row, for one entry and for arrays of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hmmspec.ref import entries as e
from hmmspec.ref import requests as rq
from hmmspec.ref import selection as sel
from hmmspec.ref.frames import COHERENT_DEVICE, PRIVATE_DEVICE

PFN = 77
KINDS = {
    "none": e.entry(e.NONE),
    "read": e.entry(e.PRES, PFN),
    "write": e.entry(e.PRES, PFN, e.WRITE),
    "zero": e.entry(e.ZERO, 1),
    "protnone": e.entry(e.PROTNONE, PFN),
    "swap": e.entry(e.SWAP, 3),
    "device": e.entry(e.DEVPRIV, PFN),
    "device write": e.entry(e.DEVPRIV, PFN, e.WRITE),
    "migration": e.entry(e.MIGR, PFN, e.WRITE),
    "exclusive": e.entry(e.DEVEXCL, PFN),
    "special": e.entry(e.SPECIAL, PFN),
    "uffd": e.entry(e.MARKER, e.UFFD_MARK),
    "guard": e.entry(e.MARKER, e.GUARD_MARK),
    "poison": e.entry(e.MARKER, e.POISON_MARK),
    "broken": e.entry(e.HWPOISON, PFN),
}
NOTHING, READS, WRITES = 0, rq.REQ_FAULT, rq.REQ_FAULT | rq.REQ_WRITE
F, R, W, S, X = rq.FINE, rq.READ_FAULT, rq.WRITE_FAULT, rq.WAIT, rq.FAULT_ERROR

# (entry, own) -> what is to be done for a request to read, and one to write.  Without a request nothing ever is.
TABLE = {
    ("none", 0): (R, W),
    ("read", 0): (F, W),
    ("write", 0): (F, F),
    ("zero", 0): (F, W),
    ("protnone", 0): (R, W),
    ("swap", 0): (R, W),
    ("device", 0): (R, W),
    ("device", 1): (F, F),
    ("device write", 0): (R, W),
    ("device write", 1): (F, F),
    ("migration", 0): (S, S),
    ("exclusive", 0): (R, W),
    ("special", 0): (X, X),
    ("uffd", 0): (R, W),
    ("guard", 0): (X, X),
    ("poison", 0): (X, X),
    ("broken", 0): (X, X),
}


@pytest.mark.parametrize(("name", "own"), TABLE)
def test_decide(name: str, own: int) -> None:
    word = KINDS[name]
    assert rq.decide(word, NOTHING, own) == F
    assert (rq.decide(word, READS, own), rq.decide(word, WRITES, own)) == TABLE[name, own]
    assert rq.decide(word, rq.REQ_WRITE, own) == F, "a request to write is none without one to fault"


def test_what_a_snapshot_says() -> None:
    valid = {"read", "write", "zero"}
    for name, word in KINDS.items():
        for own in (0, 1):
            out = rq.unasked(word, own)
            assert bool(out & rq.VALID) == (name in valid or (own == 1 and name.startswith("device"))), name
            assert bool(out & rq.WRITE) == (name == "write" or (own == 1 and name == "device write"))
            assert bool(out & rq.ERROR) == (name == "special")
            if out & rq.VALID:
                assert out & rq.PFN_MASK == word >> e.SHIFT


def test_success_means_that_the_request_is_satisfied() -> None:
    """Where nothing is to be done, what was asked for is there; except for an own read-only page (bug of the interface)."""
    for (name, word), own, request in itertools.product(KINDS.items(), (0, 1), (READS, WRITES)):
        if rq.decide(word, request, own) == F:
            out = rq.unasked(word, own)
            assert out & rq.VALID
            assert out & rq.WRITE or request == READS or (name, own) == ("device", 1)


def test_arrays_are_decided_like_single_entries() -> None:
    rows = list(itertools.product(KINDS.values(), (NOTHING, READS, WRITES), (0, 1)))
    word, request, own = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    assert rq.decide(word, request, own).tolist() == [rq.decide(*row) for row in rows]
    assert rq.found(word, own, 9).tolist() == [rq.found(w, o, 9) for w, _, o in rows]
    assert rq.unasked(word, own).tolist() == [rq.unasked(w, o) for w, _, o in rows]


def test_requests_of_single_pages() -> None:
    words = np.array([0, rq.REQ_FAULT, rq.REQ_FAULT | rq.REQ_WRITE, PFN], np.int64)
    assert rq.wanted(words, 0, rq.REQ_FAULT).tolist() == [rq.REQ_FAULT] * 4
    assert rq.wanted(words, WRITES, 0).tolist() == [0, rq.REQ_FAULT, WRITES, 0]


@pytest.mark.parametrize(
    ("word", "private", "coherent", "local", "zero", "byte"),
    [
        (0, 0, 0, 0, 0, 0x00),
        (rq.ERROR, 0, 0, 0, 0, 0xFF),
        (rq.VALID, 0, 0, 0, 0, 0x01),
        (rq.VALID | rq.WRITE, 0, 0, 0, 0, 0x02),
        (rq.VALID, 0, 0, 0, 1, 0x11),
        (rq.VALID | rq.WRITE | 9 << rq.ORDER_SHIFT, 0, 0, 0, 0, 0x06),
        (rq.VALID | 9 << rq.ORDER_SHIFT, 0, 0, 0, 1, 0x15),
        (rq.VALID | rq.WRITE, 1, 0, 1, 0, 0x22),
        (rq.VALID | rq.WRITE | 9 << rq.ORDER_SHIFT, 1, 0, 1, 0, 0x26),
        (rq.VALID | rq.WRITE, 1, 0, 0, 0, 0x32),
        (rq.VALID | rq.WRITE, 0, 1, 1, 0, 0x42),
        (rq.VALID, 0, 1, 0, 0, 0x51),
    ],
)
def test_snapshot_byte(word: int, private: int, coherent: int, local: int, zero: int, byte: int) -> None:
    assert rq.snapshot_byte(word, private, coherent, local, zero) == byte
    arrays = [np.array([n, n], np.int64) for n in (word, private, coherent, local, zero)]
    assert rq.snapshot_byte(*arrays).tolist() == [byte, byte]


def chosen(name: str, select: int, *, anonymous: int = 1, flags: int = 0, owner: int = 0, normal: int = 1) -> int:
    return int(sel.chooses(KINDS[name], select, 1, anonymous, flags, owner, normal))


def test_what_migration_chooses() -> None:
    everything = sel.SELECT_SYSTEM | sel.SELECT_PRIVATE | sel.SELECT_COHERENT
    assert chosen("none", 0) == sel.HOLE, "holes of anonymous memory are offered whatever is selected"
    assert chosen("none", everything, anonymous=0) == sel.SKIP
    assert chosen("zero", sel.SELECT_SYSTEM) == sel.HOLE
    assert chosen("zero", sel.SELECT_PRIVATE) == sel.SKIP
    for name in ("read", "write", "protnone"):
        assert chosen(name, sel.SELECT_SYSTEM) == sel.TAKE
        assert chosen(name, sel.SELECT_SYSTEM, normal=0) == sel.SKIP
        assert chosen(name, sel.SELECT_PRIVATE) == sel.SKIP
        coherent = {"flags": COHERENT_DEVICE, "owner": 1}
        assert chosen(name, sel.SELECT_COHERENT, **coherent) == sel.TAKE
        assert chosen(name, sel.SELECT_SYSTEM, **coherent) == sel.SKIP
        assert chosen(name, sel.SELECT_COHERENT, flags=COHERENT_DEVICE, owner=2) == sel.SKIP
    assert chosen("device", sel.SELECT_PRIVATE, flags=PRIVATE_DEVICE, owner=1) == sel.TAKE
    assert chosen("device", sel.SELECT_PRIVATE, flags=PRIVATE_DEVICE, owner=2) == sel.SKIP
    assert chosen("device", sel.SELECT_SYSTEM, flags=PRIVATE_DEVICE, owner=1) == sel.SKIP
    for name in ("swap", "migration", "exclusive", "special", "uffd", "guard", "poison", "broken"):
        assert chosen(name, everything) == sel.SKIP, name


def test_arrays_are_chosen_like_single_entries() -> None:
    rows = list(itertools.product(KINDS.values(), (0, PRIVATE_DEVICE, COHERENT_DEVICE), (0, 1, 2), (0, 1)))
    word, flags, owners, normal = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    for select, anonymous in itertools.product(range(8), (0, 1)):
        many = sel.chooses(word, select, 1, anonymous, flags, owners, normal)
        assert many.tolist() == [sel.chooses(w, select, 1, anonymous, f, o, n) for w, f, o, n in rows]


def test_expected_references() -> None:
    assert sel.early_references(0, 0, 0) == 1
    assert sel.early_references(1, 1, 0) == 3, "the check after unmapping is one too lenient for device pages"
    assert sel.late_references(0, 0) == 1
    assert sel.late_references(1, 1) == 3

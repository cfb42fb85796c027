"""Every formula gives the same for one word and for an array of words, and loses nothing that it must keep."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from hmmspec.ref import entries as e

BITS = (e.WRITE, e.YOUNG, e.DIRTY, e.SOFT, e.UFFD)
SETS = [sum(chosen) for n in range(len(BITS) + 1) for chosen in combinations(BITS, n)]
WORDS = [e.entry(kind, 77, bits) for kind in (e.PRES, e.PROTNONE, e.DEVPRIV, e.DEVEXCL) for bits in SETS]


@pytest.mark.parametrize("flag", [0, 1])
def test_words_and_arrays_agree(flag: int) -> None:
    words = np.array(WORDS, np.int64)
    flags = np.full(len(words), flag, np.int64)
    frames = np.arange(len(words), dtype=np.int64)
    pairs = [
        (e.to_migration(words, flags), [e.to_migration(w, flag) for w in WORDS]),
        (e.to_swap(words, frames, flags), [e.to_swap(w, i, flag) for i, w in enumerate(WORDS)]),
        (e.to_exclusive(words), [e.to_exclusive(w) for w in WORDS]),
        (e.write_protect(words), [e.write_protect(w) for w in WORDS]),
    ]
    migration = e.to_migration(words, flags)
    for private, dirty, hidden in product((0, 1), (0, 1), (0, 1)):
        got = e.from_migration(migration, frames, np.full(len(words), private), np.full(len(words), dirty), hidden)
        want = [e.from_migration(int(w), i, private, dirty, hidden) for i, w in enumerate(migration)]
        pairs.append((got, want))
    pairs.append((e.protect_migration(migration, flags), [e.protect_migration(int(w), flag) for w in migration]))
    for got, want in pairs:
        assert got.tolist() == want


@pytest.mark.parametrize("kind", [e.PRES, e.DEVPRIV])
@pytest.mark.parametrize("bits", SETS)
def test_there_and_back_keeps_what_an_entry_says(kind: int, bits: int) -> None:
    """A migration that ends where it began (dfd8562c52a5, ad7df764b7e1, 3d321bf82c4b are about bits lost here)."""
    word = e.entry(kind, 5, bits)
    for exclusive in (0, 1):
        middle = e.to_migration(word, exclusive)
        assert middle & e.KIND == e.MIGR
        assert middle >> e.SHIFT == 5
        assert bool(middle & e.EXCL) == bool(exclusive and not bits & e.WRITE)
        for dirty in (0, 1):
            back = e.from_migration(middle, 9, int(kind == e.DEVPRIV), dirty)
            assert back & (e.KIND | e.SOFT | e.UFFD) == kind | bits & (e.SOFT | e.UFFD)
            assert back >> e.SHIFT == 9
            keeps_write = bits & e.WRITE and (kind == e.DEVPRIV or not bits & e.UFFD)
            assert bool(back & e.WRITE) == bool(keeps_write)
            age = (bits & e.YOUNG | (bits & e.DIRTY if dirty else 0)) if kind == e.PRES else 0
            assert back & (e.YOUNG | e.DIRTY) == age


def test_a_place_nobody_may_access_gets_an_entry_nobody_may_use() -> None:
    middle = e.to_migration(e.entry(e.PRES, 5, e.WRITE), 1)
    assert e.from_migration(middle, 9, 0, 0, 1) & e.KIND == e.PROTNONE
    assert e.from_migration(middle, 9, 1, 0, 1) & e.KIND == e.DEVPRIV


def test_an_exclusive_entry_counts_as_read_only_old_and_clean() -> None:
    word = e.to_exclusive(e.entry(e.PRES, 5, e.WRITE | e.DIRTY | e.YOUNG | e.SOFT | e.UFFD))
    assert word == e.entry(e.DEVEXCL, 5, e.SOFT | e.UFFD)
    word &= ~e.UFFD
    middle = e.to_migration(word, 1)
    assert middle & (e.WRITE | e.YOUNG | e.DIRTY | e.SOFT) == e.SOFT
    assert e.from_exclusive(word, 1, 1) == e.entry(e.PRES, 5, e.WRITE | e.DIRTY | e.SOFT)
    assert e.from_exclusive(word, 0, 0) == e.entry(e.PRES, 5, e.SOFT)


def test_words_say_what_they_are() -> None:
    assert e.show(e.entry(e.PRES, 17, e.WRITE | e.DIRTY)) == "present 17 W dirty"
    assert e.show(e.entry(e.MIGR, 3, e.EXCL | e.SOFT)) == "migration 3 soft-dirty X"
    assert e.show(0) == "none"
    assert [k for k in range(16) if e.is_mapping(k)] == sorted(e.MAPPING_KINDS)

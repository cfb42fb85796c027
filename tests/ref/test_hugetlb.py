"""hugetlb: what a first touch maps, who gets a copy, and what the pool promises to whom."""

from __future__ import annotations

import pytest

from hmmspec.ref import entries as e
from hmmspec.ref.errors import Errno
from hmmspec.ref.frames import HUGE
from hmmspec.ref.gup import release
from hmmspec.ref.protect import clear_soft_dirty, userfault_protect, userfault_register
from hmmspec.ref.spaces import HUGETLB, READ, SHARED, UFFD_WP, Mm
from hmmspec.ref.state import Config
from tests.ref.machine import BASE, RW, Machine

SMALL = Config(cpus=2, system_pages=8192, swap_pages=64, page_tables=16, hugetlb_pages=4)


def mapped(pages: int = 1, **named: object) -> Machine:
    """A machine with a hugetlb mapping of so many huge pages."""
    m = Machine(SMALL, every=64)
    m.map(pages * HUGE, flags=HUGETLB, **named)
    return m


def entry(m: Machine, mm: Mm | None = None, start: int = BASE) -> int:
    return (mm or m.mm).pmd.get(start // HUGE, 0)


def pool(m: Machine) -> tuple[int, int]:
    """Pages that nobody has, and how many of these are promised."""
    return m.k.huge_pages.free, m.k.huge_pages.promised


def test_a_read_maps_read_only_and_a_write_uses_the_page_again() -> None:
    m = mapped()
    assert m.load(BASE + 3) == bytes(4)
    first = entry(m)
    assert not first & (e.WRITE | e.DIRTY)
    m.store(BASE + 3, b"abcd")
    assert entry(m) >> e.SHIFT == first >> e.SHIFT
    assert entry(m) & e.WRITE and entry(m) & e.DIRTY
    m.done()


def test_shared_memory_is_writable_at_once() -> None:
    m = Machine(SMALL, every=64)
    m.map(HUGE, flags=HUGETLB | SHARED)
    m.load(BASE)
    assert entry(m) & e.WRITE
    m.protect(READ, HUGE)
    m.protect(RW, HUGE)
    assert entry(m) & e.WRITE
    m.done()


def test_mprotect_gives_no_write_permission_back() -> None:
    m = mapped()
    m.store(BASE, b"a")
    m.protect(READ, HUGE)
    m.protect(RW, HUGE)
    assert not entry(m) & e.WRITE
    m.store(BASE, b"b")
    assert m.load(BASE, 1) == b"b"
    m.done()


def test_soft_dirty_is_not_tracked_in_entries() -> None:
    m = mapped()
    m.store(BASE, b"a")
    m.run(clear_soft_dirty, m.mm)
    assert entry(m) & e.WRITE
    m.store(BASE, b"b")
    assert m.pagemap(BASE)[0] >> 55 & 1 == 0
    m.done()


def test_it_is_in_no_rss() -> None:
    m = mapped()
    m.store(BASE, b"a")
    child = m.fork()
    assert (m.mm.rss_anon, m.mm.rss_file, child.rss_anon) == (0, 0, 0)
    m.done()


def test_the_last_one_gets_the_page_though_somebody_holds_it() -> None:
    m = mapped()
    m.store(BASE, b"a")
    child = m.fork()
    held = m.gup(BASE)
    m.exit(child)
    m.store(BASE, b"b")
    assert entry(m) >> e.SHIFT == held[0]
    release(m.k, held)
    m.done()


def test_each_mapping_is_promised_its_pages() -> None:
    m = mapped(3)
    assert pool(m) == (4, 3)
    m.store(BASE, b"a")
    assert pool(m) == (3, 2)
    with pytest.raises(Errno, match="ENOMEM"):
        m.map(2 * HUGE, BASE + 8 * HUGE, flags=HUGETLB)
    m.unmap(HUGE, BASE + HUGE)
    assert pool(m) == (3, 1)
    m.map(2 * HUGE, BASE + 8 * HUGE, flags=HUGETLB)
    assert pool(m) == (3, 3)
    m.done()
    assert pool(m) == (4, 0)


def test_what_is_dropped_is_promised_again() -> None:
    m = mapped(4)
    m.store(BASE, b"a")
    m.advise("dontneed", HUGE)
    assert pool(m) == (4, 4)
    assert m.load(BASE) == bytes(4)
    held = m.gup(BASE, write=True)
    m.advise("dontneed", HUGE)
    assert pool(m) == (3, 3)
    release(m.k, held)
    assert pool(m) == (4, 4)
    m.done()


def test_a_child_is_promised_nothing() -> None:
    m = mapped(3)
    m.store(BASE, b"a")
    child = m.fork()
    assert pool(m) == (3, 2)
    m.store(BASE, b"b", mm=child)
    assert pool(m) == (2, 2)
    assert m.store(BASE + HUGE, b"b", mm=child) == "SIGBUS"
    assert m.load(BASE + HUGE, mm=child) == "SIGBUS"
    m.store(BASE + HUGE, b"c")
    m.store(BASE + 2 * HUGE, b"d")
    assert pool(m) == (0, 0)
    m.done()
    assert pool(m) == (4, 0)


def test_the_owner_takes_the_page_away_from_its_children() -> None:
    m = mapped(4)
    m.store(BASE, b"a")
    child, other = m.fork(), m.fork()
    m.store(BASE, b"b")
    assert (m.load(BASE, 1), m.load(BASE, 1, mm=child), m.load(BASE, 1, mm=other)) == (b"b", "SIGBUS", "SIGBUS")
    m.unmap(4 * HUGE)
    assert m.load(BASE + HUGE, 1, mm=child) == "SIGBUS"  # nothing that it did not see may look like zeros
    m.done()


def test_a_promise_moves_with_its_memory() -> None:
    m = mapped(4)
    m.store(BASE, b"a")
    m.move(BASE + 8 * HUGE, 5)  # pages go whole
    assert m.load(BASE + 8 * HUGE, 1) == b"a"
    assert pool(m) == (3, 3)
    m.unmap(HUGE, BASE + 8 * HUGE)
    assert pool(m) == (4, 3)
    for k in range(1, 4):
        m.store(BASE + k * HUGE, b"b")
    m.done()
    assert pool(m) == (4, 0)


@pytest.mark.parametrize("prot", [RW, READ])
def test_fork_copies_what_is_pinned(prot: int) -> None:
    m = mapped()
    m.store(BASE, b"a")
    held = m.gup(BASE, write=True, pin=True, longterm=True)
    m.protect(prot, HUGE)
    child = m.fork()
    assert entry(m) >> e.SHIFT == held[0] != entry(m, child) >> e.SHIFT
    assert bool(entry(m, child) & e.WRITE) == (prot == RW)
    assert m.load(BASE, 1, mm=child) == b"a"
    assert m.store(BASE, b"b", mm=child) == ("ok" if prot == RW else "SIGSEGV")
    assert m.load(BASE, 1) == b"a"
    release(m.k, held, pin=True)
    m.done()


def test_a_fork_that_finds_no_copy_fails() -> None:
    m = mapped(4)
    m.store(BASE, b"a")
    held = m.gup(BASE, write=True, pin=True, longterm=True)
    with pytest.raises(Errno, match="ENOMEM"):
        m.fork()
    release(m.k, held, pin=True)
    m.done()


def test_a_pin_for_reading_gets_a_page_of_its_own() -> None:
    m = mapped()
    m.store(BASE, b"a")
    child = m.fork()
    held = m.gup(BASE, pin=True, longterm=True)
    assert held[0] == entry(m) >> e.SHIFT != entry(m, child) >> e.SHIFT
    assert not entry(m) & e.WRITE
    m.store(BASE, b"b")
    assert held[0] == entry(m) >> e.SHIFT
    release(m.k, held, pin=True)
    m.done()


def test_holes_can_be_protected() -> None:
    m = mapped(2)
    m.run(userfault_register, m.mm, BASE, 2 * HUGE, UFFD_WP)
    m.run(userfault_protect, m.mm, BASE, 2 * HUGE, True)
    assert entry(m) & e.KIND == e.MARKER
    assert m.load(BASE + 9) == bytes(4)
    assert entry(m) & e.UFFD and not entry(m) & e.WRITE
    child = m.fork()
    assert not entry(m, child) & e.UFFD and not entry(m, child, BASE + HUGE)
    m.store(BASE + 9, b"a")
    assert not entry(m) & e.UFFD
    m.run(userfault_protect, m.mm, BASE, HUGE, True)
    m.advise("dontneed", HUGE)
    assert entry(m) & e.KIND == e.MARKER
    m.run(userfault_protect, m.mm, BASE, 2 * HUGE, False)
    assert not entry(m) and not entry(m, start=BASE + HUGE)
    m.done()

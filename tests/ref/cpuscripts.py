"""The CPU side, operation by operation: small scripts for `test_cpu.py`.  Each gets a machine with all checks on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hmmspec.ref import entries as e
from hmmspec.ref.errors import Errno
from hmmspec.ref.frames import EXCLUSIVE, SWAPCACHE
from hmmspec.ref.gup import release
from hmmspec.ref.layout import drop_file
from hmmspec.ref.mmap import fill_with_pages, insert_page
from hmmspec.ref.pagemap import (
    PM_EXCLUSIVE,
    PM_FILE,
    PM_PRESENT,
    PM_SOFT_DIRTY,
    PM_SWAP,
    PM_UFFD_WP,
    drop_caches,
    file_read,
    file_write,
)
from hmmspec.ref.protect import clear_soft_dirty, userfault_protect, userfault_register
from hmmspec.ref.spaces import HUGETLB, MIXEDMAP, READ, SHARED, UFFD_MISSING, UFFD_WP
from tests.ref.machine import BASE, RW, Machine

Script = Callable[[Machine], None]
SCRIPTS: dict[str, Script] = {}


def script(function: Script) -> Script:
    SCRIPTS[function.__name__] = function
    return function


@script
def first_touch(m: Machine) -> None:
    """A read maps the zero page, a write a page of its own; outside, and against the permissions, there is a signal."""
    m.map(4, prot=RW)
    assert m.load(BASE) == bytes(4)
    assert m.entry(BASE) & e.KIND == e.ZERO
    assert m.store(BASE, b"abcd", 2) == "ok"
    assert m.load(BASE, 8) == b"\0\0abcd\0\0"
    assert m.entry(BASE) & (e.KIND | e.WRITE | e.DIRTY) == e.PRES | e.WRITE | e.DIRTY
    assert (m.load(BASE + 4), m.store(BASE + 4, b"x"), m.load(BASE - 1)) == ("SIGSEGV",) * 3
    assert (m.mm.rss_anon, m.mm.rss_file) == (1, 0)


@script
def copy_on_write(m: Machine) -> None:
    m.map()
    for i in range(3):
        m.store(BASE + i, b"old%d" % i)
    m.load(BASE + 9)
    child = m.fork()
    assert m.store(BASE, b"N", 3) == "ok"
    assert (m.load(BASE), m.load(BASE, mm=child)) == (b"oldN", b"old0")
    assert m.store(BASE + 1, b"C", 3, mm=child) == "ok"
    assert (m.load(BASE + 1), m.load(BASE + 1, mm=child)) == (b"old1", b"oldC")
    grandchild = m.fork(child)
    assert m.store(BASE + 2, b"G", 3, mm=grandchild) == "ok"
    assert [m.load(BASE + 2, mm=x) for x in (m.mm, child, grandchild)] == [b"old2", b"old2", b"oldG"]
    frame = m.entry(BASE + 2) >> e.SHIFT
    m.exit(child)
    m.exit(grandchild)
    assert m.store(BASE + 2, b"P", 3) == "ok"
    assert m.entry(BASE + 2) >> e.SHIFT == frame, "the last user writes into the page itself"


@script
def fork_leaves_no_translation(m: Machine) -> None:
    """The parent's second CPU had the page writable; after the fork it must fault, too."""
    m.map()
    m.store(BASE, b"mine", cpu=1)
    child = m.fork()
    assert m.store(BASE, b"next", cpu=1) == "ok"
    assert m.load(BASE, mm=child) == b"mine"


@script
def protections(m: Machine) -> None:
    m.map()
    m.store(BASE, b"abcd", cpu=1)
    m.protect(READ)
    assert m.store(BASE, b"x", cpu=1) == "SIGSEGV"
    assert m.load(BASE) == b"abcd"
    m.load(BASE + 5, cpu=1)
    m.protect(0)
    assert m.load(BASE) == "SIGSEGV"
    assert m.load(BASE + 5, cpu=1) == "SIGSEGV"
    assert m.pagemap(BASE + 5)[0] & PM_PRESENT, "the zero page stays, and nobody may read it"
    assert m.entry(BASE) & e.KIND == e.PROTNONE
    m.protect(RW)
    assert m.entry(BASE) & e.WRITE, "no fault is needed for a page that is the process' alone"
    assert m.store(BASE, b"x") == "ok"
    child = m.fork()
    m.protect(READ)
    m.protect(RW)
    assert not m.entry(BASE) & e.WRITE, "a shared page waits for its copy"
    m.store(BASE, b"y")
    assert m.load(BASE, mm=child) == b"xbcd"


@script
def unmapping(m: Machine) -> None:
    m.map()
    for i in range(16):
        m.store(BASE + i, b"a", cpu=i % 2)
    m.run(drop_caches)  # out of the LRU batches: the last reference is the mapping's
    m.unmap(4, BASE + 6)
    assert [m.load(BASE + i, cpu=1) == "SIGSEGV" for i in range(16)] == [6 <= i < 10 for i in range(16)]
    assert len(m.mm.vmas) == 2
    m.map(4, BASE + 6)
    assert len(m.mm.vmas) == 1, "neighbours that differ in nothing are one VMA"
    assert m.load(BASE + 6, 1) == b"\0"
    m.advise("dontneed", 2)
    assert m.load(BASE, 1, cpu=1) == b"\0"
    m.unmap(600, BASE - 20)
    assert not m.mm.pmd
    assert m.k.tables.owner == {}


@script
def moving(m: Machine) -> None:
    m.map()
    m.store(BASE, b"abcd", cpu=1)
    m.store(BASE + 1, b"efgh")
    m.advise("pageout", 1, BASE + 1)
    m.move(BASE + 2000)
    assert m.load(BASE, cpu=1) == "SIGSEGV"
    assert [m.load(BASE + 2000 + i, cpu=1) for i in range(3)] == [b"abcd", b"efgh", bytes(4)]
    m.move(BASE + 3, start=BASE + 2000, dontunmap=True)
    assert m.load(BASE + 3) == b"abcd"
    assert m.load(BASE + 2000) == bytes(4), "the old place is still mapped, and empty"
    for start, to, count in ((BASE + 3, BASE + 4, 16), (BASE + 3, -1, 16), (BASE + 3, BASE, 0)):
        with pytest.raises(Errno, match="EINVAL"):
            m.move(to, count, start)
    with pytest.raises(Errno, match="EFAULT"):
        m.move(BASE + 4000, 16, BASE + 900)
    # A page that was moved is still found by its reverse map, also after a fork.
    child = m.fork()
    m.advise("pageout", 16, BASE + 3)
    assert m.load(BASE + 3, mm=child) == b"abcd"


@script
def swapping_out_and_in(m: Machine) -> None:
    m.map()
    m.store(BASE, b"abcd")
    m.advise("pageout")
    assert m.entry(BASE) & e.KIND == e.SWAP
    assert (m.mm.rss_anon, m.mm.rss_swap) == (0, 1)
    assert m.load(BASE) == b"abcd"
    frame = m.entry(BASE) >> e.SHIFT
    assert m.k.frames.flags[frame] & SWAPCACHE, "after a read the slot is still good"
    m.store(BASE, b"x")  # by a writable clean entry: only the entry knows that the slot is old now
    m.advise("pageout")
    assert m.load(BASE) == b"xbcd"
    m.store(BASE, b"y", 1)
    child = m.fork()
    m.advise("pageout")
    assert [m.load(BASE), m.load(BASE, mm=child)] == [b"xycd"] * 2


@script
def shared_swap_entries(m: Machine) -> None:
    m.map()
    m.store(BASE, b"abcd")
    m.advise("pageout")
    child = m.fork()
    assert m.store(BASE, b"w") == "ok"
    assert (m.load(BASE), m.load(BASE, mm=child)) == (b"wbcd", b"abcd")


@script
def clean_swap_copy(m: Machine) -> None:
    """bug fd35ca3d12cc without a device: clean page in the swap cache, written by its entry alone, reclaimed again."""
    m.map()
    m.store(BASE, b"one!")
    m.advise("pageout")
    m.load(BASE)
    m.store(BASE, b"two!", cpu=1)
    m.advise("pageout")
    assert m.load(BASE, cpu=1) == b"two!"


@script
def soft_dirty(m: Machine) -> None:
    m.map()
    assert m.pagemap(BASE)[0] & PM_SOFT_DIRTY, "a new mapping counts as written"
    m.store(BASE, b"a")
    m.store(BASE + 1, b"a")
    m.run(clear_soft_dirty, m.mm)
    m.store(BASE, b"b")
    m.load(BASE + 1)
    assert [bool(w & PM_SOFT_DIRTY) for w in m.pagemap(BASE, 2)] == [True, False]
    m.advise("pageout")
    assert [bool(w & PM_SOFT_DIRTY) for w in m.pagemap(BASE, 2)] == [True, False], "swap entries carry it"
    m.load(BASE)
    assert [bool(w & PM_SOFT_DIRTY) for w in m.pagemap(BASE, 2)] == [True, False]
    m.store(BASE + 1, b"b")
    assert m.pagemap(BASE + 1)[0] & PM_SOFT_DIRTY


@script
def userfault_write_protection(m: Machine) -> None:
    m.map()
    m.store(BASE, b"a")
    with pytest.raises(Errno, match="ENOENT"):
        m.run(userfault_protect, m.mm, BASE, 2, True)
    m.run(userfault_register, m.mm, BASE, 16, UFFD_WP)
    m.run(userfault_protect, m.mm, BASE, 2, True)
    m.advise("pageout", 2)
    m.load(BASE)
    assert [bool(w & PM_UFFD_WP) for w in m.pagemap(BASE, 3)] == [True, True, False]
    m.store(BASE, b"b")
    m.store(BASE + 1, b"b")
    assert [bool(w & PM_UFFD_WP) for w in m.pagemap(BASE, 3)] == [False, False, False]
    m.run(userfault_protect, m.mm, BASE, 2, True)
    m.run(userfault_protect, m.mm, BASE, 1, False)
    assert [bool(w & PM_UFFD_WP) for w in m.pagemap(BASE, 2)] == [False, True]
    m.run(userfault_register, m.mm, BASE + 8, 1, UFFD_MISSING)
    assert m.load(BASE + 8) == "SIGBUS"


@script
def what_pagemap_says(m: Machine) -> None:
    m.map()
    m.store(BASE, b"a")
    m.store(BASE + 1, b"a")
    m.load(BASE + 2)
    m.advise("pageout", 1, BASE + 1)
    words = [w & ~PM_SOFT_DIRTY for w in m.pagemap(BASE, 5)]
    assert words == [PM_PRESENT | PM_EXCLUSIVE, PM_SWAP, PM_PRESENT, 0, 0]
    m.map(1, BASE + 100, flags=SHARED)
    m.store(BASE + 100, b"s")
    m.fork()
    assert m.pagemap(BASE + 100)[0] & ~PM_SOFT_DIRTY == PM_PRESENT | PM_FILE | PM_EXCLUSIVE, (
        "the child has no entry yet"
    )
    assert m.pagemap(BASE)[0] & ~PM_SOFT_DIRTY == PM_PRESENT


@script
def shared_memory(m: Machine) -> None:
    m.map(flags=SHARED)
    m.store(BASE, b"abcd")
    child = m.fork()
    m.store(BASE, b"X", mm=child)
    m.store(BASE + 1, b"Y")
    assert m.load(BASE) == b"Xbcd"
    assert m.load(BASE + 1, 1, mm=child) == b"Y"
    m.advise("dontneed")
    assert m.load(BASE) == b"Xbcd", "the page cache still has it"


@script
def files(m: Machine) -> None:
    file = m.k.new_file("data", 4)
    m.run(file_write, file, 1, b"disk")
    m.run(drop_caches)  # to the disk
    m.map(8, file=file, flags=SHARED)
    m.map(4, BASE + 64, file=file)
    assert m.load(BASE + 1) == b"disk"
    assert not m.entry(BASE + 1) & e.WRITE, "the first write has to be seen"
    assert m.store(BASE + 1, b"D") == "ok"
    assert m.run(file_read, file, 1)[:4] == b"Disk"
    assert m.store(BASE + 65, b"mine") == "ok"
    assert (m.load(BASE + 1), m.load(BASE + 65)) == (b"Disk", b"mine")
    assert m.load(BASE + 66) == bytes(4)
    assert m.load(BASE + 5) == "SIGBUS", "past the end of the file"
    m.unmap(8)
    m.unmap(4, BASE + 64)
    m.run(drop_caches)
    assert file.pages == {}
    assert file.disk is not None
    assert file.disk[1, :4].tobytes() == b"Disk"
    assert m.run(file_read, file, 1)[:4] == b"Disk"
    drop_file(m.k, file.id)


@script
def pages_of_a_driver(m: Machine) -> None:
    """A mixed map: the program reads the driver's page, and a private write copies it."""
    vma = m.map(2, flags=MIXEDMAP, driver=m)
    pfn = m.k.alloc("driver")
    assert pfn is not None
    assert m.run(insert_page, vma, BASE, pfn)
    assert not m.run(insert_page, vma, BASE, pfn)
    assert m.load(BASE) == bytes(4)
    assert not m.entry(BASE) & e.WRITE
    assert m.store(BASE, b"abcd") == "ok"
    assert m.entry(BASE) >> e.SHIFT != pfn
    assert m.load(BASE + 1) == "SIGBUS"
    m.k.put(pfn, "driver")
    m.map(3, BASE + 8, flags=MIXEDMAP, driver=m, fill=lambda vma: fill_with_pages(m.k, m.tasks[0], vma))
    assert m.load(BASE + 10) == bytes(4)
    m.k.inject.once("alloc")
    with pytest.raises(Errno, match="ENOMEM"):
        m.map(3, BASE + 12, flags=MIXEDMAP, driver=m, fill=lambda vma: fill_with_pages(m.k, m.tasks[0], vma))
    assert m.load(BASE + 12) == "SIGSEGV"


@script
def references_by_gup(m: Machine) -> None:
    m.map()
    m.store(BASE, b"abcd")
    m.load(BASE + 1)
    (plain,) = m.gup(BASE)
    assert plain == m.entry(BASE) >> e.SHIFT
    got = m.gup(BASE, 3, write=True, fast=True)
    assert [m.entry(BASE + i) >> e.SHIFT for i in range(3)] == got
    assert m.k.frames.refcount[plain] == 4  # mapped, two of ours, one of the LRU batch
    m.unmap()
    assert m.k.frames.data is not None
    assert m.k.frames.data[plain, :4].tobytes() == b"abcd", "the page outlives its mapping"
    release(m.k, got)
    release(m.k, [plain])
    m.map(1, prot=READ)
    with pytest.raises(Errno, match="EFAULT"):
        m.gup(BASE, write=True)
    with pytest.raises(Errno, match="EFAULT"):
        m.gup(BASE, 2)
    assert m.k.findings == []


@script
def write_gup_breaks_sharing(m: Machine) -> None:
    m.map()
    m.store(BASE, b"abcd")
    child = m.fork()
    got = m.gup(BASE, write=True, fast=True)
    assert m.k.frames.data is not None
    m.k.frames.data[got[0], :1] = ord("X")
    assert (m.load(BASE), m.load(BASE, mm=child)) == (b"Xbcd", b"abcd")
    release(m.k, got)


@script
def pins_keep_their_page(m: Machine) -> None:
    """Whatever the program writes after a pin goes into the pinned page: unshared before, copied at once by fork."""
    m.map()
    m.store(BASE, b"abcd")
    sibling = m.fork()
    got = m.gup(BASE, pin=True, name="rdma")
    assert m.k.frames.flags[got[0]] & EXCLUSIVE
    child = m.fork()
    m.store(BASE, b"EFGH")
    assert m.k.frames.data is not None
    assert m.k.frames.data[got[0], :4].tobytes() == b"EFGH"
    assert [m.load(BASE, mm=x) for x in (child, sibling)] == [b"abcd", b"abcd"]
    m.advise("pageout")
    assert m.entry(BASE) & e.KIND == e.PRES, "a pinned page is not swapped out"
    release(m.k, got, "rdma", pin=True)
    m.advise("pageout")
    assert m.entry(BASE) & e.KIND == e.SWAP


@script
def freed_pages(m: Machine) -> None:
    m.map()
    m.store(BASE, b"gone")
    m.store(BASE + 1, b"kept")
    m.run(drop_caches)  # onto the LRU
    m.advise("free", 2)
    m.store(BASE + 1, b"K")
    m.advise("pageout", 2)
    assert m.load(BASE) == bytes(4)
    assert m.load(BASE + 1) == b"Kept"


@script
def nothing_is_left_of_a_failed_fork(m: Machine) -> None:
    m.map()
    m.store(BASE, b"abcd")
    m.k.inject.once("table")
    with pytest.raises(Errno, match="ENOMEM"):
        m.fork()
    assert len(m.k.mms) == 1
    assert m.store(BASE, b"x") == "ok"


@script
def running_out_of_memory(m: Machine) -> None:
    m.map()
    m.k.inject.once("alloc")
    assert m.store(BASE, b"a") == "ok", "one failure is tried again"
    m.k.inject.once("alloc", 100)
    assert m.store(BASE + 1, b"a") == "SIGKILL"
    m.k.inject.pending.clear()
    m.k.inject.once("memcg")
    with pytest.raises(Errno, match="ENOMEM"):
        m.gup(BASE + 2, write=True)


def _huge(m: Machine) -> None:
    m.map(1024)
    m.advise("hugepage", 1024)
    for i in range(0, 512, 100):
        m.store(BASE + i, b"%04d" % i)
    assert m.mm.pmd[1] & e.KIND == e.PRES


@script
def huge_pages(m: Machine) -> None:
    _huge(m)
    assert m.load(BASE + 512) == bytes(4)
    assert m.mm.pmd[2] & e.KIND == e.ZERO
    child = m.fork()
    assert m.store(BASE + 100, b"C", 0, mm=child) == "ok"
    assert (m.load(BASE + 100), m.load(BASE + 100, mm=child), m.load(BASE + 200, mm=child)) == (
        b"0100",
        b"C100",
        b"0200",
    )
    m.protect(READ, 512)
    assert m.store(BASE, b"x") == "SIGSEGV"
    m.protect(RW, 512)
    m.unmap(100, BASE + 50)
    assert [m.load(BASE + i) for i in (0, 100, 200)] == [b"0000", "SIGSEGV", b"0200"]
    m.advise("pageout", 512, BASE + 150)
    assert m.load(BASE + 300) == b"0300"


@script
def huge_pages_move(m: Machine) -> None:
    _huge(m)
    m.move(BASE + 2048, 512)
    assert m.mm.pmd[5] & e.KIND == e.PRES
    m.move(BASE + 2048 + 600, 512, BASE + 2048)
    assert m.entry(BASE + 2648) & e.WRITE
    assert [m.load(BASE + 2648 + i) for i in (0, 300, 500)] == [b"0000", b"0300", b"0500"]


@script
def collapsing(m: Machine) -> None:
    m.map(1024)
    for i in range(0, 512, 50):
        m.store(BASE + i, b"%04d" % i)
    m.advise("pageout", 100)
    pins = m.gup(BASE + 50, pin=True)
    with pytest.raises(Errno, match="EAGAIN"):
        m.advise("collapse", 512)
    assert m.load(BASE + 100) == b"0100"
    release(m.k, pins, pin=True)
    m.advise("collapse", 1024 - 512)
    assert m.mm.pmd[1] & e.KIND == e.PRES
    assert [m.load(BASE + i, cpu=1) for i in range(0, 512, 50)] == [b"%04d" % i for i in range(0, 512, 50)]
    m.advise("collapse", 300)  # no whole huge page in it: nothing to do, as Linux sees it
    assert m.mm.pmd[1] & e.KIND == e.PRES


@script
def hugetlb(m: Machine) -> None:
    m.map(512, flags=HUGETLB)
    m.map(512, 2048, flags=HUGETLB | SHARED)
    for start in (BASE, 2048):
        m.store(start + 7, b"abcd")
        assert m.k.tables.read(m.mm, start) & e.KIND == e.PRES
    child = m.fork()
    m.store(BASE + 7, b"X", mm=child)
    m.store(2048 + 7, b"X", mm=child)
    assert (m.load(BASE + 7), m.load(2048 + 7)) == (b"abcd", b"Xbcd")
    m.run(userfault_register, m.mm, BASE, 512, UFFD_WP)
    m.run(userfault_protect, m.mm, BASE, 512, True)
    assert m.store(BASE + 9, b"Z") == "ok"
    assert not m.entry(BASE) & e.UFFD
    with pytest.raises(Errno, match="EINVAL"):
        m.unmap(5)
    with pytest.raises(Errno, match="ENOMEM"):
        m.map(17 * 512, 8192, flags=HUGETLB)

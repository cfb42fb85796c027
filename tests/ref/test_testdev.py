"""The test device: the scenarios of base pages, private and coherent."""

from __future__ import annotations

import numpy as np
import pytest

from hmmspec.ref import testdev
from hmmspec.ref.errors import Errno
from hmmspec.ref.gup import release
from hmmspec.ref.mmap import insert_page
from hmmspec.ref.spaces import HUGETLB, MIXEDMAP, READ, SHARED
from tests.ref.devices import COUNTING, Devices, N, both, filled, numbers
from tests.ref.machine import BASE, RW


@both
def test_read_of_holes_zeros_and_pages(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N - 2, BASE + 2, first=3)
    m.protect(READ, N)
    assert m.get(1, BASE + 1) == [0]
    found = m.act("read", N)
    assert (found.cpages, found.faults) == (N, 1)
    assert numbers(found) == [0, 0, *COUNTING[2:]]
    assert m.act("read", N).faults == 0, "all is in the mirror now"
    m.finish()


@both
def test_read_without_permission(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    m.protect(0, N)
    assert m.fails("read", N) == "EFAULT"
    m.protect(READ, N)
    assert m.get(N) == COUNTING
    m.finish()


@both
def test_write(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    found = m.write(COUNTING)
    assert (found.cpages, found.faults) == (N, 1)
    assert m.get(N) == COUNTING
    m.finish()


@both
def test_write_needs_permission(private: bool) -> None:
    m = Devices(private)
    m.map(N, prot=READ)
    found = m.act("read", 1)
    assert (found.cpages, found.faults) == (1, 1)
    with pytest.raises(Errno, match="EPERM"):
        m.write(COUNTING)
    assert m.get(N) == [0] * N
    m.protect(RW, N)
    assert m.write(COUNTING).faults == 1
    assert m.get(N) == COUNTING
    m.finish()


@both
def test_write_by_a_child_is_seen_only_where_memory_is_shared(private: bool) -> None:
    for flags in (0, SHARED):
        m = Devices(private)
        m.map(N, flags=flags)
        m.put(N)
        child = m.fork()
        m.b[0] = m.open(m.dev[0], child)
        minus = [-n for n in COUNTING]
        found = m.write(minus)
        assert (found.cpages, found.faults) == (N, 1)
        assert m.get(N, mm=child) == minus
        assert m.get(N) == (minus if flags else COUNTING)
        m.finish()


def test_write_to_hugetlb() -> None:
    m = Devices()
    m.map(512, flags=HUGETLB)
    found = m.write(list(range(1, 513)))
    assert (found.cpages, found.faults) == (512, 1)
    assert m.get(4, BASE + 100) == [101, 102, 103, 104]
    assert m.bytes_of(512) == [0x06] * 512
    m.protect(READ, 512)
    assert m.bytes_of(512) == [0x05] * 512
    m.finish()


@both
def test_file_pages(private: bool) -> None:
    m = Devices(private)
    file = m.k.new_file("f", N)
    assert file.disk is not None
    for i in range(N):
        file.disk[i] = np.frombuffer(filled(i + 1), np.uint8)
    m.map(N, flags=SHARED, file=file)
    found = m.act("read", N)
    assert (found.cpages, found.faults, numbers(found)) == (N, 1, COUNTING)
    assert m.write([n + 50 for n in COUNTING]).faults == 1
    assert m.get(N) == [n + 50 for n in COUNTING]
    # Mirrored before, so the command finds all of it in the mirror, although nothing of a file moves.
    assert m.act("migrate_to_device", N).cpages == N
    assert m.dev[0].memory.live == 0
    m.unmap(N)
    m.map(N, flags=SHARED, file=file)
    assert m.fails("migrate_to_device", N) == "ENOENT"
    m.finish()


@both
def test_migrate_and_touch_again(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    assert m.to_device(N) == COUNTING
    assert m.dev[0].memory.live == N
    assert m.get(N // 2) == COUNTING[: N // 2]
    assert m.dev[0].memory.live == (N // 2 if private else N)
    assert m.to_device(N) == COUNTING
    assert m.get(N) == COUNTING
    m.finish()


@both
def test_migrate_private_copies_of_a_file(private: bool) -> None:
    m = Devices(private)
    m.map(N, file=m.k.new_file("f", N))
    m.put(N)
    assert m.to_device(N) == COUNTING
    assert m.get(N) == COUNTING
    m.finish()


@both
def test_release_keeps_the_data(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    m.to_device(N)
    m.run(testdev.release_memory, m.b[0])
    assert m.dev[0].memory.chunks == []
    assert m.get(N) == COUNTING
    assert m.to_device(N) == COUNTING, "memory is added again on demand"
    m.finish()


@both
def test_shared_memory_is_not_migrated(private: bool) -> None:
    m = Devices(private)
    m.map(N, flags=SHARED)
    assert m.fails("migrate_to_device", N) == "ENOENT"
    m.finish()


@both
def test_gaps_and_special_mappings_are_refused(private: bool) -> None:
    m = Devices(private)
    assert m.fails("migrate_to_device", N) == "EINVAL"
    m.map(N // 2)
    m.put(N // 2)
    assert m.fails("migrate_to_device", N) == "EINVAL"
    assert m.dev[0].memory.live == N // 2, "what is before the gap has moved"
    assert m.fails("migrate_to_system", N) == "EINVAL"
    m.map(N // 2, BASE + N // 2, prot=0)
    assert m.fails("migrate_to_device", N) == "EINVAL"
    m.finish()


@both
def test_there_and_back_many_times(private: bool) -> None:
    m = Devices(private)
    for c in range(4):
        m.map(N)
        m.put(N, first=c)
        assert m.to_device(N) == list(range(c, c + N))
        found = m.act("migrate_to_system", N)
        assert found.cpages == N
        assert m.dev[0].memory.live == 0
        assert m.get(N) == list(range(c, c + N))
        m.unmap(N)
    m.finish()


def test_mixed_map() -> None:
    m = Devices()
    vma = m.map(1, flags=MIXEDMAP, driver=m.dev[0])
    page = m.k.alloc("driver")
    assert m.run(insert_page, vma, BASE, page)
    m.k.put(page, "driver")
    assert m.bytes_of(1) == [0x01]
    assert m.fails("migrate_to_device", 1) == "EINVAL"
    m.finish()


@both
def test_snapshot(private: bool) -> None:
    m = Devices(private)
    m.map(7)
    m.protect(0, 1)
    m.unmap(1, BASE + 1)
    m.protect(READ, 1, BASE + 2)
    m.get(1, BASE + 2)
    m.put(1, BASE + 3)
    m.protect(READ, 1, BASE + 3)
    m.put(1, BASE + 4)
    m.to_device(1, BASE + 5)
    m.to_device(1, BASE + 6, device=1)
    last = [0x22, 0x00] if private else [0x42, 0x52]
    assert m.bytes_of(7) == [0xFF, 0xFF, 0x11, 0x01, 0x02, *last]
    assert m.bytes_of(2, BASE + 5, device=1) == ([0x00, 0x22] if private else [0x52, 0x42])
    m.finish()


@both
def test_two_devices(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    m.to_device(N)
    found = m.act("read", N, device=1)
    assert (found.faults, numbers(found)) == (1, COUNTING)
    assert m.dev[0].memory.live == (0 if private else N), "a foreign private page is brought to system memory"
    if private:
        assert m.to_device(N, device=1) == COUNTING
        assert m.fails("migrate_to_device", N, device=0) == "ENOENT"
    m.finish()


@both
def test_exclusive(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    found = m.act("make_exclusive", N)
    assert (found.cpages, numbers(found)) == (N, COUNTING)
    assert m.fails("check_exclusive", N) == "EPERM"
    assert m.to_device(N) == COUNTING, "exclusive pages are in the mirror, and stay where they are"
    assert m.dev[0].memory.live == 0
    assert m.get(N) == COUNTING
    m.put(N, first=2)
    m.act("check_exclusive", N)
    m.finish()


@both
def test_exclusive_and_permission(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    m.act("make_exclusive", N)
    m.protect(READ, N)
    with pytest.raises(Errno, match="EPERM"):
        m.write(COUNTING)
    assert m.fails("make_exclusive", N) == "EFAULT"
    m.finish()


@both
def test_exclusive_of_what_it_is_not_for(private: bool) -> None:
    m = Devices(private)
    m.map(2, flags=SHARED)
    assert m.fails("make_exclusive", 1) == "EOPNOTSUPP"
    assert m.fails("make_exclusive", 1, BASE + 100) == "EFAULT"
    m.finish()


@both
def test_exclusive_and_fork(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    m.act("make_exclusive", N)
    child = m.fork()
    for mm in (m.mm, child):
        assert m.get(N, mm=mm) == COUNTING
        m.put(N, first=100, mm=mm)
        assert m.get(N, mm=mm) == list(range(100, 100 + N))
    assert m.get(N) == list(range(100, 100 + N))
    m.finish()


def test_the_second_device_takes_exclusive_access_over() -> None:
    m = Devices()
    m.map(N)
    m.put(N)
    m.act("make_exclusive", N)
    m.act("make_exclusive", N, device=1)
    m.act("check_exclusive", N, device=0)
    assert m.fails("check_exclusive", N, device=1) == "EPERM"
    m.finish()


@both
def test_gup(private: bool) -> None:
    m = Devices(private)
    m.map(4)
    m.put(4)
    m.to_device(4)
    held = [
        (m.gup(BASE, write=True), False),
        (m.gup(BASE + 1, write=True, fast=True), False),
        (m.gup(BASE + 2, write=True, fast=True, pin=True, longterm=True), True),
        (m.gup(BASE + 3, write=True, pin=True, longterm=True), True),
    ]
    assert m.bytes_of(4) == ([0x02] * 4 if private else [0x42, 0x42, 0x02, 0x02])
    assert m.get(4) == [1, 2, 3, 4]
    for pfns, pin in held:
        release(m.k, pfns, pin=pin)
    m.finish()


@both
def test_a_pinned_page_stays(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    for pin in (True, False):
        held = m.gup(BASE + 3, write=True, pin=pin)
        assert m.fails("migrate_to_device", N) == "ENOENT"
        assert m.dev[0].memory.live == N - 1
        assert m.get(N) == COUNTING
        m.act("migrate_to_system", N)
        # A page that was in the mirror before counts although it stays.
        m.act("read", N)
        assert m.to_device(N) == COUNTING
        assert m.dev[0].memory.live == N - 1
        release(m.k, held, pin=pin)
        m.act("migrate_to_system", N)
        m.protect(READ, N)
        m.protect(RW, N)
    m.finish()


@both
def test_memory_of_a_forked_process(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    m.to_device(N)
    child = m.fork()
    m.put(N, first=50)
    assert m.get(N, mm=child) == COUNTING
    assert m.get(N) == list(range(50, 50 + N))
    assert m.dev[0].memory.live == (0 if private else N)
    m.finish()


@both
def test_shared_pages_move_for_both_processes(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    child = m.fork()
    assert m.to_device(N) == COUNTING
    assert m.bytes_of(1) == [0x21 if private else 0x41]
    assert m.get(N, mm=child) == COUNTING
    m.put(N, first=70, mm=child)
    assert m.get(N) == COUNTING
    m.finish()


def test_a_write_to_an_own_read_only_page_warns() -> None:
    m = Devices()
    m.map(N)
    m.put(N)
    m.to_device(N)
    m.fork()
    with pytest.raises(Errno, match="EFAULT"):
        m.write(COUNTING)
    assert m.dev[0].warnings
    m.finish()


def test_the_newer_read() -> None:
    m = Devices()
    m.map(N)
    m.put(N)
    assert numbers(m.act("read_unlockable", N)) == COUNTING
    m.finish()
    old = Devices(profile_name="6.12")
    assert old.fails("read_unlockable", N) == "ENOTTY"


def test_commands_of_nonsense() -> None:
    m = Devices()
    for command in ("read", "migrate_to_device", "migrate_to_system", "snapshot", "make_exclusive", "check_exclusive"):
        assert m.fails(command, -1) == "EINVAL"
        assert m.fails(command, 4, 1 << 52) == "EINVAL"
    with pytest.raises(Errno, match="EEXIST"):
        m.open(m.dev[0], m.mm)
    with pytest.raises(ValueError, match="no room"):
        testdev.add_device(m.k, "dev2", True, 1 << 20)
    m.finish()

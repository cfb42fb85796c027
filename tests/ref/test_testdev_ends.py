"""The test device where something fails, memory is full, and when mappings, opens and memory end."""

from __future__ import annotations

import pytest

from hmmspec.ref import testdev
from hmmspec.ref.errors import Errno
from hmmspec.ref.gup import release
from tests.ref.devices import COUNTING, Devices, N, both
from tests.ref.machine import BASE


@both
def test_failed_allocations(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    m.run(testdev.flags, m.b[0], True)
    assert m.fails("migrate_to_device", N) == "ENOENT"
    assert m.dev[0].memory.live == N - 1
    m.run(testdev.flags, m.b[0], True)
    assert m.fails("migrate_to_system", N) == "ENOMEM"
    assert m.dev[0].memory.live == N - 1, "what was collected is as it was"
    assert m.get(N) == COUNTING
    m.finish()


@both
def test_failed_copies_lose_nothing(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    m.k.inject.once("copy")
    assert m.fails("migrate_to_device", N) == "ENOENT"
    assert m.get(N) == COUNTING
    m.to_device(N)
    m.k.inject.once("copy")
    assert m.fails("migrate_to_system", N) == "EIO"
    assert m.dev[0].memory.live == 1
    assert m.get(N) == COUNTING
    m.finish()


def test_a_program_whose_page_cannot_be_copied_back_gets_a_signal() -> None:
    m = Devices()
    m.map(1)
    m.put(1)
    m.to_device(1)
    m.k.inject.once("copy")
    assert m.load(BASE) == "SIGBUS"
    assert m.get(1) == [1]
    m.finish()


def test_device_memory_is_full() -> None:
    m = Devices()
    room = m.dev[0].memory.pages
    m.map(room + 4, flags=0)
    for i in range(0, room + 4, 512):
        count = min(512, room + 4 - i)
        if i + count <= room:
            m.act("migrate_to_device", count, BASE + i)
        else:
            assert m.fails("migrate_to_device", count, BASE + i) == "ENOENT"
    assert m.dev[0].memory.live == room
    assert len(m.dev[0].memory.chunks) == 2
    m.finish()


@both
def test_close_brings_the_pages_home(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    m.to_device(N)
    child = m.fork()
    m.run(testdev.close, m.b[0])
    assert m.dev[0].memory.live == 0
    with pytest.raises(Errno, match="EBADF"):
        m.act("read", 1)
    assert m.get(N) == m.get(N, mm=child) == COUNTING
    m.finish()


def test_close_leaves_them_where_the_kernel_does_not_evict() -> None:
    m = Devices(profile_name="latest-evict_on_close")
    m.map(N)
    m.put(N)
    m.to_device(N)
    m.run(testdev.close, m.b[0])
    assert m.dev[0].memory.live == N
    assert m.get(N) == COUNTING
    m.finish()


@both
@pytest.mark.parametrize("profile", ["latest", "latest-close_evicts_everybody"])
def test_close_and_the_pages_of_others(private: bool, profile: str) -> None:
    m = Devices(private, profile_name=profile)
    other = m.k.new_mm("p1")
    m.map(N)
    m.map(N, mm=other)
    b = m.open(m.dev[0], other)
    m.put(N, mm=other)
    m.to_device(N)
    m.b[0], mine = b, m.b[0]
    assert m.to_device(N) == COUNTING
    m.run(testdev.close, mine)
    assert m.dev[0].memory.live == (N if "everybody" in profile else 0)
    assert m.get(N, mm=other) == COUNTING
    m.finish()


@both
def test_munmap_frees_device_pages(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.to_device(N)
    m.unmap(N // 2)
    assert m.dev[0].memory.live == N // 2
    m.advise("dontneed", 1, BASE + N // 2)
    assert m.dev[0].memory.live == N // 2 - 1
    m.exit()
    assert m.dev[0].memory.live == 0
    m.finish()


@both
def test_a_move_takes_device_pages_along(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    m.to_device(N)
    m.move(BASE + 1024 + 7, N)
    assert m.bytes_of(1, BASE + 1024 + 7) == [0x22 if private else 0x42]
    assert m.get(N, BASE + 1024 + 7) == COUNTING
    m.finish()


@both
def test_held_memory_cannot_be_released(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    m.to_device(N)
    held = m.gup(BASE)
    if private:
        m.run(testdev.release_memory, m.b[0])
    else:
        with pytest.raises(Errno, match="EBUSY"):
            m.run(testdev.release_memory, m.b[0])
        assert m.dev[0].memory.live == 1
        m.act("read", 1)
        assert m.to_device(N) == COUNTING
        assert m.dev[0].memory.live == N, "the chunk is in use again"
    release(m.k, held)
    assert m.get(N) == COUNTING
    m.finish()

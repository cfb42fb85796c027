"""Pages of PMD size on a device: taken whole, split, and what happens where they cannot be had."""

from __future__ import annotations

import pytest

from hmmspec.ref import testdev
from hmmspec.ref.entries import DEVPRIV, KIND, TABLE
from hmmspec.ref.frames import HUGE
from hmmspec.ref.gup import release
from hmmspec.ref.spaces import READ
from tests.ref.devices import Devices, numbers
from tests.ref.machine import BASE, RW

N = HUGE
COUNTING = list(range(1, N + 1))
both = pytest.mark.parametrize("private", [True, False], ids=["private", "coherent"])


def huge(private: bool, prot: int = RW, fill: bool = True, advice: str = "hugepage", **options: object) -> Devices:
    """A machine with one PMD-size page of memory."""
    m = Devices(private, **options)  # type: ignore[arg-type]
    m.map(N, prot=prot)
    m.advise(advice, N)
    if fill:
        m.put(N)
    return m


def kind_of(m: Devices, start: int = BASE) -> int:
    return m.mm.pmd.get(start // HUGE, 0) & KIND


@both
def test_empty(private: bool) -> None:
    m = huge(private, prot=READ, fill=False)
    assert m.to_device(N) == [0] * N
    assert kind_of(m) != TABLE
    assert m.dev[0].memory.live == N
    assert m.get(4) == [0] * 4
    m.finish()


@both
def test_huge_zero_page(private: bool) -> None:
    m = huge(private, prot=READ, fill=False)
    assert m.get(1) == [0]
    assert m.bytes_of(1) == [0x05]
    assert m.to_device(N) == [0] * N
    assert kind_of(m) != TABLE
    assert m.get(N) == [0] * N
    m.finish()


@both
def test_free(private: bool) -> None:
    m = huge(private)
    assert m.to_device(N) == COUNTING
    m.advise("free", N)
    m.finish()


@both
def test_fault_after_collapse(private: bool) -> None:
    m = Devices(private)
    m.map(N)
    m.put(N)
    m.advise("collapse", N)
    assert m.to_device(N) == COUNTING
    assert m.bytes_of(N) == [0x26 if private else 0x46] * N
    if private:
        assert kind_of(m) == DEVPRIV
    assert m.get(N) == COUNTING
    assert m.dev[0].memory.live == (0 if private else N)
    assert m.bytes_of(N) == [0x06 if private else 0x46] * N
    m.finish()


@both
@pytest.mark.parametrize("advice", ["hugepage", "nohugepage"])
@pytest.mark.parametrize("offset", [0, N // 4, N // 2])
def test_partial_unmap(private: bool, advice: str, offset: int) -> None:
    m = huge(private, advice=advice)
    assert m.to_device(N) == COUNTING
    m.unmap(N // 2, BASE + offset)
    assert m.get(offset) == COUNTING[:offset]
    rest = offset + N // 2
    assert m.get(N - rest, BASE + rest) == COUNTING[rest:]
    m.finish()


@both
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("dontunmap", [True, False])
@pytest.mark.parametrize(("advice", "offset"), [("hugepage", 0), ("hugepage", N // 4), ("nohugepage", N // 4)])
def test_move(private: bool, before: bool, dontunmap: bool, advice: str, offset: int) -> None:
    m = huge(private, advice=advice)
    target = BASE + 2 * N + offset
    if before:
        m.move(target, N, dontunmap=dontunmap)
        assert m.to_device(N, target) == COUNTING
    else:
        assert m.to_device(N) == COUNTING
        m.move(target, N, dontunmap=dontunmap)
    assert m.get(N, target) == COUNTING
    m.finish()


@both
def test_failed_huge_allocations(private: bool) -> None:
    m = huge(private)
    m.run(testdev.flags, m.b[0], True)
    assert m.to_device(N) == COUNTING, "512 small pages do as well"
    assert kind_of(m) == TABLE
    assert m.bytes_of(1) == [0x22 if private else 0x42]
    assert m.get(1, BASE + 4) == [5]
    m.finish()
    m = huge(private)
    assert m.to_device(N) == COUNTING
    m.run(testdev.flags, m.b[0], True)
    assert m.act("migrate_to_system", N).cpages == N
    assert kind_of(m) == TABLE
    assert m.dev[0].memory.live == 0
    assert m.get(N) == COUNTING
    m.finish()


@both
@pytest.mark.parametrize("zero", [True, False])
def test_failed_huge_allocation_for_a_hole(private: bool, zero: bool) -> None:
    m = huge(private, prot=READ, fill=False)
    if zero:
        m.get(1)
    m.run(testdev.flags, m.b[0], True)
    assert m.to_device(N) == [0] * N
    assert m.dev[0].memory.live == N
    assert m.get(N) == [0] * N
    m.finish()


@both
def test_part_of_a_huge_page_migrates(private: bool) -> None:
    m = huge(private)
    assert m.to_device(16, BASE + 100) == COUNTING[100:116]
    assert m.dev[0].memory.live == 16
    assert m.get(N) == COUNTING
    m.finish()


@both
def test_part_of_a_huge_device_page_comes_back(private: bool) -> None:
    m = huge(private)
    m.to_device(N)
    assert m.act("migrate_to_system", 16, BASE + 100).cpages == 16
    assert m.dev[0].memory.live == N - 16
    assert m.get(N) == COUNTING
    m.finish()


def test_a_foreign_huge_page_is_an_error_in_a_snapshot_and_is_faulted_on_request() -> None:
    m = huge(True)
    m.to_device(N)
    assert m.bytes_of(2, device=1) == [0xFF, 0xFF]
    assert numbers(m.act("read", N, device=1)) == COUNTING
    assert m.dev[0].memory.live == 0
    m.finish()


@both
def test_fork_of_a_huge_device_page(private: bool) -> None:
    m = huge(private)
    m.to_device(N)
    child = m.fork()
    m.put(N, first=1000)
    assert m.get(N, mm=child) == COUNTING
    assert m.get(2) == [1000, 1001]
    m.finish()


@both
def test_release_of_huge_pages(private: bool) -> None:
    m = huge(private)
    m.to_device(N)
    m.run(testdev.release_memory, m.b[0])
    assert kind_of(m) != TABLE, "it went home whole"
    assert m.get(N) == COUNTING
    m.finish()


@both
def test_release_of_huge_pages_without_huge_memory(private: bool) -> None:
    m = huge(private)
    m.to_device(N)
    m.k.inject.once("alloc")
    m.run(testdev.release_memory, m.b[0])
    assert kind_of(m) == TABLE
    assert m.get(N) == COUNTING
    m.finish()


@both
def test_exclusive_access_splits(private: bool) -> None:
    m = huge(private)
    found = m.act("make_exclusive", 8)
    assert numbers(found) == COUNTING[:8]
    m.put(8, first=500)
    assert m.get(10) == [*range(500, 508), 9, 10]
    m.finish()


@both
def test_kernels_without_huge_device_pages_split(private: bool) -> None:
    m = huge(private, profile_name="6.12")
    assert m.bytes_of(1) == [0x06]
    assert m.to_device(N) == COUNTING
    assert m.bytes_of(2) == [0x22, 0x22] if private else [0x42, 0x42]
    assert m.get(N) == COUNTING
    m.finish()


@both
def test_a_pinned_huge_page_stays(private: bool) -> None:
    m = huge(private)
    held = m.gup(BASE + 7, write=True, pin=True)
    assert m.fails("migrate_to_device", N) == "ENOENT"
    assert m.dev[0].memory.live == 0
    release(m.k, held, pin=True)
    assert m.to_device(N) == COUNTING
    m.finish()

"""Copy engines, migration, faults, memories: what each adds up to, and what none can be."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmmspec.ref.cost.dma import DmaEngine, runs_of
from hmmspec.ref.cost.faults import FaultCosts
from hmmspec.ref.cost.link import PcieLink
from hmmspec.ref.cost.memory import Memory
from hmmspec.ref.cost.migration import Flush, Migration
from hmmspec.ref.cost.presets import FAULTS, PASCAL_COPY, PASCAL_ENGINE, PRESETS
from hmmspec.ref.cost.units import GB, KIB, MIB, NS, PMD, US, Impossible, read_rate, read_size, read_time

LINK = PcieLink(4, 16)
pages = st.lists(st.integers(0, 300), min_size=1, max_size=60, unique=True)


def test_a_small_copy_is_latency_and_a_large_one_bandwidth() -> None:
    small = PASCAL_ENGINE.copy_ps(PASCAL_COPY, 4 * KIB, to_device=True)
    large = PASCAL_ENGINE.copy_ps(PASCAL_COPY, 2 * MIB, to_device=True)
    assert small == 910 * NS + PASCAL_COPY.to_device_ps(4 * KIB)
    assert small / 2 < 910 * NS
    assert large / 100 > 910 * NS


def test_descriptors() -> None:
    engine = DmaEngine(descriptor_ps=100, descriptor_bytes=64 * KIB)
    assert engine.descriptors(0, 5) == 0
    assert engine.descriptors(1, 1) == 1
    assert engine.descriptors(128 * KIB, 1) == 2
    assert engine.descriptors(128 * KIB, 7) == 7
    assert replace(engine, coalesce=False).descriptors(128 * KIB, 1) == 32
    apart = engine.copy_ps(LINK, 128 * KIB, 32, to_device=True)
    assert apart - engine.copy_ps(LINK, 128 * KIB, 1, to_device=True) >= 30 * 100


def test_the_way_back_may_start_later() -> None:
    engine = DmaEngine(setup_ps=10, setup_back_ps=500)
    there, back = (engine.copy_ps(LINK, 4 * KIB, to_device=way) for way in (True, False))
    assert (there - LINK.to_device_ps(4 * KIB), back - LINK.to_system_ps(4 * KIB)) == (10, 500)


def test_duplex() -> None:
    engine = DmaEngine(setup_ps=1000)
    both = engine.both_ps(LINK, MIB, MIB)
    one, other = (engine.copy_ps(LINK, MIB, to_device=way) for way in (True, False))
    assert max(one, other) < both < one + other
    assert replace(engine, duplex=False).both_ps(LINK, MIB, MIB) == one + other
    assert engine.both_ps(LINK, MIB, 0) == one


@given(pages)
def test_runs_of_pages(source: list[int]) -> None:
    """As many pages as there are; a run ends where either side jumps; the names of pages do not matter."""
    target = sorted(source)
    runs = runs_of(source, target)
    assert sum(runs) == len(source)
    moved = runs_of([page + 1000 for page in source], [page + 77 for page in target])
    assert moved == runs
    assert len(runs_of(target, target)) == 1 + sum(b != a + 1 for a, b in pairwise(target))
    assert runs_of([5, 6, 7, 9], [1, 2, 8, 9]) == [2, 1, 1]


@given(st.integers(0, 4096), st.integers(0, 8), st.integers(0, 5))
def test_migration_adds_up(folios: int, huge: int, calls: int) -> None:
    costs = Migration(call_ps=50, folio_ps=7, huge_ps=11)
    assert costs.bookkeeping_ps(folios, huge, calls) == calls * 50 + folios * 7 + huge * 11
    assert costs.by_cpu_ps(folios * 4096, 4096) == 50 + folios * 7 + costs.copy_ps(folios * 4096)


def test_flushes_come_in_batches_and_have_a_ceiling() -> None:
    flush = Flush(call_ps=1000, page_ps=10, most_pages=33)
    costs = Migration(flush=flush, flush_batch=512)
    assert flush.ps(0) == 0
    assert (flush.ps(1), flush.ps(33), flush.ps(34), flush.ps(5000)) == (1010, 1330, 1330, 1330)
    assert costs.flushes_ps(512) == 1330
    assert costs.flushes_ps(513) == 1330 + 1010
    assert costs.flushes_ps(0) == 0


def test_a_pmd_mapped_page_is_a_case_of_its_own() -> None:
    costs = Migration(folio_ps=100, huge_ps=7, copy_rate=1 * GB, huge_copy_rate=2 * GB)
    assert costs.by_cpu_ps(PMD, PMD, pmd_mapped=True) == 7 + PMD * 500
    assert costs.by_cpu_ps(PMD, PMD) == 100 + PMD * 1000
    assert costs.by_cpu_ps(PMD, 4096) == 512 * 100 + PMD * 1000
    with pytest.raises(Impossible, match="a PMD maps 2097152 bytes, not 4096"):
        costs.by_cpu_ps(PMD, 4096, pmd_mapped=True)


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_a_batch_of_faults_costs_no_more_than_its_parts(one: int, other: int) -> None:
    whole = FAULTS.batch_ps(one + other, 2, 16)
    assert whole <= FAULTS.batch_ps(one, 1, 16) + FAULTS.batch_ps(other, 1)
    assert FAULTS.batches(one) == -(-one // 256)


def test_a_single_fault_is_never_multiplied() -> None:
    """The interrupt and the replay are most of one fault, and hardly anything of each of 256."""
    one = FAULTS.batch_ps(1, 1, 1)
    assert 20 * US <= one <= 45 * US
    assert FAULTS.batch_ps(256, 1, 256) < 256 * one / 30


@given(st.integers(1, 1 << 30), st.integers(1, 10_000))
def test_memory_is_bound_by_rate_or_by_waiting(size: int, count: int) -> None:
    memory = Memory(rate=2_000 * GB, latency_ps=400 * NS, outstanding=64)
    took = memory.access_ps(size, count)
    assert took >= 400 * NS + size * 1000 // 2_000
    assert took >= 400 * NS + (count - 1) * 400 * NS // 64
    assert memory.access_ps(0, count) == memory.access_ps(size, 0) == 0
    assert took <= sum([memory.access_ps(size, 1), memory.access_ps(size, count)])


@pytest.mark.parametrize(
    "make",
    [
        lambda: DmaEngine(setup_ps=-1),
        lambda: DmaEngine(descriptor_bytes=0),
        lambda: DmaEngine(setup_back_ps=-5),
        lambda: DmaEngine().copy_ps(LINK, -4096, to_device=True),
        lambda: DmaEngine().copy_ps(LINK, 4096, -1, to_device=True),
        lambda: Migration(call_ps=-1),
        lambda: Migration(copy_rate=0),
        lambda: Migration().bookkeeping_ps(-1),
        lambda: Migration().copy_ps(-1),
        lambda: Migration().by_cpu_ps(4096, 0),
        lambda: Migration().flushes_ps(-1),
        lambda: Flush(page_ps=-1),
        lambda: FaultCosts(irq_ps=-1),
        lambda: FaultCosts(batch=0),
        lambda: FAULTS.batch_ps(-1),
        lambda: FAULTS.batch_ps(1, -1),
        lambda: Memory(0),
        lambda: Memory(1, -1),
        lambda: Memory(1).access_ps(-1),
        lambda: replace(PRESETS["pcie4"], walk_ps=-1),
        lambda: replace(PRESETS["pcie4"], swap_rate=0),
        lambda: Migration(call_ps=1.5),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be(make: object) -> None:
    with pytest.raises(Impossible) as caught:
        make()  # type: ignore[operator]
    assert caught.value.code == "HMM141"


@pytest.mark.parametrize(("text", "size"), [("4096", 4096), ("64K", 65536), ("1.5M", 1572864), ("2 GiB", 2 << 30)])
def test_sizes(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-4K", "1.5", "4 Q", "1e3", "--4"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(Impossible):
        read_size(text)


def test_times_and_rates() -> None:
    assert (read_time("0.91us"), read_time("45 us"), read_time("1ps")) == (910_000, 45_000_000, 1)
    assert (read_rate("11.4GB/s"), read_rate("800 MB/s")) == (11_400_000_000, 800_000_000)
    for text in ("5", "-1us", "us", "1 year"):
        with pytest.raises(Impossible):
            read_time(text)
    for text in ("5", "0GB/s", "-1GB/s", "GB"):
        with pytest.raises(Impossible):
            read_rate(text)

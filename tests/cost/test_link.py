"""Links: the published formula, what no link has, and what holds for every link."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmmspec.ref.cost.link import (
    BOUNDARIES,
    GENERATIONS,
    LANES,
    PAYLOADS,
    PcieLink,
    RateLink,
    dllp_band,
    recommended_interval,
)
from hmmspec.ref.cost.units import GB, GIB, Impossible, S

# The base specification's tables of Ack and flow-control intervals, MPS 128 to 4096.
TABLES = {
    (1, 1): (237, 416, 559, 1071, 2095, 4143),
    (1, 2): (128, 217, 289, 545, 1057, 2081),
    (1, 4): (73, 118, 154, 282, 538, 1050),
    (1, 8): (67, 107, 86, 150, 278, 534),
    (1, 16): (48, 72, 86, 150, 278, 534),
    (2, 1): (288, 467, 610, 1122, 2146, 4194),
    (2, 8): (118, 158, 137, 201, 329, 585),
    (2, 16): (99, 123, 137, 201, 329, 585),
    (3, 1): (333, 512, 655, 1167, 2191, 4239),
    (3, 4): (169, 214, 250, 378, 634, 1146),
    (4, 8): (163, 203, 182, 246, 374, 630),
    (5, 16): (144, 168, 182, 246, 374, 630),
    (3, 32): (129, 141, 148, 180, 244, 372),
}

links = st.builds(
    PcieLink,
    generation=st.sampled_from(sorted(GENERATIONS)),
    lanes=st.sampled_from(LANES),
    mps=st.sampled_from(PAYLOADS),
    mrrs=st.sampled_from(PAYLOADS),
    rcb=st.sampled_from(BOUNDARIES),
    rcb_completions=st.booleans(),
    address_bits=st.sampled_from([32, 64]),
    ecrc=st.booleans(),
    ack_interval=st.one_of(st.none(), st.just(0), st.integers(100, 5000)),
    fc_interval=st.one_of(st.none(), st.just(0), st.integers(100, 5000)),
    outstanding=st.one_of(st.none(), st.integers(1, 256)),
)
sizes = st.integers(1, GIB)


@pytest.mark.parametrize("row", TABLES, ids=str)
def test_recommended_intervals_are_those_of_the_tables(row: tuple[int, int]) -> None:
    assert tuple(recommended_interval(*row, mps) for mps in PAYLOADS) == TABLES[row]


@pytest.mark.parametrize(
    ("generation", "raw"), [(1, "4"), (2, "8"), (3, "15.754"), (4, "31.508"), (5, "63.015"), (6, "121")]
)
def test_raw_rates(generation: int, raw: str) -> None:
    assert PcieLink(generation, 16).raw / GB == pytest.approx(Fraction(raw), rel=1e-4)


def test_headers() -> None:
    link = PcieLink(3, 16)
    assert (link.write_wire(1), link.request_wire(1), link.completion_wire(1)) == (25, 24, 21)
    small = PcieLink(3, 16, address_bits=32, ecrc=True)
    assert (small.write_wire(1), small.request_wire(1), small.completion_wire(1)) == (25, 24, 25)
    assert link.write_wire(1000) == 1000 + 4 * 24
    assert PcieLink(3, 16, rcb_completions=True).completion_wire(1000) == 1000 + 16 * 20
    assert link.write_wire(1000, 3) == 1000 + 6 * 24  # 334 + 333 + 333


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lanes": 7}, "no PCIe link has width x7"),
        ({"lanes": True}, "no PCIe link has width xTrue"),
        ({"generation": 8}, "no PCIe link has generation 8"),
        ({"mps": 100}, "no PCIe link has MPS 100"),
        ({"mrrs": -128}, "no PCIe link has MRRS -128"),
        ({"rcb": 4096}, "no PCIe link has RCB 4096"),
        ({"address_bits": 48}, "no PCIe link has address_bits 48"),
        ({"ack_interval": -1}, "ack_interval of a PCIe link must be a whole number from 0, not -1"),
        ({"outstanding": 0}, "outstanding of a PCIe link must be a whole number from 1, not 0"),
        ({"ack_interval": 10, "fc_interval": 10}, "leave nothing for data"),
    ],
)
def test_impossible_links(change: dict[str, int], told: str) -> None:
    with pytest.raises(Impossible, match=told) as caught:
        PcieLink(**{"generation": 3, "lanes": 16, **change})
    assert caught.value.code == "HMM140"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"to_device_rate": 0}, "to_device_rate of a link must be a whole number from 1"),
        ({"to_system_rate": 20}, "a link cannot carry 20 bytes a second over a wire of 10"),
        ({"round_trip_ps": -1}, "round_trip_ps"),
        ({"grain": 0}, "grain"),
    ],
)
def test_impossible_rates(change: dict[str, int], told: str) -> None:
    with pytest.raises(Impossible, match=told):
        RateLink(**{"name": "x", "raw_rate": 10, "to_device_rate": 10, "to_system_rate": 10, **change})


@pytest.mark.parametrize("size", [-1, 1.5, True, "4"])
def test_impossible_sizes(size: object) -> None:
    with pytest.raises(Impossible, match="the size of a transfer") as caught:
        PcieLink(3, 16).to_device_ps(size)  # type: ignore[arg-type]
    assert caught.value.code == "HMM141"


@given(links, sizes)
def test_payload_is_below_packets_and_packets_below_raw(link: PcieLink, size: int) -> None:
    assert link.raw >= link.tlp > max(link.write_rate(size), link.read_rate(size))
    assert min(link.write_rate(size), link.read_rate(size)) >= link.both_rate(size) > 0


@given(links, sizes)
def test_no_transfer_is_faster_than_the_wire(link: PcieLink, size: int) -> None:
    least = Fraction(size * S) / link.raw
    for ps in (link.to_device_ps(size), link.to_system_ps(size), link.both_ps(size, size)):
        assert isinstance(ps, int) and ps >= least


@given(links, sizes, sizes)
def test_one_transfer_takes_no_longer_than_two(link: PcieLink, one: int, other: int) -> None:
    for time in (link.to_device_ps, link.to_system_ps):
        assert time(one) <= time(one + other) <= time(one) + time(other) + link.round_trip_ps
        assert time(one + other, 2) >= time(one + other)


@given(
    st.sampled_from([1, 2, 3, 4, 5]),
    st.sampled_from([1, 2, 4, 16]),
    st.integers(1, 64).map(lambda n: n * 4096),
)
def test_rates_rise_with_the_payload(generation: int, lanes: int, size: int) -> None:
    """Also where a larger payload changes the recommended interval of Acks (not x8, whose table has a step down)."""
    made = [PcieLink(generation, lanes, mps=mps, mrrs=4096) for mps in PAYLOADS]
    for smaller, larger in pairwise(made):
        assert smaller.tlp <= larger.tlp
        assert smaller.write_rate(size) <= larger.write_rate(size)
        assert smaller.read_rate(size) <= larger.read_rate(size)
    assert all(link.read_rate(size) >= link.write_rate(size) for link in made)


def test_outstanding_requests_bound_reads() -> None:
    link = PcieLink(4, 16, mrrs=512, outstanding=32, round_trip_ps=1_000_000)
    assert link.read_rate(4096) == 32 * 512 * 1_000_000  # 32 requests a microsecond
    assert link.read_rate(64) == 32 * 64 * 1_000_000
    assert link.write_rate(4096) == PcieLink(4, 16).write_rate(4096)
    million = link.to_device_ps(1 << 20)
    assert million == ((1 << 20) // (32 * 512) - 1) * 1_000_000  # the first round trip is the caller's
    assert link.to_system_ps(1 << 20) < million


def test_both_directions_share_the_requests() -> None:
    link = PcieLink(4, 16)
    assert link.both_ps(1 << 20, 0) == link.to_device_ps(1 << 20)
    assert link.both_ps(0, 1 << 20) == link.to_system_ps(1 << 20)
    assert link.both_ps(1 << 20, 1 << 20) == pytest.approx((1 << 20) * S / link.both_rate(1 << 20), rel=1e-6)


@pytest.mark.parametrize(("generation", "low", "high"), [(3, 11.76, 15.05), (4, 23.52, 30.10), (5, 47.03, 60.19)])
def test_bands(generation: int, low: float, high: float) -> None:
    assert [float(rate / GB) for rate in dllp_band(generation)] == pytest.approx([low, high], abs=0.01)


def test_rate_links_move_whole_grains() -> None:
    link = RateLink("x", 1000 * GB, 100 * GB, 50 * GB, grain=64)
    assert link.to_device_ps(1) == link.to_device_ps(64) == 640
    assert link.to_system_ps(65) == 2 * 1280
    assert link.to_device_ps(64, 2) == 1280
    assert link.to_device_ps(0) == link.to_system_ps(0) == 0
    assert link.both_ps(64, 64) == 1280

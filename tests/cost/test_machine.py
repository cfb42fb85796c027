"""Machines: what a time line asks of them, the invariants of all prices, and the file that holds one."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmmspec.diagnostics import Source, SpecError
from hmmspec.ref.cost.machine import Machine, Requests
from hmmspec.ref.cost.machine_file import machine_from_json, machine_to_json
from hmmspec.ref.cost.presets import PRESETS
from hmmspec.ref.cost.timeline import FREE, LANES, Kind, Lane, TimeLine, Total
from hmmspec.ref.cost.units import PAGE, S

OVER_LINK = {
    Kind.COPY_TO_DEVICE,
    Kind.COPY_TO_SYSTEM,
    Kind.DEVICE_READ,
    Kind.DEVICE_WRITE,
    Kind.CPU_READ,
    Kind.CPU_WRITE,
}
machines = st.sampled_from(list(PRESETS.values()))
kinds = st.sampled_from(list(Kind))
# (count, bytes) as they belong together: a run or a request is a page at least.
amounts = st.integers(1, 2000).flatmap(lambda n: st.integers(n, 8 * n).map(lambda pages: (n, pages * PAGE)))
events = st.lists(st.tuples(kinds, amounts, st.integers(1, 50)), max_size=20)


@given(machines, kinds, amounts)
def test_no_price_is_negative_or_beats_the_wire(machine: Machine, kind: Kind, amount: tuple[int, int]) -> None:
    count, size = amount
    ps = machine.price(kind, count, size)
    assert isinstance(ps, int) and ps >= 0
    if kind in OVER_LINK:
        assert ps >= Fraction(size * S) / machine.link.raw


@given(machines, kinds, amounts, amounts)
def test_one_batch_costs_no_more_than_two(
    machine: Machine, kind: Kind, one: tuple[int, int], other: tuple[int, int]
) -> None:
    whole = machine.price(kind, one[0] + other[0], one[1] + other[1])
    parts = machine.price(kind, *one) + machine.price(kind, *other)
    # Each part is rounded up to a whole picosecond, and a batch that is not full may be shared differently.
    assert whole <= parts + 2


@given(machines, events, events)
def test_costs_add_up(machine: Machine, first: list, second: list) -> None:
    """A trace cut into two costs the same; the order of events does not matter."""
    lines = [TimeLine(machine) for _ in range(3)]
    for line, trace in zip(lines, (first + second, first, list(reversed(second))), strict=True):
        for kind, (count, size), times in trace:
            line.charge(kind, count, size, times)
    assert lines[0].now == lines[1].now + lines[2].now
    assert sum(t.ps for t in lines[0].totals.values()) == lines[0].now == sum(lines[0].lanes().values())


@given(events)
def test_times_is_so_many_events(trace: list) -> None:
    one, many = TimeLine(PRESETS["pcie3"]), TimeLine(PRESETS["pcie3"], keep=True)
    for kind, (count, size), times in trace:
        one.charge(kind, count, size, times)
        for _ in range(times):
            many.charge(kind, count, size)
    assert one.totals == many.totals and one.now == many.now and one.events() == many.events()
    assert many.now == sum(entry.ps for entry in many.entries)
    starts = [entry.at for entry in many.entries]
    assert starts == sorted(starts)


def test_a_line_refuses_what_cannot_happen() -> None:
    line = TimeLine(PRESETS["pcie4"])
    for wrong in ((-1, 0, 1), (1, -1, 1), (1, 0, -1)):
        with pytest.raises(ValueError, match="copy to device"):
            line.charge(Kind.COPY_TO_DEVICE, *wrong)
    assert line.now == 0 and line.totals == {}


def test_a_line_can_start_anew() -> None:
    line = TimeLine(PRESETS["pcie4"], keep=True)
    assert line.charge(Kind.MIGRATE_PAGE, 512) == 512 * PRESETS["pcie4"].migration.folio_ps == line.now
    assert line.totals == {Kind.MIGRATE_PAGE: Total(1, 512, 0, line.now)}
    assert line.lanes()[Lane.CPU] == line.now
    line.reset()
    assert (line.now, line.entries, line.totals, line.events()) == (0, [], {}, {})


def test_what_is_free_is_free() -> None:
    assert FREE.charge(Kind.CPU_FAULT) == FREE.charge(Kind.WALK, 10) == FREE.now == 0
    assert FREE.totals == {}


@pytest.mark.parametrize("machine", PRESETS.values(), ids=PRESETS)
def test_every_kind_has_a_price(machine: Machine) -> None:
    for kind in Kind:
        assert machine.price(kind, 1, PAGE) > 0 or kind is Kind.MIGRATE_CALL, kind
    assert set(LANES) <= set(Kind)
    assert machine.sources and all(machine.sources)


def test_a_chain_of_reads_pays_each_round_trip() -> None:
    machine = PRESETS["pcie4"]
    chain = TimeLine(machine).charge(Kind.DEVICE_READ, 1, 64, 1000)
    together = TimeLine(machine).charge(Kind.DEVICE_READ, 1000, 64_000)
    assert chain >= 1000 * machine.link.round_trip_ps
    assert together < chain / 50


def test_posted_writes_wait_for_nobody() -> None:
    machine = PRESETS["pcie4"]
    assert machine.price(Kind.DEVICE_WRITE, 1, 64) < machine.link.round_trip_ps
    coherent = PRESETS["c2c"]
    assert coherent.price(Kind.DEVICE_WRITE, 1, 64) > coherent.link.round_trip_ps


def test_requests_are_of_a_grain() -> None:
    link = PRESETS["pcie4"].link
    few = Requests(1, 64).ps(link, 4096, 1, to_device=True, posted=False)
    many = Requests(64, 64).ps(link, 4096, 1, to_device=True, posted=False)
    assert few > 63 * link.round_trip_ps > many
    assert Requests().ps(link, 0, 5, to_device=True, posted=False) == 0


@pytest.mark.parametrize("machine", PRESETS.values(), ids=PRESETS)
def test_a_machine_survives_its_file(machine: Machine) -> None:
    again = machine_from_json(Source("m.json", machine_to_json(machine)))
    assert again == machine
    assert again.sources == machine.sources


WRONG = [
    ("{", "HMM144", "not a JSON document"),
    ("[1]", "HMM144", "not a machine"),
    ('{"format": "hmmspec-machine", "version": 2}', "HMM144", "version 2"),
    ('{"format": "hmmspec-machine", "version": 1, "name": "x"}', "HMM144", "lacks the field 'link'"),
]


@pytest.mark.parametrize(("text", "code", "told"), WRONG)
def test_files_that_are_no_machine(text: str, code: str, told: str) -> None:
    with pytest.raises(SpecError, match=told) as caught:
        machine_from_json(Source("m.json", text))
    assert [d.code for d in caught.value.diagnostics] == [code]


@pytest.mark.parametrize(
    ("path", "value", "code", "told"),
    [
        (("link", "lanes"), 7, "HMM140", "width x7"),
        (("link", "mps"), 100, "HMM140", "MPS 100"),
        (("link", "kind"), "isa", "HMM144", "a link has a"),
        (("link", "coherent"), 1, "HMM144", "coherent must be true or false, not 1"),
        (("dma", "setup_ps"), -1, "HMM141", "must not be negative"),
        (("dma", "setup_ps"), 1.5, "HMM144", "a whole number"),
        (("dma", "setup_ps"), True, "HMM144", "a whole number"),
        (("dma", "stup_ps"), 1, "HMM144", "no field 'stup_ps'"),
        (("faults",), 3, "HMM144", "faults must be an object"),
        (("migration", "flush", "most_pages"), 0, "HMM141", "at least 1"),
        (("sources",), "x", "HMM144", "a list of lines"),
        (("name",), 3, "HMM144", "name must be a text"),
    ],
)
def test_fields_that_cannot_be(path: tuple[str, ...], value: object, code: str, told: str) -> None:
    body = json.loads(machine_to_json(PRESETS["pcie4"]))
    part = body
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    source = Source("m.json", json.dumps(body, indent=2))
    with pytest.raises(SpecError, match=told) as caught:
        machine_from_json(source)
    (found,) = caught.value.diagnostics
    assert found.code == code and found.span.source is source


@settings(max_examples=30)
@given(st.text(max_size=200))
def test_any_text_is_a_machine_or_a_diagnostic(text: str) -> None:
    with pytest.raises(SpecError):
        machine_from_json(Source("m.json", text))


def test_machines_can_differ_in_one_number() -> None:
    slow = replace(PRESETS["pcie4"], link=replace(PRESETS["pcie4"].link, lanes=8))
    for kind, fast in product((Kind.COPY_TO_DEVICE, Kind.COPY_TO_SYSTEM), (PRESETS["pcie4"],)):
        assert slow.price(kind, 1, 1 << 30) == pytest.approx(2 * fast.price(kind, 1, 1 << 30), rel=0.03)

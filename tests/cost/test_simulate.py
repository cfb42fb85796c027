"""Simulations: what each policy moves and faults on, on the reference kernel; and when migrating pays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmmspec.diagnostics import InternalError
from hmmspec.ref.cost.presets import PRESETS
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.cost.units import KIB, MIB, PAGE, Impossible
from hmmspec.ref.simulate import run
from hmmspec.ref.simulate.kernel import OnKernel
from hmmspec.ref.simulate.policies import POLICIES, ranges
from hmmspec.ref.simulate.run import Case, Made, Outcome, answer, make, simulate
from hmmspec.ref.simulate.workloads import WORKLOADS, Shape

PCIE, C2C = PRESETS["pcie4"], PRESETS["c2c"]
SIZE = MIB // 2
PAGES = SIZE // PAGE


def one(workload: str, policy: str, machine=PCIE, **more) -> Outcome:
    (found,) = simulate([Case(workload, policy, more.pop("size", SIZE), **more)], [machine])
    return found


def happened(outcome: Outcome, kind: Kind) -> dict[tuple[int, int], int]:
    """(count, bytes) -> how often, of the charges of one kind."""
    return {(count, size): n for (k, count, size), n in outcome.made.rounds[-1].items() if k is kind}


# ------------------------------------------------------------ what moves


def test_streaming_moves_the_array_once_or_reads_it_over_and_over() -> None:
    for policy in ("fault", "prefetch"):
        found = one("streaming", policy, rounds=3)
        assert (found.to_device, found.to_system, found.migrated) == (SIZE, 0, SIZE)
    for policy in ("never", "pin"):
        found = one("streaming", policy, rounds=3)
        assert (found.to_device, found.to_system, found.migrated) == (3 * SIZE, 0, 0)
    assert all(one("streaming", policy, rounds=3).made.useful == 3 * SIZE for policy in POLICIES)


def test_faults_bring_what_is_around_and_come_in_batches() -> None:
    found = one("streaming", "fault", size=4 * MIB, around=4 * KIB, rounds=1)
    assert found.device_faults == 1024
    assert happened(found, Kind.DEVICE_FAULT) == {(256, MIB): 4}
    found = one("streaming", "fault", size=4 * MIB, around=64 * KIB, rounds=1)
    assert happened(found, Kind.DEVICE_FAULT) == {(64, 4 * MIB): 1}
    assert one("streaming", "prefetch", rounds=1).device_faults == 0


def test_a_linked_list_faults_one_at_a_time() -> None:
    found = one("list", "fault", around=16 * KIB, rounds=2)
    assert found.device_faults == PAGES // 4
    assert happened(found, Kind.DEVICE_FAULT) == {(1, 16 * KIB): PAGES // 4}
    assert sum(happened(found, Kind.DEVICE_LOCAL).values()) == 2 * PAGES
    remote = one("list", "pin", rounds=2)
    assert remote.ps >= 2 * PAGES * PCIE.link.round_trip_ps


def test_ping_pong_faults_every_page_back_unless_memory_is_coherent() -> None:
    found = one("ping-pong", "fault", rounds=3)
    assert (found.cpu_faults, found.to_device, found.to_system) == (3 * PAGES, 3 * SIZE, 3 * SIZE)
    back = one("ping-pong", "prefetch", rounds=3)
    assert (back.cpu_faults, back.to_system) == (0, 3 * SIZE)
    assert back.ps < found.ps / 3
    coherent = one("ping-pong", "fault", C2C, rounds=3)
    assert (coherent.cpu_faults, coherent.migrated) == (0, SIZE)


def test_more_than_fits_is_evicted_again_and_again() -> None:
    found = one("oversubscribed", "fault", size=6 * MIB, rounds=3)
    assert found.to_device == 3 * 6 * MIB  # each round faults on all of it: what it needs next has just gone
    assert found.to_system >= 3 * 6 * MIB - 4 * MIB
    fits = one("oversubscribed", "fault", size=6 * MIB, rounds=3, memory=8 * MIB)
    assert (fits.to_device, fits.to_system) == (6 * MIB, 0)


def test_a_stencil_moves_its_rim() -> None:
    found = one("stencil", "prefetch", rounds=4)
    assert found.to_system == 4 * SIZE // 8
    assert found.to_device == SIZE + 3 * SIZE // 8


def test_huge_pages_move_whole() -> None:
    found = one("streaming", "prefetch", size=4 * MIB, rounds=1, huge=True)
    assert found.totals[Kind.MIGRATE_HUGE].count == 2
    assert Kind.MIGRATE_PAGE not in found.totals
    small = one("streaming", "prefetch", size=4 * MIB, rounds=1)
    assert small.totals[Kind.MIGRATE_PAGE].count == 1024
    assert found.ps < small.ps / 2
    assert found.migrated == small.migrated == 4 * MIB


def test_pinning_pays_once_and_nothing_faults() -> None:
    pinned, never = one("random", "pin"), one("random", "never")
    assert (pinned.device_faults, pinned.totals[Kind.WALK].count) == (0, PAGES)
    assert never.device_faults > 0
    assert one("random", "never", C2C).device_faults == 0


def test_the_graph_reaches_most_vertices() -> None:
    (phases,) = WORKLOADS["graph"].rounds(Shape(PAGES, 1, 0))
    assert sum(len(p.pages) for p in phases) > 0.9 * PAGES * PAGE // 512
    assert len(phases) > 3
    pages = np.concatenate([p.pages for p in phases])
    assert pages.min() >= 0 and pages.max() < PAGES


# ------------------------------------------------------------ what holds for all


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(sorted(WORKLOADS)),
    st.sampled_from(sorted(POLICIES)),
    st.integers(1, 700),
    st.integers(0, 9).map(lambda k: PAGE << k),
    st.integers(1, 2),
    st.one_of(st.none(), st.integers(1, 800)),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_case_keeps_its_data_and_its_room(
    workload: str,
    policy: str,
    pages: int,
    around: int,
    rounds: int,
    memory: int | None,
    huge: bool,
    coherent: bool,
    seed: int,
) -> None:
    room = None if memory is None else max(memory * PAGE, around)
    case = Case(workload, policy, pages * PAGE, rounds, room, around, seed, huge)
    held: list[int] = []

    class Watched(OnKernel):
        def to_device(self, start: int, count: int) -> None:
            super().to_device(start, count)
            held.append(int(np.count_nonzero(self.resident())))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "OnKernel", Watched)
        made = make(case, coherent=coherent)  # raises if a page has lost its data
    assert all(count <= case.device_pages for count in held)
    assert len(made.rounds) == rounds
    outcome = Outcome(case, C2C if coherent else PCIE, made)
    assert 0 < outcome.best_ps <= outcome.ps
    assert outcome.migrated <= outcome.to_device + outcome.to_system
    by_device = sum(
        phase.size * (1 + phase.write)
        for phases in WORKLOADS[workload].rounds(Shape(pages, rounds, seed))
        for phase in phases
        if phase.by_device
    )
    kinds = (Kind.DEVICE_LOCAL, Kind.DEVICE_READ, Kind.DEVICE_WRITE)
    assert sum(outcome.totals[kind].size for kind in kinds if kind in outcome.totals) == by_device
    if policy in ("never", "pin"):
        assert not held and outcome.migrated == 0


def test_events_are_the_same_for_every_machine_of_a_kind() -> None:
    found = list(simulate([Case("stencil", "fault", SIZE)], [PCIE, PRESETS["pcie3"], C2C, PRESETS["cxl"]]))
    assert found[0].made is found[1].made and found[2].made is found[3].made
    assert found[0].made.rounds != found[2].made.rounds
    assert found[1].ps > found[0].ps


def test_more_rounds_go_on_as_fewer_began() -> None:
    short, long = one("random", "fault", rounds=2), one("random", "fault", rounds=4)
    assert long.made.rounds[:2] == short.made.rounds
    assert [long.ps_after(k) for k in (1, 2)] == [short.ps_after(k) for k in (1, 2)]


def test_lost_data_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgets(OnKernel):
        def to_system(self, start: int, count: int) -> None:
            super().to_system(start, count)
            frame = int(self.kernel.tables.read(self._mm, self._first + start)) >> 16
            self.kernel.frames.data[frame, 100] ^= 1

    monkeypatch.setattr(run, "OnKernel", Forgets)
    with pytest.raises(InternalError, match="ping-pong, prefetch: page 0 has lost its data"):
        make(Case("ping-pong", "prefetch", SIZE, 1), coherent=False)


def test_ranges() -> None:
    pages = np.array([0, 1, 2, 5, 510, 511, 512, 513, 900])
    assert list(ranges(pages)) == [(0, 3), (5, 1), (510, 2), (512, 2), (900, 1)]
    assert list(ranges(pages[:3], 2)) == [(0, 2), (2, 1)]
    assert list(ranges(pages[:0])) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"size": 0}, "whole pages"),
        ({"size": -4096}, "whole pages"),
        ({"size": 5000}, "whole pages"),
        ({"rounds": 0}, "at least one round"),
        ({"around": 12 * KIB}, "a power of two"),
        ({"around": 4 * MIB}, "a power of two"),
        ({"memory": 4 * KIB}, "does not hold"),
    ],
)
def test_impossible_cases(change: dict, told: str) -> None:
    with pytest.raises(Impossible, match=told):
        Case(**{"workload": "list", "policy": "pin", "size": MIB, **change})


# ------------------------------------------------------------ when it pays


@pytest.mark.parametrize("workload", ["streaming", "list", "graph"])
def test_the_break_even_is_where_it_is_said_to_be(workload: str) -> None:
    """With so many rounds migrating is faster, with one less it is not: run, not computed."""
    found = answer(list(simulate([Case(workload, p, SIZE, 3) for p in POLICIES], [PCIE])))
    assert found is not None and found.rounds is not None and 1 < found.rounds < 40
    for rounds, pays in ((found.rounds, True), (found.rounds - 1, False)):
        again = answer(list(simulate([Case(workload, p, SIZE, rounds) for p in POLICIES], [PCIE])))
        assert again is not None and again.pays is pays


def test_what_the_cpu_wants_back_each_time_never_pays() -> None:
    found = answer(list(simulate([Case("ping-pong", p, SIZE, 2) for p in POLICIES], [PCIE])))
    assert found is not None and not found.pays and found.rounds is None
    assert found.moving.case.policy == "prefetch"


def test_a_slower_link_lets_migrating_pay_sooner() -> None:
    slow = replace(PCIE, name="x1", link=replace(PCIE.link, lanes=1))
    cases = [Case("streaming", p, SIZE, 2) for p in POLICIES]
    (fast, late) = (answer(list(simulate(cases, [m]))) for m in (slow, PCIE))
    assert fast is not None and late is not None
    assert (fast.rounds or 0) < (late.rounds or 0)


def test_no_answer_without_both_kinds() -> None:
    assert answer([one("streaming", "pin"), one("streaming", "never")]) is None


def test_times_of_rounds_that_were_not_run() -> None:
    made = Made(({(Kind.MIGRATE_PAGE, 1, 0): 10}, {(Kind.MIGRATE_PAGE, 1, 0): 13}), 0)
    outcome = Outcome(Case("list", "fault", SIZE), PCIE, made)
    each = PCIE.migration.folio_ps
    assert [outcome.ps_after(k) for k in (1, 2, 3, 5)] == [10 * each, 13 * each, 16 * each, 22 * each]


def test_prefetching_more_than_fits_brings_parts() -> None:
    """No device faults, and no more bytes than the faults of the same workload would bring."""
    found = one("oversubscribed", "prefetch", size=6 * MIB, rounds=3)
    assert found.device_faults == 0
    assert found.to_device == one("oversubscribed", "fault", size=6 * MIB, rounds=3).to_device

"""The bulk driver leaves behind what the stepped one does, and charges the same: all state is compared, not results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hmmspec.conform import commands as c
from hmmspec.conform.reference import LARGE as ROOMY
from hmmspec.conform.scenario.expand import Choice, plans
from hmmspec.conform.scenario.parser import parse
from hmmspec.conform.scenario.report import plan_lines
from hmmspec.conform.scenario.runner import facts_of, run_plan
from hmmspec.lang.load import read_source
from hmmspec.ref.bulk import pieces, touch
from hmmspec.report.style import Style
from tests.ref.drivers import LARGE, MEDIUM, Differs, Pair, Writer, play

FOLDER = Path(__file__).resolve().parents[2] / "scenarios"
FILES = sorted(FOLDER.glob("*.scn"))


def test_random_commands_over_long_ranges() -> None:
    play(Writer(1, LARGE).commands(120), every=40)


@pytest.mark.parametrize("seed", range(3))
def test_random_commands(seed: int) -> None:
    play(Writer(seed, MEDIUM).commands(250), every=50, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_ten_thousand_random_commands(seed: int) -> None:
    play(Writer(seed, MEDIUM).commands(1000), every=50, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=[p.stem for p in FILES])
@pytest.mark.parametrize("profile", ["latest", "6.12"])
def test_all_scenarios(path: Path, profile: str) -> None:
    run_scenarios(path, Pair(ROOMY, profile), Choice())


@pytest.mark.parametrize("path", [p for p in FILES if p.stem in {"migration", "cow"}], ids=lambda p: p.stem)
def test_scenarios(path: Path) -> None:
    run_scenarios(path, Pair(), Choice(params={"N": 64}))


def run_scenarios(path: Path, pair: Pair, choice: Choice) -> None:
    file = parse(read_source(str(path)))
    ran = 0
    for scenario in file.scenarios:
        for plan in plans(file, scenario, facts_of(pair), choice):
            report = run_plan(plan, pair)
            assert report.status != "failed", "\n".join(plan_lines(report, Style(140), ""))
            ran += report.status == "passed"
    assert pair.compared >= 2 * ran  # before the end of all processes, and after


def test_ordinary_ranges_are_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this goes page by page: or the tests above would compare a driver with itself."""

    def refuse(*_: object) -> object:
        raise AssertionError("a page by itself")

    pair = Pair()
    pair.reset()
    k = pair.halves[1].k
    for command in (c.Open("p0", "dev0"), c.Open("p0", "dev2"), c.Mmap("p0", 3, 1500), c.Store("p0", 3, 1500)):
        pair.run(command)
    for name in ("touch", "store", "load"):
        monkeypatch.setattr(f"hmmspec.ref.access.{name}", refuse)
    monkeypatch.setattr("hmmspec.ref.testdev.send_piece", refuse)
    monkeypatch.setattr("hmmspec.ref.testdev.fetch_piece", refuse)
    monkeypatch.setattr("hmmspec.ref.device._fault_piece", refuse)
    monkeypatch.setattr("hmmspec.ref.zap._zap_table", refuse)
    target = pair.halves[1]
    for device in ("dev0", "dev2"):
        assert target.run(c.Store("p0", 3, 1500, stamp=7)).cpages == 1500
        assert target.run(c.MigrateToDevice("p0", device, 3, 1000)).stamps == tuple(range(7, 1007))
        assert k.devices[device].memory.live == 1000
        assert target.run(c.MigrateToSystem("p0", device, 3, 500)).cpages == 500
        assert k.devices[device].memory.live == 500
        assert target.run(c.Load("p0", 3, 1500)).stamps == tuple(range(7, 1507))
        assert target.run(c.DevRead("p0", device, 3, 1500)).faults == 1
    assert k.devices["dev0"].memory.live == 0
    assert k.devices["dev2"].memory.live == 500
    assert target.run(c.Munmap("p0", 3, 1500)).error == ""
    assert k.devices["dev2"].memory.live == 0


def test_a_difference_is_found() -> None:
    """The comparison sees a flag of one frame, one byte, one charge."""
    for spoil in ("flags", "data", "cost", "order"):
        pair = Pair()
        pair.reset()
        pair.run(c.Mmap("p0", 0, 40))
        pair.run(c.Store("p0", 0, 40))
        pair.compare()
        k, line = pair.halves[1].k, pair.halves[1].line
        match spoil:
            case "flags":
                k.frames.flags[2000] |= 1 << 20
            case "data":
                k.frames.data[5000, 17] ^= 1  # type: ignore[index]
            case "cost":
                line.charge(next(iter(line.totals)))
            case "order":
                k.pool.stack[[0, 1]] = k.pool.stack[[1, 0]]
        with pytest.raises(Differs):
            pair.compare()


def test_not_where_others_run_or_something_is_to_fail() -> None:
    pair = Pair()
    pair.reset()
    target = pair.halves[1]
    for command in (c.Open("p0", "dev0"), c.Mmap("p0", 0, 600), c.Store("p0", 0, 600)):
        target.run(command)
    k = target.k
    binding = k.devices["dev0"].bindings[1]
    task = next(iter(k.tasks.values()))
    start = 1 << 20
    for spoil in ("inject", "checks", "defects", "flag"):
        before = (k.checks, k.defects)
        match spoil:
            case "inject":
                k.inject.once("copy")
            case "checks":
                k.checks = True
            case "defects":
                k.defects = frozenset({"copy-skips-last"})
            case "flag":
                k.devices["dev0"].fail_alloc = True
        assert pieces.send(k, task, binding, start, start + 600) == start, spoil
        k.inject.pending.clear()
        k.checks, k.defects = before
        k.devices["dev0"].fail_alloc = False
    assert pieces.send(k, task, binding, start, start + 600) == start + 600


def test_the_tlb_keeps_the_youngest() -> None:
    """More pages than a TLB holds, in an order of their own, with some that were there already."""
    pair = Pair()
    pair.reset(3)
    rng = np.random.default_rng(5)
    for half in pair.halves:
        half.run(c.Mmap("p0", 0, 3000))
        half.run(c.Store("p0", 0, 3000))
    for _ in range(6):
        vpns = (1 << 20) + rng.permutation(3000)[: int(rng.integers(16, 3000))]
        write = bool(rng.integers(2))
        stepped, bulk = (half.k for half in pair.halves)
        one, other = (half._tasks[0] for half in pair.halves)
        for vpn in vpns.tolist():
            touch.run_through(touch.access.touch(stepped, one, stepped.mms[1], vpn, write))
        done = sum(len(pfns) for pfns, _ in touch.touch_many(bulk, other, bulk.mms[1], vpns, write))
        assert done == len(vpns)
        pair.compare()

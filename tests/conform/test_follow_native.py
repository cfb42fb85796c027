"""The sets in C and those of the interpreter: the same findings and the same coverage, whatever is followed, and
whenever one takes over from the other."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache as once
from pathlib import Path
from typing import Any

import pytest

from hmmspec.clib.compile import Building, Built
from hmmspec.conform.follow import engines, packed
from hmmspec.conform.follow.engines import Kind
from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.follow.load import load_for
from hmmspec.conform.follow.packed import PackedSets
from hmmspec.conform.follow.sets import Sets
from hmmspec.conform.generate import programs_from, shape_for
from hmmspec.conform.judging import run_program
from hmmspec.conform.target import Event, Finding, Target
from hmmspec.conform.targets import open_target
from tests.conform.small import Writer, files, followed, follower

FOLDER = Path(__file__).resolve().parents[2] / "specs" / "conform"

Log = Sequence[Event]
Came = tuple[Any, ...]


@once
def target() -> Target:
    return open_target("ref", {"profile": "latest", "checks": False})


@once
def logs(race: bool) -> tuple[Log, ...]:
    """Random programs on the reference kernel, every second one with results that are wrong here and there."""
    shape = shape_for(target(), race=race, failures=True)
    out = []
    for seed in range(16):
        log = run_program(target(), programs_from(shape, 5_000 + seed)(), [], seed).log
        out.append(_spoiled(log, seed) if seed % 2 else list(log))
    return tuple(out)


def _spoiled(log: Log, seed: int) -> Log:
    chance = random.Random(seed)
    out = []
    for e in log:
        if e.result is not None and e.result.stamps and chance.random() < 0.3:
            stamps = tuple(x + chance.choice((0, 1, 5)) for x in e.result.stamps)
            e = replace(e, result=replace(e.result, stamps=stamps))
        out.append(e)
    return out


def came(f: Follower, log: Log, at: dict[int, Callable[[], None]] | None = None) -> Came:
    """All that a follower says of a run; `at`: what happens before an event."""
    f.start(target().profile, target().devices)
    found: list[Finding] = []
    for number, event in enumerate(log):
        if at and number in at:
            at[number]()
        found += f.feed(event)
    found += f.finish()
    return found, f.incomplete, f.forgotten, f.groups, f.coverage.exercised, f.coverage.possible


def both(name: str, limit: int) -> tuple[Follower, Follower]:
    loaded = load_for(str(FOLDER / f"{name}.bind"))
    plain, native = Follower(loaded, limit, "python"), Follower(loaded, limit, "native")
    assert isinstance(plain.sets, Sets)
    assert isinstance(native.sets, PackedSets), native.engine.remark
    return plain, native


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(("name", "race"), [("page_life", False), ("page_life", True), ("mirror", True)])
def test_random_runs_are_judged_alike(name: str, race: bool) -> None:
    findings = lost = 0
    for limit in (10_000, 6):
        plain, native = both(name, limit)
        for log in logs(race):
            told = came(plain, log)
            assert came(native, log) == told
            findings += len(told[0])
            lost += bool(told[1])
    # Neither is silent, so that there is something to agree on.
    assert findings >= 3
    assert lost >= 1


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["exclusive", "mirror", "page_life", "pins", "swap_dirty"])
def test_more_random_runs_are_judged_alike(name: str) -> None:
    plain, native = both(name, 200)
    for race in (False, True):
        shape = shape_for(target(), race=race, failures=not race, steps=80)
        for seed in range(60):
            log = _spoiled(run_program(target(), programs_from(shape, 9_000 + seed)(), [], seed).log, seed)
            assert came(native, log) == came(plain, log), seed


@pytest.mark.usefixtures("cache")
def test_what_is_forgotten_is_worked_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memo is emptied every few steps, in the middle of races: nothing comes out otherwise."""
    plain, native = both("page_life", 10_000)
    monkeypatch.setattr(packed, "KEPT", 3)
    monkeypatch.setattr(packed, "_LOOK_EVERY", 2)
    emptied = 0
    forget = PackedSets.forget

    def counted(self: PackedSets) -> None:
        nonlocal emptied
        emptied += 1
        forget(self)
        # What is left is what the groups stand at, and where they start.
        assert len(self._nodes) <= native.groups + 2

    monkeypatch.setattr(PackedSets, "forget", counted)
    for log in logs(True)[:10]:
        assert came(native, log) == came(plain, log)
    assert emptied > 50


def test_the_interpreter_forgets_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_for(str(FOLDER / "mirror.bind"))
    plain, poor = Follower(loaded, engine="python"), Follower(loaded, engine="python")
    for log in logs(True)[:8]:
        told = came(plain, log)
        monkeypatch.setattr("hmmspec.conform.follow.sets._HEAVIEST", 50)
        assert came(poor, log) == told
        monkeypatch.undo()
    assert isinstance(poor.sets, Sets)
    assert isinstance(plain.sets, Sets)
    assert len(poor.sets._nodes) < len(plain.sets._nodes) / 4


@pytest.mark.usefixtures("cache")
def test_c_takes_over_in_the_middle_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are under way, members are bound, pages are in groups of their own: all goes on as it was."""
    loaded = load_for(str(FOLDER / "page_life.bind"))
    Follower(loaded, engine="native")  # compiled from here on
    allowed = False

    class Later(Building):
        def ready(self) -> Built | None:
            return super().ready() if allowed else None

    monkeypatch.setattr(engines, "Building", Later)
    moved = 0
    for number, log in enumerate(logs(True)[:5]):
        plain, late = Follower(loaded, engine="python"), Follower(loaded, engine="auto")
        late._look_at = 1 << 60
        allowed = False

        def now(f: Follower = late) -> None:
            nonlocal allowed, moved
            allowed = True
            before = f.sets
            f._look()
            moved += isinstance(before, Sets) and isinstance(f.sets, PackedSets)

        assert came(late, log, {len(log) * (number + 1) // 6: now}) == came(plain, log)
    assert moved == 5


def test_the_compiler_is_started_when_it_is_worth_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = """spec counting
    var n: 0..63 = 0;
    transition put(to: 0..63) { n := to; }
    event put;
    """
    binding = 'binding for "register.hmm"; on put(to) { else: put(to); }'
    monkeypatch.setattr(engines, "WORTH_IT", 100)
    loaded = load_for(files(cache, spec, binding, "counting"))
    f = Follower(loaded)
    log = Writer()
    for k in range(40):
        log.run("put", to=k)
    assert followed(f, log, cache) == []
    before = f.sets
    for k in range(300):
        log.run("put", to=k * k % 64)
    assert followed(f, log, cache) == []
    building = f.engine._building
    assert building is not None
    building.wait()
    assert followed(f, log, cache) == []
    assert isinstance(before, Sets)
    assert isinstance(f.sets, PackedSets)
    # Who comes later has it at once.
    assert isinstance(Follower(loaded).sets, PackedSets)


def test_without_a_compiler_the_interpreter_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "none"))
    kinds: tuple[Kind, ...] = ("auto", "native")
    for kind in kinds:
        f = follower(tmp_path, engine=kind)
        log = Writer()
        log.run("write", value=1)
        log.run("read", {"value": 2})
        assert len(followed(f, log, tmp_path)) == 1
        assert isinstance(f.sets, Sets)
        assert "no C compiler" in f.engine.remark


BEYOND = """spec beyond
var n: 0..3 = 0;
transition add when n < 3 { n += 1; }
event add;
observe large: int = sum(1000000000000000000 for i: 0..11 | i < 4 * n);
"""


def test_what_c_cannot_do_is_done_by_the_interpreter(cache: Path) -> None:
    """A value beyond 64 bits in the middle of a run."""
    binding = """binding for "register.hmm";
    on add() { else: add(); }
    on look() returns (n) { else: sees large() == n; }"""
    for value, wrong in ((12 * 10**18, False), (5, True), (12 * 10**18 - (1 << 64), True)):
        log = Writer()
        log.run("add")
        log.run("look", {"n": 4 * 10**18})
        log.run("add")
        log.run("add")
        log.run("look", {"n": value})
        f = follower(cache, BEYOND, binding, engine="native")
        assert bool(followed(f, log, cache)) is wrong
        assert isinstance(f.sets, PackedSets)
        plain = follower(cache, BEYOND, binding, engine="python")
        followed(plain, log, cache)
        assert plain.coverage.exercised == f.coverage.exercised

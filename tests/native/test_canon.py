"""Compiled canonical forms: one representative for each orbit, its size, the same orbits as the Python engine finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from math import factorial
from pathlib import Path
from random import Random

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.native.engine import c_text, check_native
from hmmspec.checker.native.extras import missing
from hmmspec.checker.native.orbits import reduced_types
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport
from hmmspec.checker.verify import verify
from hmmspec.diagnostics import Limit, Source
from hmmspec.lang.load import load, load_source
from hmmspec.system.build import build_all
from hmmspec.system.run import State
from hmmspec.system.system import System
from hmmspec.system.types import BOOL, Array, Range, Record, Set, Symmetric, ThreadId, Type, Union
from tests.checker.helpers import statuses, system_of, traces
from tests.checker.test_symmetry import ALL, RING
from tests.native.alone import Alone
from tests.native.identities import Few, random_value, random_variables, without_rules
from tests.system.systems import random_system

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HMMSPEC_CFLAGS", "-O1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


# ---------------------------------------------------------------- one state at a time


def random_states(alone: Alone, seed: str, number: int) -> Iterator[State]:
    r = Few(seed)
    for _ in range(number):
        r.few = r.random() < 0.6
        values = {v.name: random_value(v.type, r) for v in alone.system.variables}
        r.few = False
        yield alone.interp.build(values)


def exact(alone: Alone, seed: str, number: int) -> None:
    """All renamings of a state have one representative, reached by the renaming that is told, and as many there are."""
    r = Random(seed)
    renamings, every = alone.renamings(r)
    for s in random_states(alone, seed, number):
        found = alone.find(s)
        assert found.only
        orbit = {alone.python.rename(s, by) for by in renamings}
        assert found.size == alone.python.orbit(s)
        assert not every or found.size == len(orbit)
        for t in [s, *r.sample(sorted(orbit, key=repr), min(len(orbit), 12))]:
            again = alone.find(t)
            assert (again.representative, again.size, again.only) == (found.representative, found.size, True)
            assert alone.packed(alone.python.rename(t, again.renaming)) == found.representative


@pytest.mark.parametrize("shortcuts", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_one_representative(name: str, shortcuts: bool, tmp_path: Path) -> None:
    alone = Alone(system_of(ALL[name]), tmp_path, shortcuts=shortcuts)
    exact(alone, name, 40)
    if shortcuts and name in ("columns", "pairs"):
        assert alone.way == {"columns": "sorted", "pairs": "all tried"}[name]


@pytest.mark.parametrize("seed", range(12))
def test_one_representative_of_random_variables(seed: int, tmp_path: Path) -> None:
    """Every kind of type, several symmetric types at once, values of many words."""
    exact(Alone(random_variables(Random(seed)), tmp_path, shortcuts=seed % 2 == 0), str(seed), 12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 220))
def test_one_representative_of_more_random_variables(seed: int, tmp_path: Path) -> None:
    exact(Alone(random_variables(Random(seed)), tmp_path, shortcuts=seed % 2 == 0), str(seed), 20)


def test_every_way_is_taken() -> None:
    """The seeds above try sorting, trying all, and the general way."""
    ways = {Alone.way_of(random_variables(Random(seed)), shortcuts=seed % 2 == 0) for seed in range(12)}
    assert ways == {"sorted", "all tried", "general"}


def nodes(size: int) -> System:
    return system_of(f"type Node = symmetric[{size}]; var next[Node]: Node = any; transition t {{ skip; }}")


def test_cycles_that_no_signature_tells_apart(tmp_path: Path) -> None:
    alone = Alone(nodes(6), tmp_path)
    two, one = bytes([1, 2, 0, 4, 5, 3]), bytes([1, 2, 3, 4, 5, 0])
    assert (alone.find(two).size, alone.find(one).size) == (40, 120)
    assert alone.find(two).representative != alone.find(one).representative
    shuffled = alone.python.rename(two, ((3, 5, 1, 0, 4, 2),))
    assert shuffled != two
    assert alone.find(shuffled).representative == alone.find(two).representative


def test_a_long_cycle_is_not_tried_in_all_its_orders(tmp_path: Path) -> None:
    """After one node is singled out, refinement knows the others: twelve tries, not twelve factorial."""
    alone = Alone(nodes(12), tmp_path, tries=200)
    found = alone.find(bytes([*range(1, 12), 0]))
    assert found.only
    assert found.size == factorial(11)
    r = Random(1)
    by = tuple(r.sample(range(12), 12))
    other = alone.find(alone.python.rename(bytes([*range(1, 12), 0]), (by,)))
    assert other.representative == found.representative


def test_twins_are_not_tried(tmp_path: Path) -> None:
    """Forty pages of which nothing is known: one try."""
    page = Symmetric("Page", 40)
    held: list[Type] = [Array(page, BOOL), Set(page), Union((page, BOOL))]
    alone = Alone(without_rules((page,), held), tmp_path, tries=1)
    s = alone.interp.build({"v0": (False,) * 40, "v1": (1 << 20) - 1, "v2": 40})
    found = alone.find(s)
    assert found.only
    assert found.size == factorial(40) // factorial(20) ** 2


def test_more_than_64_bits_of_orbit_are_not_known(tmp_path: Path) -> None:
    page = Symmetric("Page", 25)
    alone = Alone(without_rules((page,), [Array(page, Range(0, 30))]), tmp_path)
    assert alone.way == "sorted"
    assert alone.find(alone.interp.build({"v0": tuple(range(25))})).size == 0
    assert alone.find(alone.interp.build({"v0": (3,) * 24 + (4,)})).size == 25


@pytest.mark.parametrize("native", [True, False])
def test_columns_of_several_words(native: bool, tmp_path: Path) -> None:
    """With the machine's instructions to gather bits, and without."""
    page, cpu = Symmetric("Page", 9), Symmetric("Cpu", 5)
    box = Record("Box", (("full", BOOL), ("size", Range(1, 900))))
    held: list[Type] = [
        Array(page, Range(0, 1000)), Array(cpu, box), Array(page, box), Array(BOOL, Array(page, Range(0, 9))),
        Array(page, Array(Range(0, 4), Range(0, 70))), Array(page, Array(Range(0, 2), Set(Range(0, 39)))),
        Range(0, 5), Array(Union((cpu, BOOL)), Range(-3, 3)), Array(ThreadId("t", (BOOL, page)), BOOL),
    ]  # fmt: skip
    alone = Alone(without_rules((page, cpu), held), tmp_path, native=native)
    assert alone.way == "sorted"
    exact(alone, "several words", 6)


def test_wide_sets(tmp_path: Path) -> None:
    page = Symmetric("Page", 5)
    alone = Alone(without_rules((page,), [Set(Union((Range(0, 90), page))), Array(page, page)]), tmp_path)
    exact(alone, "wide", 30)


def test_too_many_ties(tmp_path: Path) -> None:
    """Then a renaming of the state is taken all the same, and it is said that it is not the only one."""
    alone = Alone(system_of(RING), tmp_path, tries=2)
    seen = set()
    for s in random_states(alone, "ties", 60):
        found = alone.find(s)
        seen.add(found.only)
        assert alone.packed(alone.python.rename(s, found.renaming)) == found.representative
        assert (found.size == 0) is not found.only
        if found.only:
            assert found.size == alone.python.orbit(s)
    assert seen == {True, False}


def test_too_many_identities_are_refused() -> None:
    system = without_rules((Symmetric("Page", 2000),), [Symmetric("Page", 2000)])
    with pytest.raises(Limit, match="identities"):
        c_text(system, CheckOptions())


# ---------------------------------------------------------------- whole searches


def summary(report: InstanceReport) -> object:
    lengths = {v.property: v.trace.length if v.trace else None for v in report.verdicts}
    return report.states, report.orbits, report.reduction, report.transitions, report.depth, statuses(report), lengths


def agree(system: System) -> InstanceReport | None:
    """Both engines, reduced; None where the native one would not reduce, or leaves it to the other."""
    if len(reduced_types(system, CheckOptions())) != sum(t.size > 1 for t in system.symmetric):
        return None
    if missing(system, CheckOptions()):
        return None
    native = check_native(system, CheckOptions(threads=1))
    assert native.remark == ""
    for verdict, trace in traces(native):
        assert verify(system, trace, verdict.property) == [], verdict.property
    assert summary(native) == summary(check(system))
    return native


@pytest.mark.parametrize("name", ALL)
def test_same_orbits(name: str) -> None:
    native = agree(system_of(ALL[name]))
    if native is not None:
        assert native.reduction == "orbits"


@pytest.mark.parametrize("seed", range(6))
def test_same_orbits_of_random_systems(seed: int) -> None:
    for n in count():
        system = replace(random_system(Random(f"{seed} {n}")), locks=())
        if check(system, CheckOptions(states=800)).limit == "":
            agree(system)
            return


def with_symmetry(*folders: str) -> list[str]:
    paths = [p for folder in folders for p in sorted((ROOT / folder).glob("*.hmm"))]
    return [str(p.relative_to(ROOT)) for p in paths if "symmetric[" in p.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize("path", with_symmetry("tests/specs", "specs/bugs", "specs"))
def test_same_orbits_of_every_spec(path: str) -> None:
    for system in build_all(load(str(ROOT / path))):
        if check(system, CheckOptions(states=8000)).limit == "":
            agree(system)


@pytest.mark.parametrize(
    "path", ["tests/specs/audit_symmetry.hmm", "tests/specs/fault_thread.hmm", "specs/device_private.hmm"]
)
def test_same_orbits_of_some_specs(path: str) -> None:
    for system in build_all(load(str(ROOT / path)))[:1]:
        agree(system)


def pages(pages: int, frames: int) -> System:
    text = (ROOT / "benchmarks" / "pages.hmm").read_text().split("instance ")[0]
    text += f"instance bench {{ PAGES = {pages}; FRAMES = {frames}; }}\n"
    return build_all(load_source(Source("pages.hmm", text)))[0]


@pytest.mark.parametrize(
    ("size", "orbits", "states"),
    [((4, 1), 9_860, 185_625), ((5, 1), 42_228, 3_290_625), ((6, 3), 472_940, 200_390_625)],
)
def test_the_orbits_of_the_benchmark(size: tuple[int, int], orbits: int, states: int) -> None:
    for threads in (1, 2):
        report = check_native(pages(*size), CheckOptions(threads=threads))
        assert (report.orbits, report.states, report.reduction) == (orbits, states, "orbits")


def test_a_search_with_too_many_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmmspec.checker.native.canon.TRIES", 2)
    system = system_of(RING + "invariant bounded: exists n: Node { next[n] != n };")
    reduced = check_native(system)
    assert (reduced.reduction, reduced.states, reduced.remark) == ("representatives", None, "")
    full = check_native(system, CheckOptions(symmetry=False))
    assert full.states is not None
    assert reduced.orbits is not None
    python = check(system).orbits
    assert python is not None
    assert python < reduced.orbits < full.states
    assert statuses(reduced) == statuses(full)
    assert {length for _, length in lengths(reduced)} == {length for _, length in lengths(full)}
    for verdict, trace in traces(reduced):
        assert verify(system, trace, verdict.property) == []


def lengths(report: InstanceReport) -> list[tuple[str, int]]:
    return [(v.property, t.length) for v, t in traces(report)]


def test_types_that_fairness_tells_apart_are_not_reduced() -> None:
    system = system_of(
        "type Page = symmetric[2]; type Cpu = symmetric[3]; var on[Page]: bool = false; var at[Cpu]: bool = false;"
        "transition t(p: Page) { on[p] := !on[p]; } transition u(c: Cpu) { at[c] := true; } fair t;"
        "leads_to live: true ~> exists p: Page { on[p] };"
    )
    assert [t.name for t in reduced_types(system, CheckOptions())] == ["Cpu"]
    assert reduced_types(system, CheckOptions(symmetry=False)) == ()

"""Specs with more start states than anybody can look at: limits count while they are made, and nothing makes them all
where one of them, or some, will do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from hmmspec.checker.explicit.chance import MOST_STARTS, Chance, some_starts, start_pool
from hmmspec.checker.native.engine import check_auto, check_native
from hmmspec.checker.options import CheckOptions, RandomRuns
from hmmspec.checker.simulate import simulate
from hmmspec.checker.symbolic.bounded import check_bounded
from hmmspec.checker.symbolic.settle import prove_instance
from hmmspec.checker.verdict import InstanceReport, Status
from hmmspec.checker.verify import verify
from hmmspec.cli.specs import load_system
from hmmspec.cli.walker import Walker
from hmmspec.diagnostics import Limit, SpecError
from hmmspec.export.promela import promela_of
from hmmspec.lang.load import load
from hmmspec.report.graph import graph_of
from hmmspec.report.style import Style
from hmmspec.system.build import build_all
from hmmspec.system.run import BETWEEN_TICKS, Interpreter
from hmmspec.system.system import System
from tests.checker.helpers import checked, statuses, system_of, traces, verdict

# 10^12 start states of three identities, a sixth of that up to renaming.
MANY = """
type Page = symmetric[3];
var a[Page]: 0..99 = any; var b[Page]: 0..99 = any; var up: bool = false;
transition rise(p: Page) when a[p] == 0 { up := true; }
invariant low: !up;
invariant fine: forall p: Page { a[p] <= 99 };
"""
# One of 10^12, and the last of them.
LAST = MANY + "assume last: forall p: Page { a[p] == 99 && b[p] == 99 };"
ERRS = MANY + "assume fits: forall p: Page { 1 / (99 - b[p]) >= 0 };"


@pytest.mark.parametrize("text", [MANY, MANY + "assume odd: exists p: Page { b[p] % 2 == 1 };"])
@pytest.mark.parametrize("run", [checked, check_auto, check_native])
def test_a_limit_of_states_counts_start_states(run: object, text: str) -> None:
    assert callable(run)
    system = system_of(text)
    report = checked(system, states=300) if run is checked else run(system, CheckOptions(states=300))
    assert report.limit == "limit of 300 states"
    assert (report.exit_code, statuses(report)["fine"]) == (3, "unknown")
    assert (report.orbits or report.states) == 300


@pytest.mark.parametrize("run", [checked, check_native])
def test_a_limit_of_states_counts_start_states_that_are_alike(run: object) -> None:
    """Of 6^6 start states 462 are kept, by symmetry: 16 are looked at for each that may be kept."""
    assert callable(run)
    system = system_of("type P = symmetric[6]; var a[P]: 0..5 = any; terminal over: true;")
    report = checked(system, states=600) if run is checked else run(system, CheckOptions(states=600))
    assert report.limit == "limit of 600 states"
    assert report.orbits < 462
    report = checked(system, states=3000) if run is checked else run(system, CheckOptions(states=3000))
    assert (report.limit, report.orbits, report.states) == ("", 462, 6**6)


@pytest.mark.parametrize("run", [checked, check_native, simulate])
def test_a_limit_of_time_counts_those_that_an_assume_excludes(run: object) -> None:
    assert callable(run)
    system, begin = system_of(LAST), time.monotonic()
    options = CheckOptions(seconds=0.5, simulate=RandomRuns() if run is simulate else None)
    report = checked(system, seconds=0.5) if run is checked else run(system, options)
    assert report.limit == "time limit of 0.5s"
    assert report.exit_code == 3
    assert statuses(report)["fine"] == "unknown"
    assert time.monotonic() - begin < 60


def test_ticks_may_end_it() -> None:
    """Whatever the assumes exclude."""

    class Enough(Exception):
        pass

    def tick() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Enough

    for text, found in ((MANY, 2 * BETWEEN_TICKS), (LAST, 0)):
        calls, seen = 0, 0
        try:
            for _ in Interpreter(system_of(text)).initial(tick):
                seen += 1
        except Enough:
            seen += 1000
        assert seen == 1000 + found


def test_bounded_search_makes_none_of_them() -> None:
    report = check_bounded(system_of(LAST), 3, CheckOptions())
    assert (report.limit, statuses(report)["fine"], statuses(report)["low"]) == ("", "holds", "holds")
    report = check_bounded(system_of(MANY), 3, CheckOptions())
    assert [(v.property, t.length) for v, t in traces(report)] == [("low", 1), ("deadlock", 0)]
    for v, trace in traces(report):
        assert verify(system_of(MANY), trace, v.property) == []
    report = prove_instance(system_of(LAST), CheckOptions())
    assert {statuses(report)[n] for n in ("low", "fine")} == {"holds"}


@pytest.mark.parametrize("run", [check_bounded, prove_instance])
def test_an_assume_that_errs_in_one_of_them(run: object) -> None:
    """Z3 finds it; the explicit engine begins with the others."""
    system = system_of(ERRS)
    report = (
        check_bounded(system, 3, CheckOptions()) if run is check_bounded else prove_instance(system, CheckOptions())
    )
    error = verdict(report, "spec_error")
    assert error.status is Status.VIOLATED
    assert error.trace is not None
    assert "division" in error.trace.message
    assert {v.status for v in report.verdicts if v is not error} == {Status.UNKNOWN}


def small(text: str) -> System:
    return system_of(text.replace("0..99", "0..2").replace("99", "2"))


@pytest.mark.parametrize("run", [checked, check_native])
def test_an_assume_that_errs_in_the_last_one(run: object) -> None:
    """What the others showed before does not count: there is no run to judge."""
    system = small(ERRS.replace("99 - b[p]", "99 - min(a[p], b[p])"))
    assert callable(run)
    report: InstanceReport = checked(system) if run is checked else run(system, CheckOptions())
    assert statuses(report) == {"low": "holds", "fine": "holds", "spec_error": "violated", "deadlock": "holds"}
    assert "there is no run to judge" in verdict(report, "low").remark


def test_a_start_state_by_its_cells() -> None:
    interp = Interpreter(system_of(LAST))
    cells: Mapping[str, str] = {f"{x}[page{p}]": "99" for x in "ab" for p in range(3)} | {"up": "false"}
    state = interp.start_of(cells)
    assert state is not None
    assert interp.cells(state) == cells
    assert interp.is_start(state)
    # Excluded by the assume; no first value; no cell; a cell too few.
    assert interp.start_of({**cells, "a[page1]": "98"}) is None
    assert interp.start_of({**cells, "up": "true"}) is None
    assert interp.start_of({**cells, "a[page9]": "99"}) is None
    assert interp.start_of({k: v for k, v in cells.items() if k != "up"}) is None
    values = {"a": (99, 99, 99), "b": (99, 99, 99), "up": False}
    assert interp.is_start(interp.build(values))
    assert not interp.is_start(interp.build({**values, "up": True}))
    assert not interp.is_start(interp.build({**values, "b": (0, 99, 99)}))


EVERY_KIND = """
type Page = symmetric[2]; type Kind = enum { none, some };
type Entry = record { page: Page?; kind: Kind; };
var entry: Entry = any; var line: queue[1] of Page = any; var some: set of Page = any;
var odd[Page]: Page | bool = any; var fixed[p: Page]: Page? = p;
machine driver[Page] { states asleep, ready, gone; initial {asleep, ready}; }
assume differ: entry.kind == none || size(line) == 0;
"""


def test_start_states_of_every_kind_of_value() -> None:
    interp = Interpreter(system_of(EVERY_KIND))
    found = list(interp.initial())
    assert 100 < len(found) < MOST_STARTS
    for s in found:
        assert interp.is_start(s)
        assert interp.start_of(interp.cells(s)) == s


def test_some_start_states() -> None:
    few = Interpreter(small(MANY))
    assert some_starts(few, Chance(0)) == some_starts(few, Chance(1))
    assert some_starts(few, Chance(0)).whole
    assert len(some_starts(few, Chance(0)).states) == 3**6
    many = Interpreter(system_of(MANY))
    drawn = some_starts(many, Chance(0), 50)
    assert (drawn.whole, len(drawn.states), len(set(drawn.states))) == (False, 50, 50)
    assert all(map(many.is_start, drawn.states))
    # That none was found is not that there is none.
    none = some_starts(Interpreter(system_of(LAST)), Chance(0), 50)
    assert (none.whole, list(none.states), none.fault) == (False, [], None)
    assert some_starts(Interpreter(system_of(ERRS)), Chance(0), 1000).fault is not None
    # Where it is one of not so many it is found in the end.
    last = LAST.replace("0..99", "0..9").replace("99", "9")
    assert len(start_pool(Interpreter(system_of(last)), Chance(0))) == 1


def test_refinement_makes_none_of_the_abstract_ones(tmp_path: Path) -> None:
    (tmp_path / "a.hmm").write_text(f"spec a{LAST.replace('== 99 && b[p] == 99', '<= b[p]')}")
    concrete = """spec b refines "a.hmm" by { a[p: Page] = 7; b[p: Page] = low + 7; up = false; }
type Page = symmetric[3]; var low: -1..0 = 0;
transition sink when DOWN { low := -1; }
"""
    for down, start, status in (("low > 0", 0, "holds"), ("true", 0, "violated"), ("false", -1, "violated")):
        text = concrete.replace("DOWN", down).replace("-1..0 = 0", f"-1..0 = {start}")
        (tmp_path / "b.hmm").write_text(text)
        report = checked(build_all(load(str(tmp_path / "b.hmm")))[0])
        assert statuses(report)["refines"] == status
        assert ("no start of a has" in verdict(report, "refines").remark) == (start == -1)


def test_what_needs_all_of_them_is_refused() -> None:
    system = system_of(LAST.replace("symmetric[3]", "0..2"))
    with pytest.raises(SpecError, match="combinations of first values"):
        promela_of(system)
    with pytest.raises(Limit, match="first values"):
        graph_of(Interpreter(system), 100)


@pytest.mark.parametrize(
    ("text", "begins", "told"),
    [
        (MANY, True, "start state 1 of 1000 or more"),
        (LAST, True, "an assume excludes nearly all start states"),
        (LAST.replace("b[p] == 99", "b[p] == 99 && a[p] != b[p]"), False, "none was found"),
        (ERRS, False, "an assume errs at the start: division by zero"),
    ],
)
def test_a_walk_begins_where_there_is_a_start_or_says_why_not(
    text: str, begins: bool, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "starts.hmm"
    path.write_text(f"spec starts {text}")
    loaded, system = load_system(str(path), [], {})
    walker = Walker(loaded, Interpreter(system), {}, 0, Style())
    assert walker.begin() is begins
    assert told in capsys.readouterr().out
    if text == LAST:
        assert walker.interp.is_start(walker.here)

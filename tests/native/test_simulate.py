"""Random runs: the same in both engines and any number of threads; what they find is real, and nothing is claimed."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import jsonschema
import pytest

from hmmspec.checker.check import check
from hmmspec.checker.explicit.chance import MOST_STARTS, Chance, choice, start_pool
from hmmspec.checker.native.simulate import simulate_auto, simulate_native
from hmmspec.checker.options import CheckOptions, RandomRuns
from hmmspec.checker.simulate import simulate
from hmmspec.checker.verdict import InstanceReport, Level, Progress, Simulation, Status
from hmmspec.checker.verify import verify
from hmmspec.cli.main import main
from hmmspec.lang.load import load
from hmmspec.report.jsonout import Run, run_to_plain, schema
from hmmspec.report.progress import ProgressLine
from hmmspec.system.build import build_all
from hmmspec.system.run import Interpreter
from hmmspec.system.system import System
from hmmspec.system.types import (
    Array,
    Bool,
    Enum,
    Null,
    Queue,
    Range,
    Record,
    Set,
    Symmetric,
    Type,
    Union,
    value_at,
    values,
)
from tests.checker.helpers import statuses, system_of, traces, verdict
from tests.native.test_agreement import exactly

ROOT = Path(__file__).resolve().parents[2]
BUGS = sorted((ROOT / "specs/bugs").glob("*.hmm"))
NEVER_FOUND = {"livelock", "starved", "leaked"}  # of whole runs
# Together these have choices, faults, locks, refinements, assumes, unions and records; the rest takes longer.
FIRST = "choices unions lock_cycle lock_misuse refine_steps assume audit_errors records_fork".split()
FILES = sorted((ROOT / "tests/specs").glob("*.hmm"))

NOISE = """
type Bit = 0..11;
var on[Bit]: bool = false;
var x: 0..40 = 0;
transition flip(b: Bit) when true { on[b] := !on[b]; }
transition up when x < 40 { x += 1; }
"""


def random_runs(runs: int | None = 50, depth: int = 60, **options: object) -> CheckOptions:
    return replace(CheckOptions(simulate=RandomRuns(runs, depth)), **options)  # type: ignore[arg-type]


def same(one: InstanceReport, other: InstanceReport) -> bool:
    return exactly(replace(one, engine="")) == exactly(replace(other, engine=""))


def confirmed(system: System, report: InstanceReport) -> InstanceReport:
    """The report, all of whose traces have been run again."""
    for v, trace in traces(report):
        assert verify(system, trace, v.property) == [], v.property
    return report


# ---------------------------------------------------------------- chance


def test_numbers_are_those_of_splitmix64() -> None:
    """The first ones of its well-known sequence for the state 1234567."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [choice(1234567, i, 2**64) for i in range(4)] == known


def test_choices_are_even_and_differ() -> None:
    counts = [0] * 7
    for run in range(7000):
        counts[choice(Chance(5).stream(run), 3, 7)] += 1
    assert all(900 < n < 1100 for n in counts)
    assert len({Chance(seed).stream(run) for seed in range(-50, 50) for run in range(100)}) == 10_000


@pytest.mark.parametrize(
    "t",
    [
        Bool(),
        Range(-2, 5),
        Enum("e", ("a", "b", "c")),
        Union((Null(), Symmetric("P", 3))),
        Set(Range(0, 3)),
        Queue(3, Range(4, 6)),
        Record("r", (("a", Bool()), ("b", Range(3, 5)))),
        Array(Range(0, 2), Union((Null(), Range(2, 4)))),
        Union((Null(), Record("r", (("a", Range(0, 2)), ("b", Bool()))))),
    ],
    ids=lambda t: type(t).__name__,
)
def test_a_value_by_its_number(t: Type) -> None:
    assert [value_at(t, i) for i in range(len(list(values(t))))] == list(values(t))


def test_start_states_are_drawn_where_there_are_many() -> None:
    interp = Interpreter(system_of("type N = 0..999; var a: N = any; var b: N = any; assume differ: a != b;"))
    pool = start_pool(interp, Chance(1))
    assert len(pool) == len(set(pool)) == MOST_STARTS
    assert set(pool) != set(islice(interp.initial(), MOST_STARTS))
    first = [interp.read(s, "a") for s in pool]
    assert len(set(first)) > 900
    assert all(interp.read(s, "b") != a for s, a in zip(pool, first, strict=True))
    assert start_pool(interp, Chance(1)) == pool != start_pool(interp, Chance(2))


# ---------------------------------------------------------------- both engines


def take_the_same_runs(system: System) -> None:
    """Every count, verdict and trace is the same, in the interpreter and compiled, with two threads."""
    options = random_runs(30, 40, seed=11, max_traces=2, threads=2)
    python, native = confirmed(system, simulate(system, options)), simulate_native(system, options)
    assert native.engine == "native", native.remark
    assert exactly(replace(native, engine="python")) == exactly(python), system.instance


@pytest.mark.parametrize("name", FIRST)
def test_the_engines_take_the_same_runs(cache: Path, name: str) -> None:
    assert cache.is_dir()
    take_the_same_runs(build_all(load(str(ROOT / f"tests/specs/{name}.hmm")))[0])


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_they_do_in_every_instance(cache: Path, path: Path) -> None:
    assert cache.is_dir()
    for system in build_all(load(str(path))):
        take_the_same_runs(system)


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_make_no_difference(cache: Path, threads: int) -> None:
    assert cache.is_dir()
    system = build_all(load(str(ROOT / "specs/device_private.hmm")), ["tiny"])[0]
    options = random_runs(400, 100, seed=3, threads=1, max_traces=3)
    one = simulate_native(system, options)
    assert one.simulation == Simulation(400, 100, 40_000)
    assert exactly(simulate_native(system, replace(options, threads=threads))) == exactly(one)
    assert not same(simulate_native(system, replace(options, seed=4)), one)


def test_more_steps_than_are_remembered(cache: Path) -> None:
    """Of so wide a state 64 steps are stored, and the chosen one is looked for again."""
    assert cache.is_dir()
    wide = "type I = 0..2099; type J = 0..150; var a[I]: 0..1099511627776 = 0;"
    system = system_of(
        wide + "transition more(j: J) when a[j] < 3 { a[j] += 1; } invariant low: forall j: J { a[j] < 2 };"
    )
    options = random_runs(3, 40)
    python, native = simulate(system, options), simulate_native(system, options)
    assert native.engine == "native", native.remark
    assert same(python, native)
    found = verdict(native, "low").trace
    assert found is not None
    assert [s.rule for s in found.steps] == ["more", "more"]


def test_a_number_that_does_not_fit(cache: Path) -> None:
    assert cache.is_dir()
    text = "var x: 0..15 = 0; transition up when x < 15 { x += 1; } invariant i: x * 1000000000000000000 >= 0;"
    report = simulate_native(system_of(text), random_runs())
    assert report.engine == "python"
    assert "a result may leave 64 bits" in report.remark
    assert report.simulation == Simulation(50, 60, 750)


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    system = system_of(NOISE)
    few = simulate_auto(system, random_runs(10))
    assert (few.engine, few.remark) == ("python", "")
    many = simulate_auto(system, random_runs(1000, 1000, seconds=0.3))
    assert many.engine == "python"
    assert "there is no C compiler 'no-such-compiler'" in many.remark
    assert simulate_native(system, random_runs(10)).remark == many.remark


def test_auto_takes_the_interpreter_for_a_few_steps(cache: Path) -> None:
    assert cache.is_dir()
    system = system_of(NOISE)
    assert simulate_auto(system, random_runs(10)).engine == "python"
    assert simulate_auto(system, random_runs(10_000)).engine == "native"


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize("path", BUGS, ids=lambda p: p.stem)
def test_bugs_are_found_and_their_fixes_are_not_blamed(path: Path) -> None:
    for system in build_all(load(str(path)))[:2]:
        report = confirmed(system, simulate(system, random_runs(300, 60)))
        found = {v.property for v in report.verdicts if v.status is Status.VIOLATED}
        assert found == (system.expectation.violates or frozenset()) - NEVER_FOUND
        assert report.problems == ()
        assert report.exit_code == 3  # all as expected, as far as was seen


def test_traces_are_shortened() -> None:
    """Random runs get there by detours; what is left of them is as short as what a search finds."""
    for name in ("bug02_dirty_bit_dropped", "bug09_interval_remove"):
        system = build_all(load(str(ROOT / f"specs/bugs/{name}.hmm")))[0]
        random, searched = simulate(system, random_runs(150, 60)), check(system)
        lengths = {v.property: t.length for v, t in traces(searched)}
        assert {v.property: t.length for v, t in traces(random)} == lengths


def test_a_bug_deeper_than_a_search_gets(cache: Path) -> None:
    assert cache.is_dir()
    system = system_of(NOISE + "invariant low: x < 40;")
    assert verdict(check(system, CheckOptions(states=20_000)), "low").status is Status.UNKNOWN
    low = verdict(confirmed(system, simulate_native(system, random_runs(20, 1000))), "low")
    assert (low.status, low.level) == (Status.VIOLATED, Level.VIOLATED)
    assert low.trace is not None
    assert [s.rule for s in low.trace.steps] == ["up"] * 40  # not one of the others is needed


def test_distinct_traces() -> None:
    text = "type P = 0..3; var at[P]: 0..1 = 0; transition go(p: P) when at[p] == 0 { at[p] := 1; }"
    system = system_of(text + "invariant none: forall p: P { at[p] == 0 };")
    found = verdict(confirmed(system, simulate(system, random_runs(max_traces=4))), "none")
    all_ = [found.trace, *found.others]
    assert len({str(t.blame.bindings) for t in all_ if t is not None and t.blame is not None}) == 4


def test_states_without_a_step() -> None:
    text = "var x: 0..3 = 0; transition up when x < 3 { x += 1; } "
    found = verdict(simulate(system_of(text), random_runs()), "deadlock")
    assert (found.status, found.level) == (Status.VIOLATED, Level.VIOLATED)
    assert found.trace is not None
    assert found.trace.length == 3
    assert statuses(simulate(system_of(text + "terminal top: x == 3;"), random_runs()))["deadlock"] == "unknown"
    stuck = simulate(system_of(text + "assume low: x < 3;"), random_runs())
    assert statuses(stuck)["deadlock"] == "warning"


def test_starts_that_err_or_are_none() -> None:
    erring = simulate(system_of("var x: 0..3 = 1 / 0; transition up when x < 3 { x += 1; }"), random_runs())
    assert statuses(erring) == {"spec_error": "violated", "deadlock": "unknown"}
    none = simulate(
        system_of("var x: 0..3 = 1; transition up when x < 3 { x += 1; } assume high: x > 1;"), random_runs()
    )
    assert none.exit_code == 1
    assert [w.code for w in none.warnings] == ["HMM094"]
    assert none.simulation == Simulation(0, 60, 0)


# ---------------------------------------------------------------- what is said

LIVE = """
var x: 0..5 = 0;
transition up when x < 5 { x += 1; }
transition down when x > 0 { x -= 1; }
invariant fine: x < 6;
reachable top: x == 5;
reachable never: x == 6 - 7 + x - x;
leads_to back: x == 5 ~> x == 0;
recoverable home: x == 0;
"""


def test_nothing_is_said_to_hold() -> None:
    report = simulate(system_of(LIVE), random_runs())
    assert {v.property for v in report.verdicts if v.status is Status.HOLDS} == {"top"}
    rest = [v for v in report.verdicts if v.property != "top"]
    assert {(v.status, v.level) for v in rest} == {(Status.UNKNOWN, Level.INCOMPLETE)}
    assert report.exit_code == 3
    assert (report.states, report.simulation) == (None, Simulation(50, 60, 3000))
    plain = run_to_plain(Run((report,), (), 3, 0, "0"))
    jsonschema.validate(plain, schema())
    (instance,) = json.loads(json.dumps(plain))["instances"]
    assert instance["simulation"] == {"runs": 50, "depth": 60, "steps": 3000}


def test_what_the_file_expects() -> None:
    text = LIVE.replace("x < 6", "x < 5") + "instance one {} instance two {} "
    expects = text + "expect one has 17 states; expect one violates fine; expect two violates home;"
    one, two = (simulate(system_of(expects, i), random_runs()) for i in ("one", "two"))
    assert (one.exit_code, one.problems, verdict(one, "fine").expected) == (3, (), True)
    assert (two.exit_code, two.problems, verdict(two, "fine").expected) == (1, (), False)


def test_how_often_steps_fired() -> None:
    report = simulate(system_of(LIVE), random_runs())
    fired = {c.rule: c.fired for c in report.coverage}
    assert sum(fired.values()) == 3000
    assert 0 <= fired["up"] - fired["down"] <= 5 * 50
    assert report.transitions > 4000
    assert report.depth == 60


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs `hmmspec check live.hmm ..`; exit code and all that was printed, in one line."""
    (tmp_path / "live.hmm").write_text("spec live\n" + LIVE)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        code = main(["check", "live.hmm", *arguments])
        said = capsys.readouterr()
        return code, " ".join((said.out + said.err).split())

    return run


def test_the_report(command: Callable[..., tuple[int, str]]) -> None:
    code, said = command("--simulate", "--runs", "20", "--depth", "30", "--seed", "6")
    assert code == 3
    assert "20 random runs of up to 30 steps, 600 steps taken" in said
    assert "engine python, seed 6" in said
    assert "no violation found in 20 random runs of up to 30 steps, 600 steps taken (incomplete): fine" in said
    assert "not reached in 20 random runs of up to 30 steps, 600 steps taken (incomplete): never" in said
    assert "not judged by random runs (incomplete): back home" in said.replace("x == 5 ~> x == 0 ", "").replace(
        "x == 0", ""
    )
    assert "reached in instance default (a witness was found): top" in said
    assert said.endswith("live.hmm: INCOMPLETE: default, 20 random runs")


def test_progress_tells_of_runs() -> None:
    stream = io.StringIO()
    ProgressLine(stream)(Progress("spec", "tiny", "random runs", 1200, 0, 345678, 900, 30.0))
    assert stream.getvalue() == "spec tiny: 1,200 random runs, 40/s, 345,678 steps, longest run 900, 30.0 s\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--runs", "5"], "--runs is about random runs help: add --simulate"),
        (["--depth", "5"], "--depth is about random runs help: add --simulate"),
        (["--simulate", "--depth", "0"], "'0' is not a number from 1"),
        (["--simulate", "--states", "5"], "--simulate keeps no states: --states has no meaning with it"),
        (["--simulate", "--depth", "1000001"], "at most 1000000 steps"),
        (["--simulate", "--engine", "z3"], "the engine 'z3' makes no random runs"),
    ],
)
def test_options_without_a_meaning(command: Callable[..., tuple[int, str]], arguments: list[str], words: str) -> None:
    code, said = command(*arguments)
    assert code == 2
    assert words in said


def test_a_limit_of_time(cache: Path, command: Callable[..., tuple[int, str]]) -> None:
    assert cache.is_dir()
    code, said = command("--simulate", "--time", "2", "--quiet")
    assert code == 3
    assert "limit --time 2s reached (incomplete)" in said


@pytest.mark.parametrize("engine", [simulate, simulate_native])
def test_an_interrupt_leaves_what_was_shown(cache: Path, engine: Callable[..., InstanceReport]) -> None:
    assert cache.is_dir()

    def interrupt(p: Progress) -> None:
        if p.phase == "random runs":
            os.kill(os.getpid(), signal.SIGINT)

    report = engine(system_of(LIVE), random_runs(None), interrupt)
    assert report.interrupted
    assert report.exit_code == 130
    assert report.simulation is not None
    assert report.simulation.runs > 0
    assert statuses(report)["top"] == "holds"

"""The native engine at its edges: limits, threads, interrupts, findings of each kind, large outcomes, the C text."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.explicit.limits import resident_bytes
from hmmspec.checker.native import search
from hmmspec.checker.native.engine import TINY, c_text, check_auto, check_native
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Level, Progress, Status
from hmmspec.checker.verify import verify
from hmmspec.cli.specs import load_one
from hmmspec.clib.compile import compiler
from hmmspec.lang.load import load
from hmmspec.system.build import build_all
from hmmspec.system.layout import layout, show_layout
from hmmspec.system.system import System
from tests.checker.helpers import statuses, system_of, traces, verdict
from tests.native.peak import peak_of
from tests.native.test_agreement import exactly, shown

ROOT = Path(__file__).resolve().parents[2]
FULL = CheckOptions(symmetry=False)

GRID = """
type Row = 0..7;
var at[Row]: 0..5 = 0;
transition up(r: Row) when at[r] < 5 { at[r] += 1; }
transition down(r: Row) when at[r] > 0 { at[r] -= 1; }
invariant early: at[0] + at[1] < 2;
invariant late: exists r: Row { at[r] < 5 };
step small: forall r: Row { at'[r] <= at[r] + 1 };
reachable soon: at[3] == 1;
reachable top: forall r: Row { at[r] == 5 };
"""


@pytest.fixture(autouse=True)
def _compiled(cache: Path) -> None:
    assert cache.is_dir()


def pages(pages: int, frames: int) -> System:
    path = str(ROOT / "benchmarks/pages.hmm")
    return load_one(path, [], {"PAGES": str(pages), "FRAMES": str(frames)}).systems[0]


def both(text: str, **options: object) -> tuple[InstanceReport, InstanceReport]:
    """What the two engines show, which is the same; native traces have been run again."""
    system = system_of(text)
    wanted = replace(FULL, **options)  # type: ignore[arg-type]
    python, native = check(system, wanted), check_native(system, wanted)
    assert native.engine == "native", native.remark
    assert shown(native) == shown(python)
    for v, trace in traces(native):
        assert verify(system, trace, v.property) == []
    return python, native


# ---------------------------------------------------------------- limits


def test_a_limit_of_states() -> None:
    report = check_native(system_of(GRID), replace(FULL, states=400))
    assert report.states == 400
    assert report.limit == "limit of 400 states"
    assert report.exit_code == 1  # `early` is violated, limit or not
    expected = {"early": "violated", "late": "unknown", "small": "unknown", "soon": "holds", "top": "unknown"}
    assert statuses(report) == expected | {"spec_error": "unknown", "deadlock": "unknown"}
    assert all(v.level is Level.INCOMPLETE for v in report.verdicts if v.status is Status.UNKNOWN)


def test_a_limit_that_is_just_enough_is_none() -> None:
    system = system_of("var x: 0..9 = 0; transition up when x < 9 { x += 1; } terminal top: x == 9;")
    assert check_native(system, replace(FULL, states=10)).exit_code == 0
    assert check_native(system, replace(FULL, states=9)).exit_code == 3


def test_start_states_beyond_a_limit() -> None:
    system = system_of("type N = 0..99; var a: N = any; var b: N = any; transition up when a < 99 { a += 1; }")
    report = check_native(system, replace(FULL, states=500))
    assert (report.states, report.limit) == (500, "limit of 500 states")


def test_what_was_not_expanded_is_judged_all_the_same() -> None:
    text = "var x: 0..99 = 0; transition up when x < 99 { x += 1; } invariant low: x < 4;"
    report = check_native(system_of(text), replace(FULL, states=5))
    found = verdict(report, "low").trace
    assert found is not None
    assert found.length == 4


def test_a_limit_of_time() -> None:
    report = check_native(pages(8, 2), replace(FULL, seconds=4, threads=1))
    assert report.limit == "time limit of 4s"
    assert report.exit_code == 3
    assert report.wall_seconds < 60


@pytest.mark.slow
def test_a_limit_of_memory(tmp_path: Path) -> None:
    """In a process of its own, whose memory is looked at: never more than allowed, and 24 bytes for a state."""
    allowed = 200 << 20
    spec = str(ROOT / "benchmarks/pages.hmm")
    command = [sys.executable, "-m", "hmmspec", "check", spec, "-p", "PAGES=8", "-p", "FRAMES=2", "--engine", "native"]
    command += ["--no-symmetry", "--memory", "200M", "--json"]
    out = tmp_path / "out.json"
    with out.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL, cwd=ROOT)
        peak = peak_of(process)
    assert process.returncode == 3
    text = out.read_text()
    assert '"limit": "memory limit of 200M"' in text
    states = int(text.split('"states": ')[1].split(",")[0])
    assert states >= allowed // 24
    assert 0 < peak <= allowed


def test_little_memory_is_enough_for_little() -> None:
    # As much as the process has now: what is left for states is the least that an engine is given.
    used = resident_bytes()
    report = check_native(system_of(GRID), replace(FULL, memory=used, max_traces=1))
    assert report.limit.startswith("memory limit")
    assert report.states is not None
    assert report.states > 20_000


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("memory", [4_800_000, 5_300_000])
def test_a_table_that_changes_when_memory_gets_tight(
    monkeypatch: pytest.MonkeyPatch, memory: int, threads: int
) -> None:
    """Room for 320,625 states beside a table of indices, but not beside one of states."""
    monkeypatch.setattr(search, "_memory", lambda options: memory)
    report = check_native(pages(4, 2), replace(FULL, threads=threads))
    assert (report.limit, report.states, report.transitions) == ("", 320625, 4108500)


@pytest.mark.parametrize("memory", [1, 300_000, 1_000_000])
def test_what_fits_a_little_memory(monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    monkeypatch.setattr(search, "_memory", lambda options: memory)
    for threads in (1, 8):
        report = check_native(pages(4, 2), replace(FULL, threads=threads))
        assert report.limit.startswith("memory limit")
        assert report.states is not None
        assert report.states >= memory // 24


# ---------------------------------------------------------------- threads and interrupts


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_the_report_does_not_depend_on_threads(threads: int) -> None:
    system = pages(4, 2)
    one = check_native(system, replace(FULL, threads=1))
    assert one.states == 320625
    assert one.exit_code == 0
    assert exactly(check_native(system, replace(FULL, threads=threads))) == exactly(one)


def test_nor_do_counterexamples() -> None:
    text = GRID.replace("at[0] + at[1] < 2", "at[0] + at[1] + at[2] < 7").replace("0..7", "0..5")
    system = system_of(text)
    one = check_native(system, replace(FULL, threads=1, max_traces=7))
    assert len(verdict(one, "early").others) == 6
    for threads in (2, 5):
        assert exactly(check_native(system, replace(FULL, threads=threads, max_traces=7))) == exactly(one)


def test_an_interrupt_leaves_what_was_shown() -> None:
    def interrupt(p: Progress) -> None:
        if p.phase == "search":
            os.kill(os.getpid(), signal.SIGINT)

    report = check_native(pages(8, 2), replace(FULL, threads=2, memory=1 << 30), interrupt)
    assert report.interrupted
    assert report.exit_code == 130
    assert report.states
    assert statuses(report)["capacity"] == "unknown"


def test_an_interrupt_from_outside() -> None:
    timer = threading.Timer(6, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        report = check_native(pages(8, 2), replace(FULL, threads=1, memory=2 << 30))
        assert report.interrupted
    except KeyboardInterrupt:
        pass  # the machine was so slow that the compiler was still running
    finally:
        timer.cancel()


# ---------------------------------------------------------------- findings


def test_errors_where_properties_are_evaluated() -> None:
    _, native = both(
        """
        var x: 0..9 = 0;
        transition up when x < 9 { x += 1; }
        invariant a: x < 5;
        invariant b: 10 / (x - 3) < 20;
        reachable c: x == 2 || 1 % (x - 6) == 0;
        step d: x' % (x - 4) >= 0 || true;
        terminal e: 3 / (x - 9) == 0;
        """
    )
    assert verdict(native, "spec_error").trace is not None
    assert "cannot be evaluated" not in verdict(native, "a").remark
    assert "it can be evaluated" in verdict(native, "b").remark


def test_the_shortest_of_errors_of_states_steps_and_terminals() -> None:
    both(
        """
        var x: 0..9 = 0; var y: 0..3 = 0;
        transition up when y == 0 && x < 4 { x += 1; }
        transition aside when x == 2 && y == 0 { y := 1; }
        transition wrong when x == 3 && y == 0 { x := 10 / y; }
        invariant fine: x < 4 || 1 / y == 0;
        terminal end: 1 / (x - 2) == 0;
        """,
        max_traces=3,
    )


def test_stuck_by_an_assume_and_dead() -> None:
    _, native = both("var x: 0..9 = 0; transition up when x < 9 { x += 1; } assume low: x < 4;")
    assert verdict(native, "deadlock").status is Status.WARNING
    _, native = both("var x: 0..9 = 0; transition up when x < 9 { x += 1; } assume low: x < 40;")
    assert verdict(native, "deadlock").status is Status.VIOLATED


def test_errors_at_the_start() -> None:
    for text in ("var x: 0..3 = 1 / 0;", "var x: 0..3 = any; assume wrong: 1 / x == 1;"):
        _, native = both(text + " transition up when x < 3 { x += 1; } invariant i: x < 9;")
        assert native.states == 0
        assert verdict(native, "spec_error").status is Status.VIOLATED


def test_no_start_at_all() -> None:
    _, native = both("var x: 0..3 = any; transition up when x < 3 { x += 1; } assume none: x > 3;")
    assert native.problems
    assert statuses(native)["deadlock"] == "unknown"


def test_a_step_with_thousands_of_outcomes() -> None:
    _, native = both(
        """
        type N = 0..39;
        var a: N = 0; var b: N = 0;
        transition jump when a == 0 { choose x: N; choose y: N; a := x; b := x * y % 40; }
        invariant near: a + b < 70;
        """
    )
    assert native.states is not None
    assert native.states > 300


def test_states_of_several_words() -> None:
    _, native = both(
        """
        type N = 0..69;
        type Pair = record { a: 0..1000; b: set of N; };
        var s: set of N = {};
        var p[N]: bool = false;
        var n: 0..100000 = 5;
        var q: queue[2] of Pair = [];
        transition put(x: N) when x % 23 == 0 && !(x in s) { s := s + {x}; p[x] := true; }
        transition tick when n < 40 { n += size(s) + 1; }
        transition add when size(q) < 2 && size(s) > 1 { push(q, Pair(a = n, b = s)); }
        transition drop when size(q) == 2 { pop(q); }
        invariant some: size(s) < 4 || n < 41;
        invariant same: forall x: N { p[x] <=> x in s };
        """
    )
    assert native.states is not None
    assert native.states > 1000


def test_the_zero_state_is_a_state() -> None:
    _, native = both("var x: 0..9 = 5; transition down when x > 0 { x -= 1; } transition up when x < 9 { x += 1; }")
    assert native.states == 10


def test_numbers_of_more_than_64_bits_are_left_to_python() -> None:
    text = """
    var x: 0..3 = 0;
    transition up when x < 3 { x += 1; }
    invariant large: sum(i * 1000000000000000000 for i: x + 5..x + 9) >= 0;
    """
    report = check_native(system_of(text), FULL)
    assert report.engine == "python"
    assert "64" in report.remark
    assert shown(report) == shown(check(system_of(text), FULL))


# ---------------------------------------------------------------- which engine, the C text


def test_auto_is_python_for_what_is_tiny_and_native_for_the_rest() -> None:
    small = check_auto(pages(2, 1), FULL)
    assert small.engine == "python"
    assert small.states is not None
    assert small.states <= TINY
    large = check_auto(pages(4, 1), FULL)
    assert (large.engine, large.states) == ("native", 185625)
    assert check_auto(pages(4, 1), replace(FULL, states=100)).limit == "limit of 100 states"


def test_nothing_of_texts_reaches_the_compiler() -> None:
    system = system_of(
        """
        var x: 0..9 = 0;
        transition up when x < 9 { x += 1; }
        invariant low "*/ evil() /*": x < 9;
        assume also "#include </etc/passwd>": x < 9;
        """
    )
    compiled = c_text(system, FULL).text
    assert "evil" not in compiled
    assert "passwd" not in compiled
    assert "/* low */" in compiled


def test_the_c_text_gives_no_warnings(tmp_path: Path) -> None:
    command, _ = compiler()
    for name in ("fault_thread", "choices", "queue", "unions", "records_fork", "assume", "steps", "rwlocks"):
        text = c_text(build_all(load(str(ROOT / f"tests/specs/{name}.hmm")))[0], FULL).text
        flags = ["-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-variable", "-Wno-unused-function"]
        arguments = [*command, *flags, "-c", "-x", "c", "-o", str(tmp_path / "x.o"), "-"]
        done = subprocess.run(arguments, input=text, text=True, capture_output=True)
        assert done.returncode == 0, (name, done.stderr[:2000])


def test_the_layout_is_shown() -> None:
    system = pages(4, 1)
    plan, told = layout(system), show_layout(system)
    assert told.startswith(f"a state of pages, instance default: {plan.used} of 64 bits, 1 word\n")
    for v in system.variables:
        (line,) = (x for x in told.splitlines() if x.startswith(f"{v.name} "))
        assert line.split()[3] == str(plan.offsets[v.name])

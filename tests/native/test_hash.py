"""Hash compaction: the same as an exact search where nothing is missed, and an honest number where something may be."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from hmmspec.checker.check import check
from hmmspec.checker.native import search
from hmmspec.checker.native.bindings import Ended, Engine
from hmmspec.checker.native.engine import c_text, check_auto, check_native, load_library
from hmmspec.checker.native.packing import Packing
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Level, Status
from hmmspec.checker.verify import verify
from hmmspec.cli.main import main
from hmmspec.lang.load import load
from hmmspec.report.jsonout import schema
from hmmspec.report.style import Style
from hmmspec.report.text import TextOptions, report_text, summary_line
from hmmspec.report.words import hashes, sentence
from hmmspec.system.build import build_all
from hmmspec.system.run import Interpreter
from hmmspec.system.system import System
from tests.checker.helpers import statuses, system_of, traces, verdict
from tests.native.test_agreement import exactly
from tests.native.test_engine import GRID, pages

ROOT = Path(__file__).resolve().parents[2]
FULL = CheckOptions(symmetry=False, threads=1)
FEW = 8  # bits: so few that many states are missed

WIDE = """
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
invariant slow: n < 20;
"""

STARTS = """
type N = 0..299;
var a: N = any; var b: N = any;
transition stay when a == 0 && b == 0 { a := 0; }
terminal always: true;
"""

RUNS = """
var x: 0..9 = 0;
transition up when x < 9 { x += 1; }
transition over when x == 9 { x := 5; }
invariant low: x < 10;
reachable five: x == 5;
reachable ten: x == 10;
leads_to ends: x == 0 ~> x == 9;
recoverable again: x == 0;
"""


@pytest.fixture(autouse=True)
def _compiled(cache: Path) -> None:
    assert cache.is_dir()


def found(r: InstanceReport) -> dict[str, object]:
    """What hashing must not change, as long as nothing is missed."""
    return {
        "counts": (r.states, r.orbits, r.reduction, r.transitions, r.depth, r.limit),
        "coverage": {c.rule: c.fired for c in r.coverage},
        "verdicts": {
            v.property: (v.status, v.expected, v.trace and v.trace.length, v.witness and v.witness.length)
            for v in r.verdicts
        },
    }


def agree(system: System, options: CheckOptions, bits: int) -> InstanceReport:
    """The hashed search, which finds what the exact one does; its traces have been run again."""
    exact, hashed = check_native(system, options), check_native(system, replace(options, hash_bits=bits))
    assert exact.engine == hashed.engine == "native", (exact.remark, hashed.remark)
    assert found(hashed) == found(exact)
    assert exact.hashed is None
    assert hashed.hashed is not None
    assert hashed.hashed.bits == bits
    for v, trace in traces(hashed):
        assert verify(system, trace, v.property) == []
    for v in hashed.verdicts:
        if v.status is Status.HOLDS and v.kind != "reachable":
            assert v.level is Level.HASHED
        assert v.level is not Level.VIOLATED_SHORTEST
    return hashed


# ---------------------------------------------------------------- nothing is missed


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("bits", [40, 64])
def test_states_of_one_word(bits: int, threads: int) -> None:
    agree(system_of(GRID.replace("0..7", "0..5")), replace(FULL, threads=threads), bits)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("bits", [40, 64])
def test_states_of_several_words(bits: int, threads: int) -> None:
    system = system_of(WIDE)
    assert c_text(system, FULL).words > 2
    agree(system, replace(FULL, threads=threads), bits)


@pytest.mark.parametrize("bits", [40, 64])
def test_a_table_that_grows_under_many_threads(bits: int) -> None:
    report = agree(pages(4, 2), replace(FULL, threads=8), bits)
    assert (report.states, report.transitions) == (320625, 4108500)


@pytest.mark.parametrize("threads", [1, 3])
def test_orbits(threads: int) -> None:
    report = agree(pages(4, 1), CheckOptions(threads=threads), 40)
    assert (report.states, report.orbits, report.reduction) == (185625, 9860, "orbits")


def test_symmetry_that_only_leads_to_forbids_is_used() -> None:
    path = ROOT / "benchmarks/pages_live.hmm"
    system = build_all(load(str(path)), None, {"PAGES": 3, "FRAMES": 1})[0]
    report = check_native(system, CheckOptions(hash_bits=64))
    assert report.states == check_native(system, FULL).states
    assert report.reduction == "orbits"


@pytest.mark.parametrize("name", ["bug01", "bug07", "bug25"])
def test_counterexamples_are_as_short(name: str) -> None:
    (path,) = (ROOT / "specs/bugs").glob(f"{name}_*.hmm")
    seen = 0
    for system in build_all(load(str(path))):
        exact = check_native(system, CheckOptions(states=20_000))
        if not exact.limit and {v.kind for v in exact.verdicts}.isdisjoint({"leads_to", "recoverable"}):
            seen += any(v.trace is not None for v in agree(system, CheckOptions(), 64).verdicts)
    assert seen


def test_the_zero_state_is_a_state() -> None:
    text = "var x: 0..9 = 5; transition down when x > 0 { x -= 1; } transition up when x < 9 { x += 1; }"
    assert agree(system_of(text), FULL, 40).states == 10


# ---------------------------------------------------------------- something is missed


def test_the_number_of_missed_states_is_what_the_formula_says() -> None:
    """Of 90,000 start states each is compared with what its line holds, and one comparison in 2^8 finds equal bits: not
    for each key, but on average over the keys."""
    system = system_of(STARTS)
    compiled = c_text(system, replace(FULL, hash_bits=FEW))
    library, _ = load_library(compiled.text, None)
    interp = Interpreter(system)
    starts = b"".join(map(Packing(interp, compiled.layout).pack, interp.initial()))
    missed, expected = 0, 0.0
    for seed in range(50):
        with tempfile.TemporaryFile() as file:
            engine = Engine(library, 1 << 26, None, 1, 1, seed, file.fileno())
        assert engine.start(starts, 90_000) == engine.counted().states
        assert engine.run(60) is Ended.DONE
        missed += 90_000 - engine.counted().states
        expected += engine.counted().compared / 2**FEW
        engine.close()
    assert missed > 50 * 1000
    assert missed == pytest.approx(expected, rel=0.25)


def test_a_chance_of_more_than_one_percent_is_a_limit() -> None:
    report = check_native(pages(4, 1), replace(FULL, hash_bits=FEW))
    assert report.states is not None
    assert report.states < 185625
    assert report.hashed is not None
    assert report.hashed.missed == 1.0
    assert report.limit == "limit of 1% for the chance of a missed state"
    assert report.exit_code == 3
    assert {v.status for v in report.verdicts if v.kind != "reachable"} == {Status.UNKNOWN}
    assert all(v.level is Level.INCOMPLETE for v in report.verdicts if v.status is Status.UNKNOWN)


def test_what_is_found_is_true_whatever_is_missed() -> None:
    system = system_of(GRID.replace("0..7", "0..5"))
    report = check_native(system, replace(FULL, hash_bits=FEW))
    assert report.limit
    assert report.exit_code == 1
    assert verdict(report, "early").status is Status.VIOLATED
    for v, trace in traces(report):
        assert verify(system, trace, v.property) == []


def test_the_seed_is_the_key() -> None:
    system = system_of(STARTS.replace("299", "99"))

    def states(seed: int, bits: int) -> int | None:
        return check_native(system, replace(FULL, hash_bits=bits, seed=seed)).states

    assert len({states(seed, FEW) for seed in (0, 1, 2, -1)}) > 2
    assert states(5, FEW) == states(5, FEW)
    assert {states(seed, 40) for seed in (0, 1, 2**70)} == {10_000}


# ---------------------------------------------------------------- what a report claims


def test_whole_runs_are_refused() -> None:
    report = check_native(system_of(RUNS), replace(FULL, hash_bits=64))
    assert report.exit_code == 1  # `ten`
    expected = {"low": "holds", "five": "holds", "ten": "violated", "ends": "unknown", "again": "unknown"}
    assert statuses(report) == expected | {"spec_error": "holds", "deadlock": "holds"}
    for name in ("ends", "again"):
        assert "graph" in verdict(report, name).remark
        assert sentence(report, verdict(report, name)) == "not judged, since states are hashed (incomplete)"
    without = check_native(system_of(RUNS.replace("reachable ten: x == 10;\n", "")), replace(FULL, hash_bits=64))
    assert without.exit_code == 3


def test_an_expected_violation_that_is_refused_is_not_missed() -> None:
    text = RUNS.replace("reachable ten: x == 10;\n", "") + "instance one { } expect one violates again, ends;"
    exact = check_native(system_of(text), FULL)
    assert exact.exit_code == 0
    report = check_native(system_of(text), replace(FULL, hash_bits=40))
    assert report.problems == ()
    assert report.exit_code == 3


def test_the_words_claim_no_more_than_was_shown() -> None:
    report = check_native(pages(4, 1), replace(FULL, hash_bits=40))
    assert report.hashed is not None
    told = hashes(report)
    n, bits, p = re.fullmatch(r".*<= (\d+) comparisons / 2\^(\d+) = (\S+)", told).groups()  # type: ignore[union-attr]
    assert int(n) == report.hashed.compared > 0
    assert float(p) == pytest.approx(int(n) / 2 ** int(bits), rel=0.1)
    said = sentence(report, verdict(report, "capacity"))
    assert said == f"no violation in 185625 states, hashed states, chance of a missed state <= {p}"
    text = " ".join(report_text(report, Style(72, False), TextOptions()).split())
    assert told in text
    assert said in text
    assert summary_line("pages.hmm", [report], 1, Style(72, False)).endswith("in 1 instance (hashed states)")
    small = check_native(system_of(RUNS), replace(FULL, hash_bits=40))
    for v in small.verdicts:
        assert "exhaustive" not in sentence(small, v)
        assert "all" not in sentence(small, v).split()


def test_steps_that_never_fired_are_no_warning() -> None:
    system = system_of("var x: 0..3 = 0; transition up when x < 3 { x += 1; } transition no when x > 3 { x := 0; }")
    assert [w.code for w in check_native(system, FULL).warnings] == ["HMM090"]
    assert check_native(system, replace(FULL, hash_bits=40)).warnings == ()


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(("bits", "least"), [(40, 12), (64, 7)])
def test_a_limit_of_memory(monkeypatch: pytest.MonkeyPatch, bits: int, least: int) -> None:
    """All but the windows is for the table, and of that 15 in 16 entries are used."""
    memory = 2_000_000
    monkeypatch.setattr(search, "_memory", lambda options: memory)
    report = check_native(pages(4, 2), replace(FULL, hash_bits=bits))
    assert report.limit.startswith("memory limit")
    assert report.exit_code == 3
    assert report.states is not None
    assert report.states >= (memory - 8 * 65536 - 4096) // 64 * least // 16 * 15
    assert ("--hash 40" in report.remark) == (bits == 64)


def test_a_limit_of_states() -> None:
    report = check_native(pages(4, 1), replace(FULL, hash_bits=40, states=1000))
    assert (report.states, report.limit) == (1000, "limit of 1000 states")


# ---------------------------------------------------------------- the command line


def test_auto_goes_to_the_native_engine_at_once() -> None:
    assert check_auto(system_of(RUNS), replace(FULL, hash_bits=40)).engine == "native"


def test_states_go_to_the_cache_folder(cache: Path) -> None:
    check_native(pages(4, 1), replace(FULL, hash_bits=40))
    assert list((cache / "hmmspec/spill").iterdir()) == []


def test_a_cache_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "hmmspec").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = tmp_path / "runs.hmm"
    spec.write_text("spec runs\n" + RUNS)
    assert main(["check", str(spec), "--hash", "40"]) == 3
    assert "--spill DIR" in capsys.readouterr().out
    assert main(["check", str(spec), "--hash", "40", "--spill", str(tmp_path / "states")]) == 1


def test_without_a_compiler_the_search_is_exact_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    report = check_auto(system_of(RUNS), replace(FULL, hash_bits=40))
    assert (report.engine, report.hashed) == ("python", None)
    assert "no-such-compiler" in report.remark
    assert "whole" in report.remark
    assert found(report) == found(check(system_of(RUNS), FULL))


@pytest.mark.parametrize("option", [["--hash", "40"], ["--spill", "states"]])
def test_the_python_engine_has_no_such_option(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = str(ROOT / "benchmarks/pages.hmm")
    assert main(["check", path, "--engine", "python", *option]) == 2
    assert "HMM089" in capsys.readouterr().err


def test_other_numbers_of_bits_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(ROOT / "benchmarks/pages.hmm"), "--hash", "8"]) == 2
    assert "40, 64" in capsys.readouterr().err


def test_the_json_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(ROOT / "benchmarks/pages.hmm")
    assert (
        main(["check", path, "-p", "PAGES=2", "-p", "FRAMES=1", "--hash", "64", "--spill", str(tmp_path), "--json"])
        == 0
    )
    document = json.loads(capsys.readouterr().out)
    Draft202012Validator(schema()).validate(document)
    (instance,) = document["instances"]
    assert instance["hashed"]["bits"] == 64
    assert {v["level"] for v in document["verdicts"] if v["kind"] == "invariant"} == {"hashed"}


def test_hashes_or_not_traces_are_the_same_with_any_threads() -> None:
    system = system_of(GRID.replace("0..7", "0..4"))
    options = replace(FULL, hash_bits=64, max_traces=5)
    one, four = check_native(system, options), check_native(system, replace(options, threads=4))
    # How often states were compared depends on the order in which they came.
    assert exactly(replace(four, hashed=None)) == exactly(replace(one, hashed=None))

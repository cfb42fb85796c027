"""`hmmspec prove`, and `check` with prove lines: which goals, what is told of each outcome, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import parse

import jsonschema
import pytest

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic import prover
from hmmspec.checker.symbolic.proofs import provable, size_params, tasks
from hmmspec.checker.symbolic.prover import Goal, Proved, ProveOptions, goals_of
from hmmspec.checker.verdict import Level, Progress, Proof, Status, Trace, Verdict
from hmmspec.lang import syntax as S
from hmmspec.lang.load import load
from hmmspec.report.jsonout import schema
from hmmspec.system.build import build, build_all
from hmmspec.system.system import System
from hmmspec.system.types import show_value

ROOT = Path(__file__).resolve().parents[2]

PAGES = """\
spec pages
param PAGES = 2;
param PINS = 1;
param BUG: bool = false;
type Page = symmetric[PAGES];
type Spare = symmetric[2];
var pins[Page]: 0..PINS = 0;
var dirty[Spare]: bool = false;
machine place[p: Page] {
  states system, swapped;
  initial system;
  system -> swapped by swap_out when pins[p] == 0 || BUG;
  swapped -> system by swap_in;
}
transition pin(p: Page) when place[p] == system && pins[p] < PINS { pins[p] += 1; }
transition unpin(p: Page) when pins[p] > 0 { pins[p] -= 1; }
transition write(s: Spare) { dirty[s] := true; }
invariant pinned_stay "pinned pages never migrate": forall p: Page { pins[p] > 0 => place[p] == system };
step stays: forall p: Page { pins[p] > 0 && pins'[p] > 0 => place'[p] == place[p] };
reachable out: exists p: Page { place[p] == swapped };
instance small { PAGES = 2; }
instance large { PAGES = 4; }
instance many { PINS = 2; }
instance bad { BUG = true; }
expect bad violates pinned_stay, stays;
prove pinned_stay for every Page;
"""
LEMMA = "forall p: Page { pins[p] <= 1 }"

Answer = Callable[[System, Goal], Verdict]


def proof_of(system: System, goal: Goal, **more: object) -> Proof:
    fixed = tuple((n, show_value(t, v)) for n, v, t in system.params if n != "PAGES")
    return Proof(goal.every, fixed, **more)  # type: ignore[arg-type]


def proved(system: System, goal: Goal) -> Verdict:
    means = proof_of(system, goal, lemmas=(LEMMA,), uses=("stays",), left_out=("swap_out: count(..) < 3",))
    return Verdict("", "invariant", "a text", Status.HOLDS, Level.INDUCTIVE, proof=means)


def open_question(system: System, goal: Goal) -> Verdict:
    gap = real_trace(system)
    found = proof_of(system, goal, sizes=(("PAGES", "2"),), gap=gap, blocked_by=(LEMMA,), reason="nothing excludes it")
    return Verdict("", "invariant", "a text", Status.UNKNOWN, Level.INCOMPLETE, proof=found)


def refused(system: System, goal: Goal) -> Verdict:
    proof = proof_of(system, goal, reason="`count(..)` counts")
    return Verdict("", "invariant", "a text", Status.UNKNOWN, Level.INCOMPLETE, proof=proof)


def violated(system: System, goal: Goal) -> Verdict:
    found = proof_of(system, goal, sizes=(("PAGES", "2"),))
    trace = real_trace(system)
    return Verdict("", "invariant", "a text", Status.VIOLATED, Level.VIOLATED_SHORTEST, trace, proof=found)


def real_trace(system: System) -> Trace | None:
    """The run to pinned_stay of the instance with the bug."""
    report = check(build(load(system.path), {"PAGES": 2, "BUG": True}), CheckOptions(expectations=False))
    return next(v.trace for v in report.verdicts if v.property == "pinned_stay")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Answer]:
    """What a stand-in for the prover says of each property ('' for all others); `proved` if nothing is set."""
    said: dict[str, Answer] = {}

    def prove(
        spec: S.Spec,
        system: System,
        goal: Goal,
        options: ProveOptions,
        progress: Callable[[Progress], None] | None,
    ) -> Proved:
        assert spec.name == system.name
        assert options.seconds > 0
        assert progress is not None
        progress(Progress(system.name, system.instance, "looking", 0, 0, 0, 0, 0.0))
        verdicts = []
        for name in goal.properties:
            answer = said.get(name) or said.get("") or proved
            verdicts.append(replace(answer(system, goal), property=name))
        return Proved(goal, system, tuple(verdicts))

    monkeypatch.setattr(prover, "prove", prove)
    return said


@pytest.fixture
def pages(folder: Path) -> Path:
    path = folder / "pages.hmm"
    path.write_text(PAGES)
    return path


def words(text: str) -> str:
    return " ".join(text.split())


# ---------------------------------------------------------------- which goals


def test_once_for_each_setting_of_what_stays_fixed(pages: Path) -> None:
    spec = load(str(pages))
    found = tasks(spec, build_all(spec), goals_of)
    assert [(t.covers, t.fixed) for t in found] == [
        (("small", "large"), (("PINS", "1"), ("BUG", "false"))),
        (("many",), (("PINS", "2"), ("BUG", "false"))),
        (("bad",), (("PINS", "1"), ("BUG", "true"))),
    ]
    assert [t.expected for t in found] == [frozenset(), frozenset(), {"pinned_stay", "stays"}]
    assert {t.goal for t in found} == {Goal(("pinned_stay",), ("Page",))}
    assert all(not t.expected for t in tasks(spec, build_all(spec), goals_of, expectations=False))


def test_a_size_is_fixed_where_its_type_is_not_named(pages: Path) -> None:
    spec = load(str(pages))
    found = tasks(spec, build_all(spec), lambda _: [Goal(("pinned_stay",), ())])
    assert [t.covers for t in found] == [("small",), ("large",), ("many",), ("bad",)]
    assert size_params(spec) == {"Page": "PAGES"}
    assert provable(build(spec)) == ("pinned_stay", "stays", "spec_error")


def reported(result: object) -> list[dict[str, object]]:
    document = json.loads(result.out)  # type: ignore[attr-defined]
    jsonschema.Draft202012Validator(schema()).validate(document)
    found: list[dict[str, object]] = document["instances"]
    return found


def properties(result: object) -> list[str]:
    return [v["property"] for v in json.loads(result.out)["verdicts"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "names", "every"),
    [
        ([], ["pinned_stay"], ["Page"]),
        (["--property", "pinned_stay"], ["pinned_stay"], ["Page"]),
        (["--property", "stays"], ["stays"], ["Page"]),
        (["--property", "spec_error", "--property", "stays"], ["spec_error", "stays"], ["Page"]),
        (["--every", "Page"], ["pinned_stay"], ["Page"]),
        (["--every", "Page", "--property", "stays"], ["stays"], ["Page"]),
        (["--instance-only"], ["pinned_stay"], []),
        (["--instance-only", "--property", "stays"], ["stays"], []),
    ],
)
@pytest.mark.usefixtures("pages", "answers")
def test_what_to_prove(hmmspec, arguments: list[str], names: list[str], every: list[str]) -> None:
    result = hmmspec("prove", "pages.hmm", "-i", "small", "--json", *arguments)
    assert result.code == 0
    assert properties(result) == names
    assert [r["every"] for r in reported(result)] == [every]


@pytest.mark.usefixtures("answers")
def test_a_file_without_prove_lines_is_proved_whole(hmmspec, pages: Path) -> None:
    pages.write_text(PAGES.replace("prove pinned_stay for every Page;", ""))
    result = hmmspec("prove", "pages.hmm", "-i", "small", "--json")
    assert properties(result) == ["pinned_stay", "stays", "spec_error"]
    assert [r["every"] for r in reported(result)] == [["Page"]]


@pytest.mark.usefixtures("answers")
def test_beside_files_with_prove_lines_one_without_is_left_out(hmmspec, pages: Path) -> None:
    bare = pages.with_name("bare.hmm")
    bare.write_text(PAGES.replace("prove pinned_stay for every Page;", "").replace("spec pages", "spec bare"))
    result = hmmspec("prove", "pages.hmm", "bare.hmm", "-i", "small", "--json")
    assert properties(result) == ["pinned_stay"]
    assert "bare.hmm has no 'prove' line" in result.err
    result = hmmspec("prove", "pages.hmm", "bare.hmm", "-i", "small", "--json", "--property", "stays")
    assert properties(result) == ["stays", "stays"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["pages.hmm", "--property", "pinned_stya"], "HMM088", "did you mean 'pinned_stay'?"),
        (["pages.hmm", "--property", "out"], "HMM074", "cannot be proved"),
        (["pages.hmm", "--every", "Pag"], "HMM088", "did you mean 'Page'?"),
        (["pages.hmm", "--every", "Spare"], "HMM088", "the size of 'Spare' in pages.hmm is not a param"),
        (["pages.hmm", "--every", "Page,,"], "HMM089", "Page,Frame"),
        (["pages.hmm", "--every", "Page", "--instance-only"], "HMM089", "leave out --every"),
        (["pages.hmm", "--property", "nothing", "--every", "None"], "HMM088", "no property 'nothing'"),
        (["counter.hmm"], "HMM089", "--instance-only"),
        (["pages.hmm", "--certificate", "c", "--instance-only"], "HMM089", "for every number of something"),
        (["pages.hmm", "--certificate", "pages.hmm/x"], "HMM087", "cannot write"),
        (["pages.hmm", "--time", "soon"], "HMM089", "90s"),
        (["pages.hmm", "--jobs", "0"], "HMM089", "a number from 1"),
        (["nowhere.hmm"], "HMM080", "nowhere.hmm"),
        ([], "HMM089", "SPEC"),
    ],
)
@pytest.mark.usefixtures("pages", "answers")
def test_wrong_input_is_2_with_a_message(hmmspec, arguments: list[str], code: str, told: str) -> None:
    result = hmmspec("prove", *arguments)
    assert result.code == 2
    assert code in result.err
    assert told in words(result.err)
    assert "Traceback" not in result.err
    assert result.out == ""
    assert result.err.count("error") == 1
    assert json.loads(hmmspec("prove", *arguments, "--json").out)["exit_code"] == 2


# ---------------------------------------------------------------- what is told


@pytest.mark.usefixtures("pages", "answers")
def test_a_proof_says_for_how_many_and_what_it_needs(hmmspec) -> None:
    result = hmmspec("prove", "pages.hmm", "-i", "small", "-i", "large")
    assert result.code == 0
    assert result.err == ""
    told = words(result.out)
    assert "pages.hmm: proofs for every number of Page PINS = 1, BUG = false (instances small, large)" in told
    assert (
        "holds for every number of Page with PINS = 1, BUG = false (inductive, strengthened by 1 found invariant):"
        in told
    )
    assert "invariants of the spec that are proved with them, since they need them: stays" in told
    assert f"invariants that were found, and that these proofs need: {LEMMA}" in told
    assert (
        "left out of guards, since they count (that allows more runs, so the proofs stand): swap_out: count(..)" in told
    )
    assert result.out.splitlines()[-1] == "pages.hmm: ok: 1 property proved for every Page"


@pytest.mark.usefixtures("pages")
def test_what_is_not_proved_is_3_and_told_with_the_step_in_the_way(hmmspec, answers) -> None:
    answers["pinned_stay"] = open_question
    result = hmmspec("prove", "pages.hmm", "-i", "small")
    assert result.code == 3
    told = words(result.out)
    assert "not proved for every number of Page with PINS = 1, BUG = false (incomplete): pinned_stay" in told
    assert "pinned_stay is not proved for every number of Page" in told
    assert "why: nothing excludes it" in told
    assert "The step below in an instance with PAGES = 2 breaks it. This is not a run from a start state" in told
    assert "\nbefore  pins[*] = 0\n        " in result.out
    assert "start  " not in result.out
    assert f"One that always holds is worth adding as an invariant: {LEMMA}" in told
    assert "holds" not in told.replace("always holds", "")
    assert result.out.splitlines()[-1] == "pages.hmm: INCOMPLETE: 1 of 1 property not proved for every Page"


@pytest.mark.usefixtures("pages")
def test_what_is_refused_for_one_reason_is_told_once(hmmspec, answers) -> None:
    answers[""] = refused
    result = hmmspec("prove", "pages.hmm", "-i", "small", "--property", "pinned_stay", "--property", "spec_error")
    assert result.code == 3
    assert "pinned_stay, spec_error are not proved for every number of Page" in words(result.out)
    assert result.out.count("`count(..)` counts") == 1


@pytest.mark.usefixtures("pages")
def test_a_violation_is_1_with_a_real_run(hmmspec, answers, folder: Path) -> None:
    answers["pinned_stay"] = violated
    result = hmmspec("prove", "pages.hmm", "-i", "small", "--save-traces", "saved", "--itf", "itf")
    assert result.code == 1
    told = words(result.out)
    assert "violated in an instance with PAGES = 2, shortest trace of 2 steps: pinned_stay" in told
    assert "pinned_stay is violated in an instance with PAGES = 2: shortest trace of 2 steps" in told
    assert "place[page0]: system -> swapped" in result.out
    assert result.out.splitlines()[-1] == "pages.hmm: VIOLATED: pinned_stay (PAGES = 2)"
    (saved,) = (folder / "saved").iterdir()
    assert saved.name == "pages-small-for_every-Page-pinned_stay.json"
    assert json.loads(saved.read_text())["overrides"] == {"PAGES": "2"}
    assert len(list((folder / "itf").iterdir())) == 1


@pytest.mark.usefixtures("pages")
def test_expectations_count(hmmspec, answers) -> None:
    answers["pinned_stay"] = violated
    result = hmmspec("prove", "pages.hmm", "-i", "bad")
    assert result.code == 0
    assert "violated as expected in an instance with PAGES = 2" in words(result.out)
    assert "place[page0]: system -> swapped" not in result.out
    assert "place[page0]: system -> swapped" in hmmspec("prove", "pages.hmm", "-i", "bad", "--traces").out
    assert result.out.splitlines()[-1] == "pages.hmm: as expected: 1 violation found"
    assert hmmspec("prove", "pages.hmm", "-i", "bad", "-p", "PINS=1").code == 1
    answers["pinned_stay"] = proved
    result = hmmspec("prove", "pages.hmm", "-i", "bad")
    assert result.code == 1
    assert "expected pinned_stay to be violated in bad, and it is proved" in words(result.out)
    answers["pinned_stay"] = refused
    assert hmmspec("prove", "pages.hmm", "-i", "bad").code == 3


@pytest.mark.usefixtures("pages")
def test_machine_formats(hmmspec, answers, folder: Path) -> None:
    answers["pinned_stay"] = open_question
    arguments = ["prove", "pages.hmm", "--json", "--junit", "j.xml", "--sarif", "s.sarif"]
    result = hmmspec(*arguments, "-i", "small", "-i", "many")
    assert result.code == 3
    first, _ = reported(result)
    assert first["covers"] == ["small"]
    assert (first["engine"], first["states"], first["exit_code"]) == ("z3", None, 3)
    verdict = json.loads(result.out)["verdicts"][0]
    assert (verdict["verdict"], verdict["level"], verdict["trace"]) == ("unknown", "incomplete", None)
    assert verdict["proof"]["gap"]["length"] == 2
    assert verdict["proof"]["sizes"] == {"PAGES": "2"}
    assert verdict["proof"]["blocked_by"] == [LEMMA]
    junit = parse(folder / "j.xml").getroot()
    assert junit.get("errors") == "2"
    assert junit.get("tests") == "2"
    (run,) = json.loads((folder / "s.sarif").read_text())["runs"]
    assert [r["ruleId"] for r in run["results"]] == ["property/pinned_stay"] * 2
    assert {r["level"] for r in run["results"]} == {"warning"}
    answers["pinned_stay"] = proved
    result = hmmspec(*arguments, "-i", "small")
    verdict = json.loads(result.out)["verdicts"][0]
    assert (verdict["verdict"], verdict["level"], verdict["instance"]) == ("holds", "inductive", "small")
    assert verdict["proof"]["invariants"] == [LEMMA]
    assert verdict["proof"]["fixed"] == {"PINS": "1", "BUG": "false"}
    assert parse(folder / "j.xml").getroot().get("errors") == "0"
    assert json.loads((folder / "s.sarif").read_text())["runs"][0]["results"] == []


# ---------------------------------------------------------------- how it ends


@pytest.mark.usefixtures("pages")
def test_one_that_takes_too_long_is_3(hmmspec, answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmmspec.cli.proofs._GRACE", 0.0)
    answers["pinned_stay"] = lambda *_: time.sleep(600)  # type: ignore[assignment,return-value]
    begin = time.monotonic()
    result = hmmspec("prove", "pages.hmm", "-i", "small", "--time", "0.5s")
    assert time.monotonic() - begin < 30
    assert result.code == 3
    assert "why: the time limit is reached" in result.out
    assert 'pages.hmm:18, "pinned pages never migrate"' in result.out


@pytest.mark.usefixtures("pages")
def test_a_defect_names_the_goal(hmmspec, answers) -> None:
    answers["pinned_stay"] = lambda *_: 1 // 0  # type: ignore[assignment,return-value]
    result = hmmspec("prove", "pages.hmm", "-i", "small")
    assert result.code == 70
    assert "ZeroDivisionError" in result.err
    assert "(pinned_stay for every Page, of pages.hmm, instance small)" in result.err
    answers["pinned_stay"] = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment,return-value]
    result = hmmspec("prove", "pages.hmm", "-i", "small")
    assert result.code == 70
    assert "ended by SIGKILL" in result.err
    assert "(pinned_stay for every Page, of pages.hmm, instance small)" in result.err


@pytest.mark.usefixtures("pages")
def test_an_interrupt_leaves_what_was_shown(hmmspec, answers) -> None:
    def interrupting(system: System, goal: Goal) -> Verdict:
        if system.instance == "small":
            return proved(system, goal)
        time.sleep(2)
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(600)
        raise AssertionError

    answers["pinned_stay"] = interrupting
    begin = time.monotonic()
    result = hmmspec("prove", "pages.hmm", "--jobs", "1")
    assert time.monotonic() - begin < 30
    assert result.code == 130
    assert "interrupted" in result.err
    assert "Traceback" not in result.err
    assert "holds for every number of Page" in result.out
    assert result.out.splitlines()[-1] == "pages.hmm: INTERRUPTED: no violation found so far"


# ---------------------------------------------------------------- in `check`


@pytest.mark.usefixtures("pages", "answers")
def test_check_proves_what_the_file_asks_for(hmmspec) -> None:
    result = hmmspec("check", "pages.hmm", "-i", "small", "-i", "large")
    assert result.code == 0
    assert "holds in all 36 reachable states of instance small" in words(result.out)
    assert "holds for every number of Page with PINS = 1, BUG = false (inductive" in words(result.out)
    assert LEMMA not in result.out
    assert LEMMA in hmmspec("check", "pages.hmm", "-i", "small", "--invariants").out
    last = "pages.hmm: ok: 3 properties in 2 instances (exhaustive), 1 proved"
    assert result.out.splitlines()[-1] == last


@pytest.mark.usefixtures("pages")
def test_check_is_incomplete_without_the_proof(hmmspec, answers) -> None:
    answers["pinned_stay"] = refused
    result = hmmspec("check", "pages.hmm", "-i", "small")
    assert result.code == 3
    assert "pinned_stay is not proved for every number of Page" in words(result.out)
    assert result.out.splitlines()[-1] == "pages.hmm: INCOMPLETE: 1 of 1 property not proved for every Page"
    kinds = [
        (v["verdict"], v["level"])
        for v in json.loads(hmmspec("check", "pages.hmm", "-i", "small", "--json").out)["verdicts"]
    ]
    assert ("unknown", "incomplete") in kinds
    assert ("holds", "exhaustive") in kinds


@pytest.mark.parametrize(
    "options", [["--no-prove"], ["--simulate", "--runs", "3", "--no-prove"], ["--simulate", "--runs", "3"]]
)
@pytest.mark.usefixtures("pages")
def test_what_proves_nothing_loads_no_prover(hmmspec, answers, options: list[str]) -> None:
    answers[""] = lambda *_: pytest.fail("a proof was tried")
    result = hmmspec("check", "pages.hmm", "-i", "small", *options)
    assert result.code == (0 if "--simulate" not in options else 3)
    told = "not proved for every size here ('hmmspec prove' tries): pinned_stay for every Page"
    assert (told in words(result.out)) == ("--no-prove" not in options)
    assert "inductive" not in result.out


@pytest.mark.usefixtures("pages")
def test_quiet_shows_what_is_not_proved_alone(hmmspec, answers) -> None:
    assert len(hmmspec("check", "pages.hmm", "--quiet", "-i", "small").out.splitlines()) == 1
    answers["pinned_stay"] = refused
    out = hmmspec("check", "pages.hmm", "--quiet", "-i", "small").out
    assert "not proved" in out
    assert "exhaustive" not in out


def loaded_modules(folder: Path, *arguments: str) -> set[str]:
    """The modules that a command loads."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-X", "importtime", "-m", "hmmspec", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, timeout=120, check=True)
    return set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))


def test_z3_is_loaded_only_where_something_is_to_be_proved(pages: Path) -> None:
    assert "z3" not in loaded_modules(pages.parent, "check", "pages.hmm", "-i", "small", "--no-prove")
    assert "z3" not in loaded_modules(pages.parent, "check", "pins.hmm")
    assert "z3" in loaded_modules(pages.parent, "check", "pages.hmm", "-i", "small")


# ---------------------------------------------------------------- with the prover itself


def test_proofs_runs_and_certificates(hmmspec, pages: Path) -> None:
    result = hmmspec("prove", "pages.hmm", "--json", "--certificate", "proofs")
    assert result.code == 0, result.err
    first, second, third = reported(result)
    assert (first["covers"], second["covers"], third["covers"]) == (["small", "large"], ["many"], ["bad"])
    verdicts = json.loads(result.out)["verdicts"]
    assert [(v["verdict"], v["level"], v["expected"]) for v in verdicts] == [
        ("holds", "inductive", True),
        ("holds", "inductive", True),
        ("violated", "violated, shortest", True),
    ]
    assert verdicts[2]["trace"]["length"] == 2
    assert verdicts[2]["proof"]["sizes"] == {"PAGES": "1"}
    assert [(pages.parent / str(r["certificate"])).is_dir() for r in (first, second)] == [True, True]
    assert third["certificate"] is None


def test_check_with_the_prover_itself(hmmspec, pages: Path) -> None:
    assert hmmspec("check", "pages.hmm", "--quiet").code == 0
    pages.write_text(PAGES.replace("expect bad violates pinned_stay, stays;", ""))
    result = hmmspec("check", "pages.hmm", "-i", "bad")
    assert result.code == 1
    assert "violated in an instance with PAGES = 1, shortest trace of 2 steps" in words(result.out)

"""`hmmspec check`: exit codes, what it prints, what it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree.ElementTree import parse

import jsonschema
import pytest

from hmmspec.report.jsonout import schema

ROOT = Path(__file__).resolve().parents[2]


def test_as_expected_is_0(hmmspec) -> None:
    result = hmmspec("check", "pins.hmm")
    assert result.code == 0
    assert result.err == ""
    assert "holds in all 9 reachable states of instance good (exhaustive" in result.out
    assert "violated as expected, shortest trace of 2 steps" in result.out
    assert "place[page0]" not in result.out
    assert result.out.splitlines()[-1].startswith("pins.hmm: as expected: 1 violation found")


def test_a_violation_is_1_with_its_trace(hmmspec) -> None:
    result = hmmspec("check", "pins.hmm", "-p", "BUG=true")
    assert result.code == 1
    assert "instance default" in result.out
    assert "pinned_stay is violated in instance default: shortest trace of 2 steps" in result.out
    assert "place[page0]: system -> swapped" in result.out
    assert "for     p = page0" in result.out
    assert result.out.splitlines()[-1] == "pins.hmm: VIOLATED: pinned_stay (default)"


def test_a_missed_expectation_is_1(hmmspec, folder: Path) -> None:
    text = (folder / "pins.hmm").read_text()
    (folder / "pins.hmm").write_text(text.replace("has 9 states", "has 8 states"))
    result = hmmspec("check", "pins.hmm", "-i", "good")
    assert result.code == 1
    assert "expected 8 states, found 9" in result.out
    (folder / "pins.hmm").write_text(text.replace("BUG = true;", ""))
    result = hmmspec("check", "pins.hmm", "-i", "bad")
    assert result.code == 1
    assert "expected pinned_stay to be violated" in result.out


def test_with_p_expectations_are_not_judged(hmmspec) -> None:
    result = hmmspec("check", "pins.hmm", "-i", "bad", "-p", "BUG=false")
    assert result.code == 0
    assert "expected" not in result.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--states", "50"], "limit --states 50 reached (incomplete)"),
        (["--time", "0.2s"], "limit --time 0.2s reached (incomplete)"),
        (["--memory", "1k"], "limit --memory 1K reached (incomplete)"),
    ],
)
def test_a_limit_is_3(hmmspec, arguments: list[str], words: str) -> None:
    result = hmmspec("check", "counter.hmm", *arguments)
    assert result.code == 3
    assert words in " ".join(result.out.split())
    assert "no violation found in " in result.out
    assert result.out.splitlines()[-1].startswith("counter.hmm: INCOMPLETE: default, limit --")


def test_one_line_for_each_spec_at_the_end(hmmspec) -> None:
    result = hmmspec("check", "pins.hmm", "counter.hmm", "-p", "TOP=3", "--quiet")
    assert result.code == 2  # pins.hmm has no such param
    assert "TOP" in result.err
    result = hmmspec("check", "pins.hmm", "pins.hmm", "--quiet")
    assert result.code == 0
    assert len(result.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere.hmm"], "HMM080", "nowhere.hmm"),
        (["pins.hmm", "-i", "goot"], "HMM07", "did you mean 'good'?"),
        (["pins.hmm", "-p", "PAGE=3"], "HMM07", "did you mean 'PAGES'?"),
        (["pins.hmm", "-p", "PAGES"], "HMM084", "NAME=VALUE"),
        (["pins.hmm", "-p", "PAGES=1+1"], "HMM084", "'1+1'"),
        (["pins.hmm", "-p", "PAGES=true"], "HMM0", "PAGES"),
        (["pins.hmm", "--engine", "z3", "--simulate"], "HMM085", "the engine 'z3' makes no random runs"),
        (["pins.hmm", "--engine", "all", "--hash", "40"], "HMM089", "the engine 'all' does not take it"),
        (["pins.hmm", "--engine", "pyton"], "HMM085", "did you mean 'python'?"),
        (["pins.hmm", "--time", "soon"], "HMM089", "90s"),
        (["pins.hmm", "--memory", "lots"], "HMM089", "2G"),
        (["pins.hmm", "--states", "0"], "HMM089", "not a number of states"),
        (["pins.hmm", "--tracess"], "HMM089", "did you mean '--traces'?"),
        (["pins.hmm", "--junit", "pins.hmm/x.xml"], "HMM087", "cannot write"),
        ([], "HMM089", "SPEC"),
    ],
)
def test_wrong_input_is_2_with_a_message(hmmspec, arguments: list[str], code: str, words: str) -> None:
    result = hmmspec("check", *arguments)
    assert result.code == 2
    assert code in result.err
    assert words in result.err
    assert "Traceback" not in result.err
    assert result.out == ""
    as_json = hmmspec("check", *arguments, "--json")
    assert as_json.code == 2
    document = json.loads(as_json.out)
    jsonschema.Draft202012Validator(schema()).validate(document)
    assert document["exit_code"] == 2
    assert any(d["code"].startswith(code) for d in document["diagnostics"])


def test_mistakes_of_all_files_are_told_before_anything_runs(hmmspec, folder: Path) -> None:
    (folder / "one.hmm").write_text("spec one\nvar x: bool = 1;\n")
    (folder / "two.hmm").write_text("spec two\nvar y: nothing = 1;\n")
    result = hmmspec("check", "pins.hmm", "one.hmm", "two.hmm")
    assert result.code == 2
    assert result.out == ""
    assert "one.hmm:2" in result.err
    assert "two.hmm:2" in result.err


def test_json_is_one_document_for_all(hmmspec) -> None:
    result = hmmspec("check", "pins.hmm", "--json")
    assert result.code == 0
    document = json.loads(result.out)
    jsonschema.Draft202012Validator(schema()).validate(document)
    assert [i["instance"] for i in document["instances"]] == ["good", "bad"]
    assert document["instances"][0]["states"] == 9
    by_name = {(v["instance"], v["property"]): v for v in document["verdicts"]}
    assert by_name["good", "pinned_stay"]["verdict"] == "holds"
    assert by_name["bad", "pinned_stay"]["expected"] is True
    assert by_name["bad", "pinned_stay"]["trace"]["length"] == 2
    assert by_name["good", "all_out"]["witness"]["length"] == 2


def test_symmetry_does_not_change_the_full_count(hmmspec) -> None:
    reduced = json.loads(hmmspec("check", "pins.hmm", "-i", "good", "--json").out)["instances"][0]
    whole = json.loads(hmmspec("check", "pins.hmm", "-i", "good", "--json", "--no-symmetry").out)["instances"][0]
    assert reduced["states"] == whole["states"] == 9
    assert reduced["orbits"] == 6
    assert whole["orbits"] is None


def test_files_are_written(hmmspec, folder: Path) -> None:
    arguments = ["--junit", "out/j.xml", "--sarif", "out/s.sarif", "--itf", "itf", "--save-traces", "saved"]
    result = hmmspec("check", "pins.hmm", *arguments)
    assert result.code == 0
    assert parse(folder / "out/j.xml").getroot().get("failures") == "0"
    assert json.loads((folder / "out/s.sarif").read_text())["version"] == "2.1.0"
    assert json.loads((folder / "itf/pins-bad-pinned_stay.itf.json").read_text())["#meta"]["format"] == "ITF"
    saved = json.loads((folder / "saved/pins-bad-pinned_stay.json").read_text())
    assert saved["instance"] == "bad"
    assert not list(folder.rglob(".*"))


def test_spec_errors_reach_junit_and_sarif(hmmspec, folder: Path) -> None:
    (folder / "one.hmm").write_text("spec one\nvar x: bool = 1;\n")
    assert hmmspec("check", "one.hmm", "--junit", "j.xml", "--sarif", "s.sarif").code == 2
    assert parse(folder / "j.xml").getroot().get("errors") == "1"
    (result,) = json.loads((folder / "s.sarif").read_text())["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 2


def test_a_result_is_not_lost_when_a_file_cannot_be_written(hmmspec, folder: Path) -> None:
    (folder / "saved").mkdir()
    (folder / "saved/pins-bad-pinned_stay.json").mkdir()
    result = hmmspec("check", "pins.hmm", "--save-traces", "saved", "--json")
    assert result.code == 2
    document = json.loads(result.out)
    assert document["exit_code"] == 2
    assert len(document["instances"]) == 2
    assert document["diagnostics"][0]["code"] == "HMM087"


def test_witness_coverage_and_traces_on_request(hmmspec) -> None:
    plain = hmmspec("check", "pins.hmm").out
    for option, words in (
        ("--witness", "all_out is reached in instance good in 2 steps"),
        ("--coverage", "how often each step fired"),
        ("--traces", "pinned_stay is violated as expected in instance bad"),
        ("-v", "pinned_stay is violated as expected in instance bad"),
    ):
        assert words not in plain
        assert words in hmmspec("check", "pins.hmm", option).out


def test_seed_is_printed(hmmspec) -> None:
    assert "seed 7" in hmmspec("check", "pins.hmm", "--seed", "7").out
    assert json.loads(hmmspec("check", "pins.hmm", "--seed", "7", "--json").out)["seed"] == 7


def spawn(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "hmmspec", *arguments]
    return subprocess.Popen(command, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_interrupt_shows_what_was_found_and_is_130(folder: Path) -> None:
    process = spawn("check", "pins.hmm", "counter.hmm", "pins.hmm", cwd=folder)
    assert process.stdout is not None
    shown = []
    for line in process.stdout:
        shown.append(line)
        if "instance bad" in line:
            break
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    whole = "".join(shown) + out
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "holds in all 9 reachable states" in whole
    assert "interrupted (incomplete)" in whole
    assert "counter.hmm: INTERRUPTED: no violation found so far" in whole


def test_a_closed_pipe_is_silent(folder: Path) -> None:
    process = spawn("check", "pins.hmm", "-v", cwd=folder)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert err == ""
    assert process.returncode == 141

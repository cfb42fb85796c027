"""JSON, JUnit, SARIF, ITF and saved traces: each well-formed, complete, and honest about what was not shown."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import fromstring

import jsonschema
import pytest

from hmmspec.checker.verdict import InstanceReport, Trace
from hmmspec.diagnostics import Diagnostic, Source, Span
from hmmspec.report.itf import trace_to_itf
from hmmspec.report.jsonout import Run, run_to_json, schema
from hmmspec.report.junit import junit_xml
from hmmspec.report.plain import BadTrace, trace_from_plain, trace_to_plain
from hmmspec.report.sarif import run_to_sarif
from hmmspec.report.saved import SavedTrace, digest_of, saved_from_json, saved_to_json


def document(*reports: InstanceReport, diagnostics: tuple[Diagnostic, ...] = (), code: int = 0) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(run_to_json(Run(reports, diagnostics, code, 0, "0.1.0")))
    return loaded


def test_json_fits_its_schema(
    good: InstanceReport, bad: InstanceReport, cut_off: InstanceReport, failing: Trace, diagnostic: Diagnostic
) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    validator = jsonschema.Draft202012Validator(schema())
    crashed = replace(
        bad, verdicts=(replace(bad.verdicts[0], trace=failing, others=(failing,)),), warnings=(diagnostic,)
    )
    validator.validate(document(good, bad, cut_off, crashed, code=1))
    validator.validate(document(replace(good, states=None, orbits=4, reduction="representatives")))
    validator.validate(document(diagnostics=(diagnostic,), code=2))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**document(good), "surprise": 1})


def test_json_verdict_carries_what_the_contract_names(bad: InstanceReport) -> None:
    entry = document(bad, code=1)["verdicts"][0]
    promised = "spec instance engine property verdict level states transitions depth explore_seconds wall_seconds trace"
    assert set(promised.split()) <= set(entry)
    assert (entry["spec"], entry["instance"], entry["property"]) == ("device_private", "tiny", "pinned_stay")
    assert (entry["verdict"], entry["level"], entry["states"]) == ("violated", "violated, shortest", 133)
    assert entry["explore_seconds"] == 0.0312
    assert [s["rule"] for s in entry["trace"]["steps"]] == ["pin", "fault.take", "swap_out"]
    assert entry["trace"]["steps"][0]["location"]["line"] == 3
    assert entry["trace"]["blame"]["bindings"] == [["p", "page0"]]


def test_json_tells_diagnostics_with_their_place(diagnostic: Diagnostic) -> None:
    (entry,) = document(diagnostics=(diagnostic,), code=2)["diagnostics"]
    assert entry["code"] == "HMM001"
    assert (entry["location"]["line"], entry["location"]["path"]) == (3, "specs/device_private.hmm")
    assert entry["fix"] == "did you mean 'true'?"


def test_a_missing_file_is_named_in_its_diagnostic() -> None:
    missing = Diagnostic("HMM080", "no such file", Span(Source("nowhere.hmm", ""), 0, 0))
    (entry,) = document(diagnostics=(missing,), code=2)["diagnostics"]
    assert (entry["location"]["path"], entry["location"]["line"]) == ("nowhere.hmm", 1)
    (result,) = sarif(diagnostics=(missing,))["results"]
    assert result["locations"][0]["physicalLocation"] == {"artifactLocation": {"uri": "nowhere.hmm"}}


def test_traces_survive_json(trace: Trace, failing: Trace) -> None:
    for t in (trace, failing, replace(trace, loop=1, blame=None)):
        assert trace_from_plain(json.loads(json.dumps(trace_to_plain(t)))) == t


def test_saved_trace_survives(trace: Trace) -> None:
    saved = SavedTrace(
        "s", "s.hmm", "tiny", (("PAGES", "2"),), {"PAGES": "2"}, "fits", "text", 0, digest_of(["a"]), trace
    )
    assert saved_from_json(saved_to_json(saved)) == saved


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "{}",
        '{"format": "hmmspec-trace-1"}',
        "[" * 100_000,
        (
            '{"format": "hmmspec-trace-1", "spec": "s", "path": "p", "instance": "i", "property": "q", "text": "",'
            ' "sha256": "", "seed": 0, "params": {}, "overrides": {}, "trace": {"initial": {}, "steps": [1]}}'
        ),
    ],
)
def test_anything_else_is_refused_with_a_message(text: str) -> None:
    with pytest.raises(BadTrace, match=r"."):
        saved_from_json(text)


def test_loop_out_of_range_is_refused(trace: Trace) -> None:
    with pytest.raises(BadTrace, match="0 to 3"):
        trace_from_plain({**trace_to_plain(trace), "loop": 4})


def test_digest_tells_texts_apart() -> None:
    assert digest_of(["ab", "c"]) != digest_of(["a", "bc"])


def test_junit_counts_and_names(good: InstanceReport, bad: InstanceReport, expected_bad: InstanceReport) -> None:
    root = fromstring(junit_xml([good, bad, expected_bad], []))
    assert [s.get("failures") for s in root] == ["0", "1", "0"]
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("15", "1", "0")
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "violated, shortest trace of 3 steps"
    assert failure.text is not None
    assert "place[page0]: system -> swapped" in failure.text


def test_junit_incomplete_is_an_error_never_a_pass(cut_off: InstanceReport, diagnostic: Diagnostic) -> None:
    (suite,) = fromstring(junit_xml([cut_off], []))
    assert suite.get("errors") == "3"
    (wrong,) = fromstring(junit_xml([], [diagnostic]))
    assert wrong.get("errors") == "1"


def test_junit_survives_odd_characters(bad: InstanceReport) -> None:
    odd = replace(bad, verdicts=(replace(bad.verdicts[0], text="bell \x07 & <tag>"),))
    assert "&lt;tag&gt;" in junit_xml([odd], [])
    fromstring(junit_xml([odd], []))


def sarif(*reports: InstanceReport, diagnostics: tuple[Diagnostic, ...] = ()) -> dict[str, Any]:
    log: dict[str, Any] = json.loads(run_to_sarif(Run(reports, diagnostics, 1, 0, "0.1.0")))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    declared = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert {r["ruleId"] for r in run["results"]} == declared
    for result in run["results"]:
        assert result["level"] in {"error", "warning"}
        assert result["message"]["text"]
        for place in result.get("locations", []):
            assert place["physicalLocation"]["artifactLocation"]["uri"]
    found: dict[str, Any] = run
    return found


def test_sarif_points_at_violations_with_their_trace(bad: InstanceReport, expected_bad: InstanceReport) -> None:
    (result,) = sarif(bad)["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "specs/device_private.hmm"
    assert place["region"]["startLine"] == 2
    (flow,) = result["codeFlows"]
    texts = [at["location"]["message"]["text"] for at in flow["threadFlows"][0]["locations"]]
    assert len(texts) == 4
    assert texts[3] == "3. swap_out (p = page0): place[page0]: system -> swapped"
    assert sarif(expected_bad)["results"] == []


def test_sarif_holds_diagnostics_and_what_is_incomplete(cut_off: InstanceReport, diagnostic: Diagnostic) -> None:
    rules = [r["ruleId"] for r in sarif(cut_off, diagnostics=(diagnostic,))["results"]]
    assert rules == ["HMM001", "incomplete"]


def test_itf_has_one_state_more_than_steps(bad: InstanceReport, trace: Trace, failing: Trace) -> None:
    itf = json.loads(trace_to_itf(bad, "pinned_stay", trace))
    assert itf["#meta"]["format"] == "ITF"
    assert [s["#meta"]["index"] for s in itf["states"]] == [0, 1, 2, 3]
    assert set(itf["vars"]) == set(itf["states"][0]) - {"#meta"}
    last = itf["states"][3]
    assert last["mbt::actionTaken"] == "swap_out"
    assert last["mbt::nondetPicks"]["p"] == {"tag": "Some", "value": "page0"}
    assert last["mbt::nondetPicks"]["c"]["tag"] == "None"
    assert last["pins"] == {"#map": [["page0", {"#bigint": "1"}], ["page1", {"#bigint": "0"}]]}
    assert last["pte.write"] == {"#map": [["mm0", {"#map": [["page0", False]]}]]}
    assert last["ptl"] == "free"
    assert "loop" not in itf
    assert json.loads(trace_to_itf(bad, "ends", replace(trace, loop=1)))["loop"] == 1
    cut = json.loads(trace_to_itf(bad, "spec_error", failing))
    assert len(cut["states"]) == 3
    assert cut["#meta"]["failing-step"]["action"] == "swap_out"

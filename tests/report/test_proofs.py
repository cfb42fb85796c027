"""Reports on proofs: for how many of what, by which means, and what is in the way; no line claims more."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from xml.etree.ElementTree import fromstring

import jsonschema
import pytest

from hmmspec.checker.verdict import InstanceReport, Level, Progress, Proof, Status, Trace, Verdict
from hmmspec.report.jsonout import Run, run_to_json, schema
from hmmspec.report.junit import junit_xml
from hmmspec.report.progress import ProgressLine
from hmmspec.report.sarif import run_to_sarif
from hmmspec.report.style import MAIL_WIDTH, PLAIN, Style
from hmmspec.report.text import TextOptions, report_text, summary_line
from hmmspec.report.words import sentence

PROOF = Proof(("Page", "Frame"), (("PINS", "1"),))
LEMMA = "forall p: Page, f: Frame { frame[p] == f => !free[f] }"
MEANS = TextOptions(means=True)


def holds(name: str = "own_frame", **means: object) -> Verdict:
    proof = replace(PROOF, **means)  # type: ignore[arg-type]
    return Verdict(name, "invariant", "no shared frame", Status.HOLDS, Level.INDUCTIVE, proof=proof)


def unknown(name: str = "own_frame", **why: object) -> Verdict:
    proof = replace(PROOF, **why)  # type: ignore[arg-type]
    return Verdict(name, "invariant", "no shared frame", Status.UNKNOWN, Level.INCOMPLETE, proof=proof)


def violated(trace: Trace, level: Level = Level.VIOLATED_SHORTEST, **more: object) -> Verdict:
    proof = replace(PROOF, sizes=(("PAGES", "2"), ("FRAMES", "1")))
    verdict = Verdict("own_frame", "invariant", "no shared frame", Status.VIOLATED, level, trace, proof=proof)
    return replace(verdict, expected=False, **more)  # type: ignore[arg-type]


@pytest.fixture
def report(good: InstanceReport) -> InstanceReport:
    return replace(
        good,
        params=PROOF.fixed,
        engine="z3",
        verdicts=(holds(),),
        states=None,
        transitions=0,
        depth=0,
        coverage=(),
        every=("Page", "Frame"),
        covers=("tiny", "wide"),
    )


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("means", "told"),
    [
        ({}, "(inductive)"),
        ({"lemmas": (LEMMA,)}, "(inductive, strengthened by 1 found invariant)"),
        ({"lemmas": (LEMMA, "x", "y")}, "(inductive, strengthened by 3 found invariants)"),
        ({"method": "k-induction", "depth": 1}, "(inductive)"),
        ({"method": "k-induction", "depth": 4}, "(inductive over 4 steps)"),
        ({"method": "pdr", "lemmas": (LEMMA,)}, "(inductive, found by PDR, strengthened by 1 found invariant)"),
        ({"method": "ranks"}, "(inductive, by ranks)"),
    ],
)
def test_a_proof_says_of_what_and_how(report: InstanceReport, means: dict[str, object], told: str) -> None:
    assert sentence(report, holds(**means)) == f"holds for every number of Page, Frame with PINS = 1 {told}"


def test_without_anything_fixed_nothing_is_named(report: InstanceReport) -> None:
    assert sentence(report, holds(fixed=())) == "holds for every number of Page, Frame (inductive)"
    alone = replace(report, every=(), covers=("tiny",))
    assert sentence(alone, holds(every=())) == "holds in all reachable states of instance tiny (inductive)"


def test_what_is_not_proved_never_holds(report: InstanceReport) -> None:
    told = "not proved for every number of Page, Frame with PINS = 1 (incomplete)"
    assert sentence(report, unknown()) == told
    text = report_text(replace(report, verdicts=(unknown(reason="it counts"),)), PLAIN, MEANS)
    assert "holds" not in text
    assert "why: it counts" in text
    assert replace(report, verdicts=(unknown(), holds("fits"))).exit_code == 3


def test_a_violation_says_in_which_instance(report: InstanceReport, trace: Trace) -> None:
    found = violated(trace)
    told = "violated in an instance with PAGES = 2, FRAMES = 1, shortest trace of 3 steps"
    assert sentence(report, found) == told
    assert sentence(report, replace(found, expected=True)) == told.replace("violated", "violated as expected")
    assert sentence(report, violated(trace, Level.VIOLATED)).endswith("trace of 3 steps (not known to be shortest)")
    text = report_text(replace(report, verdicts=(found,)), PLAIN, MEANS)
    assert "own_frame is violated in an instance with PAGES = 2, FRAMES = 1: shortest trace of 3 steps" in words(text)
    assert "place[page0]: system -> swapped" in text
    assert replace(report, verdicts=(found, unknown("fits"))).exit_code == 1


def test_the_head_names_the_setting_and_its_instances(report: InstanceReport) -> None:
    lines = report_text(report, PLAIN, MEANS).splitlines()
    assert lines[:3] == [
        "specs/device_private.hmm: proofs for every number of Page, Frame",
        "  PINS = 1 (instances tiny, wide)",
        "  engine z3, 0.04 s",
    ]
    alone = replace(report, every=(), covers=("tiny",))
    assert report_text(alone, PLAIN, MEANS).startswith(
        "specs/device_private.hmm: proofs for instance tiny\n  PINS = 1\n"
    )
    assert "states" not in "\n".join(lines)


def test_what_proofs_need_is_told_once_each(report: InstanceReport) -> None:
    first = holds(lemmas=(LEMMA,), uses=("fits", "copies"), left_out=("start: count(f) < 3",))
    both = replace(report, verdicts=(first, holds("fits", lemmas=(LEMMA, "x == y"))), certificate="proofs/pages")
    text = report_text(both, PLAIN, MEANS)
    assert text.count(LEMMA) == 1
    assert "    x == y\n" in text
    assert "invariants of the spec that are proved with them, since they need them: copies" in words(text)
    assert "need them: fits" not in words(text)
    assert "    start: count(f) < 3\n" in text
    assert "certificate: proofs/pages" in text
    short = report_text(both, PLAIN, TextOptions())
    assert LEMMA not in short
    many = replace(report, verdicts=(holds(lemmas=tuple(f"x != {n}" for n in range(50))),))
    text = report_text(many, PLAIN, MEANS)
    assert "    x != 39\n    and 10 more, all of which --json tells\n" in text


def test_a_step_in_the_way_is_no_run(report: InstanceReport, trace: Trace) -> None:
    gap = replace(trace, steps=trace.steps[:1])
    why = {"gap": gap, "sizes": (("PAGES", "2"),), "blocked_by": ("pins[p] == 0", LEMMA), "reason": "none was found"}
    found = replace(report, verdicts=(unknown(**why), unknown("fits", **why), unknown("old", reason="it counts")))
    text = report_text(found, PLAIN, MEANS)
    told = words(text)
    assert told.count("This is not a run from a start state") == 1
    assert told.count("The step below in an instance with PAGES = 2 breaks it") == 2
    assert text.count("\nbefore  pins[*] = 0\n        place[page0] = system, place[page1] = unmapped\n") == 2
    assert not re.search("^start", text, re.MULTILINE)
    assert "One that always holds is worth adding as an invariant: pins[p] == 0 forall p: Page, f: Frame" in told
    assert "own_frame is not proved for every number of Page, Frame" in told
    assert told.count("is not proved") == 3


def test_what_is_refused_for_one_reason_stands_together(report: InstanceReport) -> None:
    found = replace(report, verdicts=(unknown(reason="it counts"), unknown("fits", reason="it counts")))
    told = words(report_text(found, PLAIN, MEANS))
    assert "own_frame, fits are not proved for every number of Page, Frame why: it counts" in told


def test_no_line_is_wider_than_mail(report: InstanceReport, trace: Trace) -> None:
    long = " && ".join(f"frame[page_{n}] == frame_{n}" for n in range(20))
    means = {"lemmas": (long,), "uses": tuple(f"property_{n}" for n in range(30)), "left_out": (long,)}
    gap = {"gap": replace(trace, steps=trace.steps[:1]), "blocked_by": (long,), "reason": "for some reason " * 20}
    fixed = tuple((f"PARAMETER_{n}", "1") for n in range(20))
    wide = replace(
        report,
        params=fixed,
        covers=tuple(f"instance_{n}" for n in range(20)),
        verdicts=(holds(fixed=fixed, **means), unknown("x" * 40, **gap), violated(trace)),
    )
    for line in report_text(wide, PLAIN, TextOptions(True, True, True, True, True)).splitlines():
        assert len(line) <= MAIL_WIDTH, line
    coloured = report_text(wide, Style(MAIL_WIDTH, True), MEANS)
    assert re.sub(r"\033\[[0-9;]*m", "", coloured) == report_text(wide, PLAIN, MEANS)


def test_summaries(report: InstanceReport, good: InstanceReport, trace: Trace) -> None:
    def summary(*reports: InstanceReport) -> str:
        return summary_line("a.hmm", reports, len(reports), Style(100))

    ok = "a.hmm: ok: 1 property proved for every Page, Frame"
    assert summary(report) == ok
    assert summary(report, report) == ok
    assert summary(report, replace(report, every=("Page",))) == "a.hmm: ok: 1 property proved"
    alone = "a.hmm: ok: 3 properties in 1 instance (exhaustive)"
    assert summary(good) == alone
    assert summary(good, replace(report, every=("Page",))) == f"{alone}, 1 proved for every Page"
    missing = replace(report, verdicts=(unknown(), holds("fits")))
    told = "a.hmm: INCOMPLETE: 1 of 2 properties not proved for every Page, Frame"
    assert summary(missing) == told
    assert summary(good, missing) == told
    assert summary_line("a.hmm", [good, report], 2, PLAIN) == f"{alone}, 1 proved"
    cut = replace(good, limit="time limit of 9s", verdicts=(replace(good.verdicts[0], status=Status.UNKNOWN),))
    both = "a.hmm: INCOMPLETE: 1 of 1 instance, 1 of 2 properties not proved"
    assert summary_line("a.hmm", [cut, missing], 2, PLAIN) == both
    found = replace(report, verdicts=(violated(trace),))
    assert summary(good, found) == "a.hmm: VIOLATED: own_frame (PAGES = 2, FRAMES = 1)"
    expected = replace(report, verdicts=(replace(violated(trace), expected=True), holds("fits")))
    assert summary(expected) == "a.hmm: as expected: 1 violation found, 1 proved for every Page, Frame"
    assert summary_line("a.hmm", [good], 2, PLAIN) == "a.hmm: INTERRUPTED: no violation found so far"


def test_machine_formats(report: InstanceReport, good: InstanceReport, trace: Trace) -> None:
    why = {"gap": replace(trace, steps=trace.steps[:1]), "sizes": (("PAGES", "2"),), "reason": "none was found"}
    verdicts = (holds(lemmas=(LEMMA,)), unknown("fits", **why), replace(violated(trace), property="old"))
    found = replace(report, verdicts=verdicts, certificate="proofs/pages")
    document = json.loads(run_to_json(Run((good, found), (), 1, 0, "0.1.0")))
    jsonschema.Draft202012Validator(schema()).validate(document)
    told = {v["property"]: v for v in document["verdicts"] if v["proof"] is not None}
    assert set(told) == {"own_frame", "fits", "old"}
    assert told["own_frame"]["proof"]["invariants"] == [LEMMA]
    assert told["own_frame"]["proof"]["every"] == ["Page", "Frame"]
    assert told["fits"]["proof"]["gap"]["length"] == 1
    assert told["fits"]["trace"] is None
    assert told["old"]["trace"]["length"] == 3
    assert document["instances"][0]["every"] is None
    assert document["instances"][1]["certificate"] == "proofs/pages"
    junit = fromstring(junit_xml([good, found], []))
    assert (junit.get("errors"), junit.get("failures")) == ("1", "1")
    names = [(c.get("classname"), c.get("name")) for c in junit.iter("testcase")]
    assert len(names) == len(set(names))
    error = junit.find(".//error")
    assert error is not None
    assert error.text == "none was found"
    (run,) = json.loads(run_to_sarif(Run((good, found), (), 1, 0, "0.1.0")))["runs"]
    results = [(r["ruleId"], r["level"], "codeFlows" in r) for r in run["results"]]
    assert results == [("property/fits", "warning", False), ("property/old", "error", True)]
    assert "none was found" in run["results"][0]["message"]["text"]
    assert "in an instance with PAGES = 2" in run["results"][1]["message"]["text"]


def test_a_log_hears_of_proofs_that_take_long() -> None:
    stream, now = io.StringIO(), [0.0]
    line = ProgressLine(stream, lambda: now[0])
    for tenth in range(250):
        now[0] = tenth / 10
        line(Progress("pages", "every number of Page", "proof 2 of 8, looking", 0, 0, 0, 0, now[0]))
    told = stream.getvalue().splitlines()
    assert told == [
        "pages, every number of Page: proof 2 of 8, looking, 10.0 s",
        "pages, every number of Page: proof 2 of 8, looking, 20.0 s",
    ]

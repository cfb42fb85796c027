"""JUnit XML: a test suite per instance, a test case per property, so that any CI shows verdicts as it shows tests."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from hmmspec.checker.verdict import InstanceReport, Status, Verdict
from hmmspec.diagnostics import Diagnostic, render
from hmmspec.report.proof_words import subject
from hmmspec.report.style import PLAIN
from hmmspec.report.trace_text import TraceOptions, trace_lines
from hmmspec.report.words import limit_text, remarks, sentence


def junit_xml(reports: Sequence[InstanceReport], diagnostics: Sequence[Diagnostic]) -> str:
    """The document, ending in a newline.  What is incomplete is an error, never a pass or a skip."""
    root = Element("testsuites", name="hmmspec")
    for report in reports:
        _suite(root, report)
    if diagnostics:
        suite = SubElement(root, "testsuite", name="spec errors", tests=str(len(diagnostics)))
        suite.set("errors", str(len(diagnostics)))
        suite.set("failures", "0")
        for d in diagnostics:
            case = SubElement(suite, "testcase", classname=_clean(d.span.path), name=f"{d.code} at {d.span!r}")
            SubElement(case, "error", type=d.code, message=_clean(d.message)).text = _clean(render(d))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(s.get(key, "0")) for s in root)))
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, report: InstanceReport) -> None:
    name = report.instance if report.every is None else f"proofs for {subject(report)}, {report.instance}"
    suite = SubElement(root, "testsuite", name=f"{report.path} {name}")
    suite.set("time", f"{report.wall_seconds:.3f}")
    properties = SubElement(suite, "properties")
    for name, value in (*report.params, ("engine", report.engine), ("seed", str(report.seed))):
        SubElement(properties, "property", name=name, value=value)
    for verdict in report.verdicts:
        _case(suite, report, verdict)
    for number, problem in enumerate(report.problems, 1):
        case = SubElement(suite, "testcase", classname=_class(report), name=f"expectation {number}")
        SubElement(case, "failure", type="expectation", message=_clean(problem)).text = _clean(problem)
    if report.exit_code in {3, 130} and report.every is None:  # each property that is not proved is an error itself
        case = SubElement(suite, "testcase", classname=_class(report), name="search is complete")
        told = limit_text(report)
        SubElement(case, "error", type="incomplete", message=_clean(told))
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(c.find("failure") is not None for c in cases)))
    suite.set("errors", str(sum(c.find("error") is not None for c in cases)))


def _case(suite: Element, report: InstanceReport, verdict: Verdict) -> None:
    case = SubElement(suite, "testcase", classname=_class(report), name=verdict.property)
    told = _clean("; ".join(part for part in (sentence(report, verdict), remarks(verdict)) if part))
    if verdict.status is Status.VIOLATED and not verdict.expected:
        failure = SubElement(case, "failure", type="violated", message=told)
        if verdict.trace is not None:
            lines = trace_lines(verdict.trace, PLAIN, TraceOptions(path=report.path))
            failure.text = _clean("\n".join([verdict.text, *lines, ""]))
    elif verdict.status is Status.UNKNOWN:
        error = SubElement(case, "error", type="incomplete", message=told)
        if verdict.proof is not None and verdict.proof.reason:
            error.text = _clean(verdict.proof.reason)
    else:
        SubElement(case, "system-out").text = told


def _class(report: InstanceReport) -> str:
    how = "" if report.every is None else f".proof {' '.join(report.every)}".rstrip()
    return f"{report.spec}.{report.instance}{how}"


def _clean(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(ch if ch in "\n\t" or ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in text)

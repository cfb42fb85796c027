"""SARIF 2.1.0, for code review tools: violations and diagnostics at their lines, traces as code flows."""

from __future__ import annotations

import json
from pathlib import PurePath
from urllib.parse import quote

from hmmspec.checker.verdict import InstanceReport, Status, Trace, TraceStep, Verdict
from hmmspec.diagnostics import CODES, Diagnostic, Severity, Span
from hmmspec.report.jsonout import Run
from hmmspec.report.plain import Json, in_file
from hmmspec.report.trace_text import state_text, step_title
from hmmspec.report.words import limit_text, place, remarks, sentence

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def run_to_sarif(run: Run) -> str:
    """The log, ending in a newline: what is not as expected, what is incomplete, and every diagnostic."""
    results = [_diagnostic(d) for d in (*run.diagnostics, *(w for r in run.reports for w in r.warnings))]
    for report in run.reports:
        results += [_violation(report, v) for v in report.verdicts if _worth(report, v)]
        results += [_remark(report, "expectation", "error", problem) for problem in report.problems]
        if report.exit_code in {3, 130} and report.every is None:
            why = f"instance {report.instance}: {limit_text(report)} (incomplete)"
            results.append(_remark(report, "incomplete", "warning", why))
    used = {str(r["ruleId"]): r for r in results}
    driver: dict[str, Json] = {
        "name": "hmmspec",
        "version": run.version,
        "rules": [{"id": rule, "shortDescription": {"text": _title(rule)}} for rule in used],
    }
    log: dict[str, Json] = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "invocations": [{"executionSuccessful": run.exit_code in {0, 1}, "exitCode": run.exit_code}],
                "columnKind": "unicodeCodePoints",
                "results": list(results),
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _worth(report: InstanceReport, verdict: Verdict) -> bool:
    if verdict.status is Status.UNKNOWN:
        return report.every is not None  # of a search it is one result for all
    return verdict.status is Status.WARNING or (verdict.status is Status.VIOLATED and not verdict.expected)


def _title(rule: str) -> str:
    fixed = {"expectation": "an expectation of the file did not come true", "incomplete": "the search was cut off"}
    return CODES.get(rule) or fixed.get(rule) or f"the property {rule.split('/', 1)[-1]}"


def _diagnostic(d: Diagnostic) -> dict[str, Json]:
    message = d.message + (f" ({d.fix})" if d.fix else "")
    result: dict[str, Json] = {
        "ruleId": d.code,
        "level": "error" if d.severity is Severity.ERROR else "warning",
        "message": {"text": message},
    }
    if in_file(d.span):
        result["locations"] = _places(d.span, d.span.path)
    related: list[Json] = [
        {**place, "message": {"text": n.message}} for n in d.notes if n.span for place in _places(n.span, n.span.path)
    ]
    if related:
        result["relatedLocations"] = related
    return result


def _violation(report: InstanceReport, v: Verdict) -> dict[str, Json]:
    told = f"{v.property} {place(report, v)}: {sentence(report, v)}"
    if v.text:
        told = f"{told}. {v.text}"
    if v.proof is not None and v.proof.reason:
        told = f"{told}. {v.proof.reason}"
    if extra := remarks(v):
        told = f"{told} ({extra})"
    result: dict[str, Json] = {
        "ruleId": f"property/{v.property}",
        "level": "error" if v.status is Status.VIOLATED else "warning",
        "message": {"text": told},
        "locations": _places(v.span, report.path),
        "partialFingerprints": {
            "property": "/".join((report.spec, report.instance, *(report.every or ()), v.property))
        },
    }
    flows: list[Json] = [_flow(report, t) for t in (v.trace, *v.others) if t is not None]
    if flows:
        result["codeFlows"] = flows
    return result


def _remark(report: InstanceReport, rule: str, level: str, text: str) -> dict[str, Json]:
    return {"ruleId": rule, "level": level, "message": {"text": text}, "locations": _places(None, report.path)}


def _flow(report: InstanceReport, trace: Trace) -> Json:
    start = {"text": "start: " + "; ".join(state_text(trace.initial))}
    places: list[Json] = [{"location": {"message": start}}]
    steps = [*trace.steps, *([trace.final] if trace.final else [])]
    places += [_flow_step(report, number, step) for number, step in enumerate(steps, 1)]
    message = trace.message or "a run that violates the property"
    if trace.loop is not None:
        message = f"{message}; from the state after step {trace.loop} it repeats for ever"
    return {"message": {"text": message}, "threadFlows": [{"locations": places}]}


def _flow_step(report: InstanceReport, number: int, step: TraceStep) -> Json:
    changes = "; ".join(f"{c.cell}: {c.before} -> {c.after}" for c in step.changes)
    text = f"{number}. {step_title(step)}" + (f": {changes}" if changes else "")
    (place,) = _places(step.span, report.path)
    return {"location": {**place, "message": {"text": text}}, "executionOrder": number}


def _places(span: Span | None, path: str) -> list[dict[str, Json]]:
    """One physical location: the span, or the file alone where there is none."""
    artifact: dict[str, Json] = {"artifactLocation": {"uri": _uri(span.path if in_file(span) else path)}}
    if in_file(span) and span.source.text:
        end_line, end_column = span.source.position(span.end)
        artifact["region"] = {
            "startLine": span.line,
            "startColumn": span.column,
            "endLine": end_line,
            "endColumn": end_column,
        }
    return [{"physicalLocation": artifact}]


def _uri(path: str) -> str:
    pure = PurePath(path)
    return pure.as_uri() if pure.is_absolute() else quote(pure.as_posix())

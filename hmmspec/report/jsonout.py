"""One JSON document for a whole run.  Its shape is held by schema/report.schema.json and told in docs/json.md."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

from hmmspec.checker.verdict import InstanceReport, Proof, Status, Verdict
from hmmspec.diagnostics import Diagnostic
from hmmspec.report.plain import Json, diagnostic_to_plain, span_to_plain, trace_to_plain
from hmmspec.report.words import remarks, sentence

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Run:
    """What one command found: the reports of all instances, or the diagnostics that kept it from running."""

    reports: tuple[InstanceReport, ...]
    diagnostics: tuple[Diagnostic, ...]
    exit_code: int
    seed: int | None
    version: str


def run_to_plain(run: Run) -> dict[str, Json]:
    """The document as a JSON value."""
    return {
        "schema_version": SCHEMA_VERSION,
        "hmmspec": run.version,
        "exit_code": run.exit_code,
        "seed": run.seed,
        "diagnostics": [diagnostic_to_plain(d) for d in run.diagnostics],
        "instances": [_instance(r) for r in run.reports],
        "verdicts": [_verdict(r, v) for r in run.reports for v in r.verdicts],
    }


def run_to_json(run: Run) -> str:
    """The document as text, ending in a newline."""
    return json.dumps(run_to_plain(run), indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Json]:
    """The JSON schema that ships with the package."""
    text = files("hmmspec.report").joinpath("schema/report.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Json] = json.loads(text)
    return loaded


def _instance(report: InstanceReport) -> dict[str, Json]:
    return {
        "spec": report.spec,
        "path": report.path,
        "instance": report.instance,
        "params": dict(report.params),
        "engine": report.engine,
        "seed": report.seed,
        "exit_code": report.exit_code,
        **_counted(report),
        "simulation": _simulation(report),
        "limit": report.limit or None,
        "interrupted": report.interrupted,
        "problems": list(report.problems),
        "unproved": list(report.unproved),
        "remark": report.remark,
        "hashed": _hashed(report),
        "bounded": report.bounded,
        "every": None if report.every is None else list(report.every),
        "covers": list(report.covers),
        "certificate": report.certificate or None,
        "assumes": [{"name": n, "text": t} for n, t in report.assumes],
        "coverage": [{"rule": c.rule, "fired": c.fired, "location": span_to_plain(c.span)} for c in report.coverage],
        "diagnostics": [diagnostic_to_plain(d) for d in report.warnings],
    }


def _verdict(report: InstanceReport, v: Verdict) -> dict[str, Json]:
    return {
        "spec": report.spec,
        "path": report.path,
        "instance": report.instance,
        "engine": report.engine,
        "seed": report.seed,
        "property": v.property,
        "kind": v.kind,
        "text": v.text,
        "verdict": v.status.value,
        "level": v.level.value,
        "sentence": sentence(report, v),
        "expected": v.expected,
        "remark": remarks(v),
        "location": span_to_plain(v.span),
        **_counted(report),
        "limit": report.limit or None,
        "trace": None if v.trace is None else trace_to_plain(v.trace),
        "further_traces": [trace_to_plain(t) for t in v.others],
        "witness": None if v.witness is None or v.status is not Status.HOLDS else trace_to_plain(v.witness),
        "proof": None if v.proof is None else _proof(v.proof),
    }


def _proof(p: Proof) -> Json:
    return {
        "every": list(p.every),
        "fixed": dict(p.fixed),
        "method": p.method,
        "depth": p.depth,
        "invariants": list(p.lemmas),
        "uses": list(p.uses),
        "left_out": list(p.left_out),
        "sizes": dict(p.sizes),
        "reason": p.reason,
        "gap": None if p.gap is None else trace_to_plain(p.gap),
        "blocked_by": list(p.blocked_by),
    }


def _simulation(report: InstanceReport) -> Json:
    s = report.simulation
    return None if s is None else {"runs": s.runs, "depth": s.depth, "steps": s.steps}


def _hashed(report: InstanceReport) -> Json:
    h = report.hashed
    return None if h is None else {"bits": h.bits, "compared": h.compared, "missed": h.missed}


def _counted(report: InstanceReport) -> dict[str, Json]:
    return {
        "states": report.states,
        "orbits": report.orbits,
        "reduction": report.reduction or None,
        "transitions": report.transitions,
        "depth": report.depth,
        "explore_seconds": round(report.explore_seconds, 6),
        "wall_seconds": round(report.wall_seconds, 6),
    }

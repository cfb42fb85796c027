"""What a run of scenarios showed, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from hmmspec.conform.scenario.runner import PlanReport, Problem
from hmmspec.conform.target import Target
from hmmspec.diagnostics import Span
from hmmspec.report.plain import Json, span_to_plain
from hmmspec.report.style import Style

SCHEMA_VERSION = 1


def plan_lines(report: PlanReport, style: Style, again: str) -> list[str]:
    """A plan in one line, and what went wrong below it.  `again`: the command that runs the failing run again."""
    plan = report.plan
    title = f"  {plan.title}"
    if report.status == "skipped":
        return style.wrap(f"{title}: skipped, {plan.skipped}", "", "      ")
    if report.status == "failed":
        out = [f"{title}: {style.paint('FAILED', 'bad')}{_which(report)}"]
        at: Problem | None = None
        for problem in report.problems:
            out += _problem(problem, style, at)
            at = problem
        return [*out, style.paint(f"    again: {again}", "dim")]
    out = style.wrap(f"{title}: {style.paint('ok', 'good')}{_runs(report)}", "", "      ")
    if report.unseen:
        out += style.wrap("not judged, since the target does not tell: " + ", ".join(report.unseen), "    ", "      ")
    return out


def _which(report: PlanReport) -> str:
    return f" with seed {report.seed}, after {report.runs - 1} good runs" if report.plan.seeds > 1 else ""


def _runs(report: PlanReport) -> str:
    told = f", {report.runs} runs" if report.plan.seeds > 1 else ""
    groups = ["; ".join(f"{name} {count}" for name, count in group.items()) for group in report.outcomes.values()]
    return told + "".join(f" ({group})" for group in groups)


def _problem(problem: Problem, style: Style, before: Problem | None) -> list[str]:
    """What went wrong; the place only where it is not that of the problem before."""
    if problem.span is None:
        return style.wrap(problem.message, "    ", "        ")
    out = []
    if before is None or before.span != problem.span:
        out.append(f"    {problem.span!r}: {statement(problem.span)}")
        out += style.wrap(problem.does, "        the command: ", "          ") if problem.does else []
    return out + style.wrap(problem.message, "        ", "          ")


def statement(span: Span) -> str:
    """A statement on one line, cut where it is long."""
    text = " ".join(span.text.split())
    return text if len(text) <= 100 else text[:97] + "..."


def summary(reports: Sequence[PlanReport], style: Style) -> str:
    """`74 runs: 70 ok, 3 skipped, 1 failed`, of what was asked."""
    counts = {status: sum(r.status == status for r in reports) for status in ("passed", "skipped", "failed")}
    scenarios = len({id(r.plan.scenario) for r in reports})
    parts = [style.paint(f"{counts['passed']} ok", "good")]
    parts += [f"{counts['skipped']} skipped"] if counts["skipped"] else []
    parts += [style.paint(f"{counts['failed']} failed", "bad")] if counts["failed"] else []
    some = "scenario" if scenarios == 1 else "scenarios"
    return f"{scenarios} {some}: {', '.join(parts)}; {sum(r.commands for r in reports)} commands"


def exit_code(reports: Sequence[PlanReport]) -> int:
    """1 if one failed; 3 if nothing ran at all; else 0."""
    if any(r.status == "failed" for r in reports):
        return 1
    return 3 if all(r.status == "skipped" for r in reports) else 0


def to_plain(reports: Sequence[PlanReport], target: Target, seed: int, version: str) -> dict[str, Json]:
    """The document of `--json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "hmmspec": version,
        "exit_code": exit_code(reports),
        "seed": seed,
        "diagnostics": [],
        "target": {
            "name": target.name,
            "profile": dict(target.profile),
            "capabilities": sorted(target.capabilities),
            "devices": dict(target.devices),
        },
        "scenarios": [_plan(r) for r in reports],
    }


def _plan(r: PlanReport) -> Json:
    return {
        "path": r.plan.scenario.span.path,
        "scenario": r.plan.scenario.name,
        "title": r.plan.scenario.title,
        "variant": r.plan.variant or None,
        "params": dict(r.plan.params),
        "status": r.status,
        "skipped": r.plan.skipped or None,
        "runs": r.runs,
        "commands": r.commands,
        "seconds": round(r.seconds, 6),
        "seed": r.seed,
        "problems": [
            {"message": p.message, "location": span_to_plain(p.span), "command": p.does or None} for p in r.problems
        ],
        "outcomes": [{"at": at, "met": dict(met)} for at, met in r.outcomes.items()],
        "unseen": list(r.unseen),
        "location": span_to_plain(r.plan.scenario.span),
    }

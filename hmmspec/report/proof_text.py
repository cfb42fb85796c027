"""The parts of a report that only a proof has: what was found to make it, and what stands in its way."""

from __future__ import annotations

from collections.abc import Sequence

from hmmspec.checker.verdict import InstanceReport, Status, Verdict
from hmmspec.report.proof_words import found_in, helpers, left_out, lemmas, settings
from hmmspec.report.style import Style
from hmmspec.report.trace_text import TraceOptions, trace_lines
from hmmspec.report.words import place

_MOST = 40  # invariants that are shown
_FIRST = (
    "The step below{} breaks it. This is not a run from a start state: it begins in a state that nothing known"
    " excludes, and of which nobody knows whether a run leads there."
)
_AGAIN = "The step below{} breaks it, out of a state of which nobody knows whether a run leads there."
_BLOCKED = "Each of these would exclude that state. One that always holds is worth adding as an invariant:"


def proof_setting(report: InstanceReport) -> str:
    """The params that keep their value, and which instances have it so: `FRAMES = 2 (tiny, wide)`."""
    covered = f"instance{'' if len(report.covers) == 1 else 's'} {', '.join(report.covers)}" if report.every else ""
    fixed = settings(report.params)
    return f"{fixed} ({covered})" if fixed and covered else fixed


def means_lines(report: InstanceReport, style: Style) -> list[str]:
    """The invariants that were found, what was left out of guards, where the certificate is."""
    lines: list[str] = []
    if found := lemmas(report):
        lines += ["", *style.wrap("invariants that were found, and that these proofs need:", "  ", "    ")]
        for text in found[:_MOST]:
            lines += style.wrap(text, "    ", "      ")
        if len(found) > _MOST:
            lines.append(f"    and {len(found) - _MOST} more, all of which --json tells")
    if needed := helpers(report):
        told = "invariants of the spec that are proved with them, since they need them: "
        lines += ["", *style.wrap(told + ", ".join(needed), "  ", "    ")]
    if left := left_out(report):
        told = "left out of guards, since they count (that allows more runs, so the proofs stand):"
        lines += ["", *style.wrap(told, "  ", "    ")]
        for text in left:
            lines += style.wrap(text, "    ", "      ")
    if report.certificate:
        told = f"certificate: {report.certificate} ('hmmspec recheck' proves it again)"
        lines += ["", *style.wrap(told, "  ", "    ")]
    return lines


def unproved_lines(report: InstanceReport, style: Style, *, full_states: bool) -> list[str]:
    """Why properties are not proved; those for the same reason together, others with their counterexample."""
    reasons: dict[str, list[Verdict]] = {}
    for v in report.verdicts:
        if v.status is Status.UNKNOWN and v.proof is not None:
            own = v.property if v.proof.gap is not None or v.proof.blocked_by else ""
            reasons.setdefault(f"{own}\0{v.proof.reason}", []).append(v)
    lines: list[str] = []
    told = False
    for members in reasons.values():
        lines += _unproved(report, members, style)
        proof = members[0].proof
        if proof is not None and proof.gap is not None:
            intro = _AGAIN if told else _FIRST
            lines += ["", *style.wrap(intro.format(found_in(proof)))]
            lines += ["", *trace_lines(proof.gap, style, TraceOptions(full_states, report.path, first="before"))]
            told = True
        if proof is not None and proof.blocked_by:
            lines += ["", *style.wrap(_BLOCKED)]
            for text in proof.blocked_by:
                lines += style.wrap(text, "    ", "      ")
    return lines


def _unproved(report: InstanceReport, members: Sequence[Verdict], style: Style) -> list[str]:
    first = members[0]
    assert first.proof is not None
    proof = first.proof
    names = ", ".join(v.property for v in members)
    title = f"{names} {'is' if len(members) == 1 else 'are'} not proved {place(report, first)}"
    lines = ["", *(style.paint(line, "warn") for line in style.wrap(title, "", "  "))]
    if len(members) == 1:
        where = f"{first.span.path}:{first.span.line}" if first.span and first.span.source.text else ""
        told = ", ".join(part for part in (where, f'"{first.text}"' if first.text else "") if part)
        lines += style.wrap(told, "  ", "  ") if told else []
    if proof.reason:
        lines += style.wrap(proof.reason, "  why: ", "       ")
    return lines

"""A report for people: verdicts in exact words, what was counted, traces; plain and narrow enough for mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hmmspec.checker.verdict import InstanceReport, Level, Status, Trace, Verdict
from hmmspec.diagnostics import Diagnostic, render
from hmmspec.report.phrases import listed, plural, seconds, steps_of
from hmmspec.report.proof_text import means_lines, proof_setting, unproved_lines
from hmmspec.report.proof_words import in_short, settings, subject, unproved
from hmmspec.report.style import Style, Tone
from hmmspec.report.trace_text import TraceOptions, trace_lines
from hmmspec.report.words import (
    FINDINGS,
    counts,
    hashes,
    is_quiet_finding,
    limit_text,
    place,
    remarks,
    sentence,
    unit,
)

# What the last state of a trace shows, where neither a message nor the failing part of the property says so.
_ENDINGS = {
    "deadlock": "here no step is possible, and no terminal holds",
    "recoverable": "from here no path leads back",
}
_NEVER_TAKEN = {"HMM090", "HMM091"}  # warnings that say so, with the place


@dataclass(frozen=True)
class TextOptions:
    """What to show besides verdicts and the traces of unexpected violations.

    traces: those of expected violations and of warnings too; witness: runs that reach each `reachable`; coverage: how
    often each step fired; full_states: whole states in traces; means: of proofs, the invariants that they need.
    """

    traces: bool = False
    witness: bool = False
    coverage: bool = False
    full_states: bool = False
    means: bool = False


@dataclass(frozen=True)
class _Row:
    name: str
    text: str


def report_text(report: InstanceReport, style: Style, options: TextOptions) -> str:
    """One instance, ending in a newline."""
    lines = _head(report, style)
    lines += _verdicts(report, style)
    if options.means:
        lines += means_lines(report, style)
    lines += _problems(report, style)
    lines += _never(report, style)
    if options.coverage:
        lines += _coverage(report, style)
    for warning in report.warnings:
        lines += ["", *_warning(warning, style)]
    for verdict in report.verdicts:
        lines += _traces(report, verdict, style, options)
    lines += unproved_lines(report, style, full_states=options.full_states)
    return "\n".join(lines) + "\n"


def summary_line(path: str, reports: Sequence[InstanceReport], instances: int, style: Style) -> str:
    """One line for a whole spec: what a reader of `hmmspec check specs/*.hmm` looks at first.

    instances: how many there are to check; fewer reports mean that the user interrupted the run.  A list of names
    that does not fit in a mail's width becomes a number; what a good verdict claims is never left out.
    """
    told, short, tone = _summary(reports, instances)
    if len(path) + 2 + len(told) > style.width:
        told = short
    return f"{path}: {style.paint(told, tone)}"


def _summary(reports: Sequence[InstanceReport], instances: int) -> tuple[str, str, Tone]:
    """What to say of a spec, the same shorter, and its tone."""
    wrong: dict[str, list[str]] = {}
    for r in reports:
        for v in r.verdicts:
            if v.status is Status.VIOLATED and not v.expected:
                wrong.setdefault(v.property, []).append(_found_in(r, v))
    if wrong:
        names = listed([f"{name} ({listed(where)})" for name, where in wrong.items()])
        return f"VIOLATED: {names}", f"VIOLATED: {plural(len(wrong), 'property', 'properties')}", "bad"
    missed = [r.instance for r in reports if r.problems]
    if missed:
        return f"NOT AS EXPECTED: {listed(missed)}", f"NOT AS EXPECTED: {plural(len(missed), 'instance')}", "bad"
    if not reports:
        return "not checked (interrupted)", "not checked (interrupted)", "warn"
    if len(reports) < instances or any(r.interrupted for r in reports):
        return "INTERRUPTED: no violation found so far", "INTERRUPTED", "warn"
    if any(r.exit_code for r in reports):
        return (*_incomplete(reports), "warn")
    return (*_success(reports), "good")


def _success(reports: Sequence[InstanceReport]) -> tuple[str, str]:
    """What was shown where all is as expected, and the same shorter."""
    searched, proofs = [r for r in reports if r.every is None], [r for r in reports if r.every is not None]
    found = [v for r in searched or proofs for v in r.verdicts if v.status is Status.VIOLATED]
    judged = {v.property for r in searched for v in r.verdicts if not is_quiet_finding(v)}
    proved = {v.property for r in proofs for v in r.verdicts if v.status is Status.HOLDS}
    how = "hashed states" if any(r.hashed is not None for r in reports) else "exhaustive"
    if any(r.bounded is not None for r in reports):
        how = "inductive" if any(v.level is Level.INDUCTIVE for r in searched for v in r.verdicts) else "bounded"
    where = f" in {plural(len(searched), 'instance')}" if searched else ""
    claim = f" ({how})" if searched else ""
    parts, short = [], []
    if found:
        parts.append(f"as expected: {plural(len(found), 'violation')} found{where}{claim}")
        short.append(f"as expected: {plural(len(found), 'violation')} found{claim}")
    elif searched:
        parts.append(f"ok: {plural(len(judged), 'property', 'properties')}{where}{claim}")
        short.append(parts[0])
    if proved:
        many = str(len(proved)) if parts else f"ok: {plural(len(proved), 'property', 'properties')}"
        which = list(dict.fromkeys(in_short(r) for r in proofs))
        parts.append(f"{many} proved for {which[0]}" if len(which) == 1 else f"{many} proved")
        short.append(f"{many} proved")
    return ", ".join(parts), ", ".join(short)


def _incomplete(reports: Sequence[InstanceReport]) -> tuple[str, str]:
    """What is not shown, and the same shorter."""
    searches, proofs = [r for r in reports if r.every is None], [r for r in reports if r.every is not None]
    partial = [r for r in searches if r.exit_code]
    parts, short = [], []
    if partial:
        parts.append(listed([f"{r.instance}, {limit_text(r)}" for r in partial], 2))
        short.append(f"{len(partial)} of {plural(len(searches), 'instance')}")
    if any(r.exit_code for r in proofs):
        short.append(unproved(*proofs))
        which = list(dict.fromkeys(in_short(r) for r in proofs if r.exit_code))
        parts.append(f"{short[-1]} for {which[0]}" if len(which) == 1 else short[-1])
    return f"INCOMPLETE: {', '.join(parts)}", f"INCOMPLETE: {', '.join(short)}"


def _found_in(report: InstanceReport, verdict: Verdict) -> str:
    if verdict.proof is not None and verdict.proof.sizes:
        return settings(verdict.proof.sizes)
    return report.instance


def _head(report: InstanceReport, style: Style) -> list[str]:
    if report.every is None:
        head, setting, counted = f"instance {report.instance}", settings(report.params), counts(report)
    else:
        head, setting, counted = f"proofs for {subject(report)}", proof_setting(report), ""
    lines = [style.paint(line, "strong") for line in style.wrap(f"{report.path}: {head}", "", "  ")]
    lines += style.wrap(setting, "  ", "  ") if setting else []
    lines += style.wrap(counted, "  ", "    ") if counted else []
    if report.hashed is not None:
        lines += style.wrap(hashes(report), "  ", "    ")
    seed = f", seed {report.seed}" if report.every is None else ""
    took = f"engine {report.engine}{seed}, {seconds(report.wall_seconds)}"
    lines += style.wrap(took, "  ", "    ")
    if report.remark:
        lines += [style.paint(line, "warn") for line in style.wrap(report.remark, "  ", "    ")]
    for name, text in report.assumes:
        lines += style.wrap(f"{name}{_quoted(text)}", "  assuming ", "    ")
    return lines


def _verdicts(report: InstanceReport, style: Style) -> list[str]:
    groups: dict[tuple[int, str], list[Verdict]] = {}
    for verdict in report.verdicts:
        groups.setdefault((_gravity(verdict), sentence(report, verdict)), []).append(verdict)
    lines: list[str] = []
    for (gravity, told), members in sorted(groups.items(), key=lambda item: item[0][0]):
        tone: Tone = ("good", "good", "good", "warn", "warn", "bad")[gravity]
        lines += ["", *(style.paint(line, tone) for line in style.wrap(told + ":", "  ", "    "))]
        rows = [_row(v) for v in members if not is_quiet_finding(v) or v.status is Status.WARNING]
        name_width = min(24, max((len(r.name) for r in rows), default=0))
        for row in rows:
            lines += _table_row(row, name_width, style)
        quiet = [f"no {v.property}" for v in members if is_quiet_finding(v) and v.status is not Status.WARNING]
        if quiet:
            lines += style.wrap_items(quiet, ", ", "    ")
    return lines


def _gravity(verdict: Verdict) -> int:
    """Where a verdict stands: what a reader must not miss comes last, next to its trace."""
    match verdict.status:
        case Status.HOLDS:
            return 1 if verdict.kind == "reachable" else 0
        case Status.WARNING:
            return 3
        case Status.UNKNOWN:
            return 4
        case Status.VIOLATED:
            return 2 if verdict.expected else 5


def _row(verdict: Verdict) -> _Row:
    extra = remarks(verdict)
    text = verdict.text
    return _Row(verdict.property, f"{text} ({extra})".strip() if extra else text)


def _table_row(row: _Row, name_width: int, style: Style) -> list[str]:
    if not row.text:
        return [f"    {row.name}"]
    column = " " * (name_width + 6)
    if len(row.name) > name_width:
        return [f"    {row.name}", *style.wrap(row.text, column)]
    return style.wrap(row.text, f"    {row.name:<{name_width}}  ", column)


def _problems(report: InstanceReport, style: Style) -> list[str]:
    lines: list[str] = []
    if report.limit and not report.verdicts:
        lines += ["", *(style.paint(x, "warn") for x in style.wrap(f"not searched: {report.limit}", "  ", "    "))]
    if report.problems:
        lines += ["", style.paint("  not as the file expects:", "bad")]
        for problem in report.problems:
            lines += style.wrap(problem, "    ", "      ")
    if report.unproved:
        lines += [
            "",
            *style.wrap(
                "not proved for every size here ('hmmspec prove' tries): " + ", ".join(report.unproved),
                "  ",
                "    ",
            ),
        ]
    return lines


def _never(report: InstanceReport, style: Style) -> list[str]:
    never = [c.rule for c in report.coverage if c.fired == 0]
    if report.bounded is not None or not never or any(w.code in _NEVER_TAKEN for w in report.warnings):
        return []
    how = "" if report.exit_code != 3 and not report.interrupted and report.hashed is None else " so far"
    how = how if report.simulation is None else " in these runs"
    told = style.wrap(f"steps never taken{how}: {', '.join(never)}", "  ", "    ")
    return ["", *(style.paint(line, "warn") for line in told)]


def _coverage(report: InstanceReport, style: Style) -> list[str]:
    if not report.coverage:
        return []
    digits = max(len(str(c.fired)) for c in report.coverage)
    of_what = f", out of the stored {unit(report)}s" if report.reduction else ""
    lines = ["", f"  how often each step fired, over all arguments{of_what}:"]
    for c in report.coverage:
        line = f"    {c.fired:>{digits}}  {c.rule}"
        lines.append(line if c.fired else style.paint(f"{line}  (never)", "warn"))
    return lines


def _warning(warning: Diagnostic, style: Style) -> list[str]:
    """The diagnostic in narrow lines; the line of the spec that it shows stays as it is."""
    lines: list[str] = []
    for line in render(warning).splitlines():
        quoted = line.lstrip(" 0123456789").startswith("|")
        indent = " " * (len(line) - len(line.lstrip()))
        lines += [line] if quoted else style.wrap(line.lstrip(), indent, indent + "  ")
    return lines


def _traces(report: InstanceReport, verdict: Verdict, style: Style, options: TextOptions) -> list[str]:
    lines: list[str] = []
    unexpected = verdict.status is Status.VIOLATED and not verdict.expected
    found = [t for t in (verdict.trace, *verdict.others) if t is not None]
    if unexpected or options.traces:
        for number, trace in enumerate(found, 1):
            nth = f", trace {number} of {len(found)}" if len(found) > 1 else ""
            where = f"{_state_of(verdict)} {place(report, verdict)}"
            title = f"{verdict.property} {where}{nth}: {steps_of(trace, verdict.level)}"
            lines += _titled(title, "bad" if unexpected else "warn", verdict, trace, _Frame(report, style, options))
    if options.witness and verdict.witness is not None and verdict.status is Status.HOLDS:
        length = plural(verdict.witness.length, "step")
        title = f"{verdict.property} is reached in instance {report.instance} in {length}"
        lines += _titled(title, "good", verdict, verdict.witness, _Frame(report, style, options))
    return lines


def _state_of(verdict: Verdict) -> str:
    if verdict.status is Status.WARNING:
        return "is a warning"
    what = "found" if verdict.property in FINDINGS else "is violated"
    return f"{what} as expected" if verdict.expected else what


@dataclass(frozen=True)
class _Frame:
    report: InstanceReport
    style: Style
    options: TextOptions


def _titled(title: str, tone: Tone, verdict: Verdict, trace: Trace, frame: _Frame) -> list[str]:
    style = frame.style
    lines = ["", *(style.paint(line, tone) for line in style.wrap(title, "", "  "))]
    where = f"{verdict.span.path}:{verdict.span.line}" if verdict.span and verdict.span.source.text else ""
    told = ", ".join(part for part in (where, f'"{verdict.text}"' if verdict.text else "") if part)
    if told:
        lines += style.wrap(told, "  ", "  ")
    lines += ["", *trace_lines(trace, style, TraceOptions(frame.options.full_states, frame.report.path))]
    if not trace.message and verdict.status is not Status.HOLDS:
        ending = _ENDINGS.get(verdict.property) or _ENDINGS.get(verdict.kind)
        lines += ["", style.paint(ending, "bad")] if ending else []
    return lines


def _quoted(text: str) -> str:
    return f' "{text}"' if text else ""

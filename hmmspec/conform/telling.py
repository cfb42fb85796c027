"""A session as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

from hmmspec.conform.program import Race, lines, to_json
from hmmspec.conform.session import Found, Session
from hmmspec.conform.target import Event, Finding
from hmmspec.report.phrases import plural, seconds
from hmmspec.report.style import Style

NEVER_SHOWN = 40  # transitions never exercised that are listed for each spec
LOG_SHOWN = 60  # events of the smallest run that are listed


def told(session: Session, style: Style, *, quiet: bool = False) -> Iterator[str]:
    """The report, line by line."""
    s = session
    rate = f", {s.commands / s.seconds:,.0f} a second" if s.seconds > 0 else ""
    amount = f"{s.commands:,} commands in {plural(s.programs, 'program')}, {plural(s.races, 'race')}"
    yield style.paint(f"{s.target}: {amount}, seed {s.plan.seed}: {seconds(s.seconds)}{rate}", "strong")
    if not quiet:
        yield from _coverage(s, style)
    for why, times in s.incomplete.most_common(8):
        yield from style.wrap(f"not followed to the end in {plural(times, 'program')}: {why}", "  ", "    ")
    if s.found is None:
        yield style.paint("nothing found", "good")
    else:
        yield from found_text(s.found, style)


def _coverage(s: Session, style: Style) -> Iterator[str]:
    for name, covered in s.covered.items():
        missing = s.missing.get(name, [])
        every = len(set(covered) | set(missing))
        yield f"  spec {name}: {every - len(missing)} of {plural(every, 'transition')} exercised"
        if missing:
            more = f", and {len(missing) - NEVER_SHOWN} more" if len(missing) > NEVER_SHOWN else ""
            yield from style.wrap(f"never: {', '.join(missing[:NEVER_SHOWN])}{more}", "    ", "      ")


def found_text(found: Found, style: Style) -> Iterator[str]:
    """A finding: what is wrong, the shortest program, what was seen."""
    yield ""
    for finding in found.findings[:1]:
        yield from _finding(finding, style)
    more = len(found.findings) - 1
    if more > 0:
        yield f"  ({plural(more, 'finding')} more in the same run)"
    yield ""
    size = sum(1 if not isinstance(x, Race) else sum(map(len, x.threads)) for x in found.program)
    yield style.paint(f"the shortest program found ({plural(size, 'command')}):", "strong")
    yield from (f"  {line}" for line in lines(found.program))
    yield style.paint("what was seen:", "strong")
    shown = found.log[-LOG_SHOWN:]
    if len(shown) < len(found.log):
        yield f"  ({len(found.log) - len(shown)} events before)"
    yield from (f"  {line}" for line in log_lines(shown))
    yield from style.wrap(
        f"first seen after {found.after:,} commands with seed {found.seed}; "
        f"seen again in {found.again} of {found.repeats} repeats",
        "",
        "  ",
    )


def _finding(finding: Finding, style: Style) -> Iterator[str]:
    yield from (style.paint(line, "bad") for line in style.wrap(f"FOUND by {finding}", "", "  "))
    for detail in finding.details:
        yield from style.wrap(detail, "  ", "    ")


def log_lines(log: list[Event]) -> Iterator[str]:
    """Events for people: a call and the return that follows at once are one line."""
    at = 0
    while at < len(log):
        event = log[at]
        after = log[at + 1] if at + 1 < len(log) else None
        thread = "" if event.thread == "main" else f"{event.thread} "
        if event.command is not None and after is not None and after.call == event.call:
            yield f"{event.call:3} {thread}{event.command} -> {after.result}"
            at += 2
            continue
        told_ = f"{event.command} ..." if event.command is not None else f"... -> {event.result}"
        yield f"{event.call:3} {thread}{told_}"
        at += 1


# ---------------------------------------------------------------- JSON


def document(session: Session, code: int) -> dict[str, object]:
    """The report as one JSON document."""
    s = session
    results: dict[str, dict[str, int]] = {}
    for (word, error), times in sorted(s.results.items()):
        results.setdefault(word, {})[error or "ok"] = times
    return {
        "format": "hmmspec conform",
        "version": 1,
        "exit_code": code,
        "target": s.target,
        "seed": s.plan.seed,
        "commands": s.commands,
        "programs": s.programs,
        "races": s.races,
        "wall_seconds": round(s.seconds, 3),
        "results": results,
        "coverage": {
            n: {"exercised": {t: k for t, k in c.items() if k}, "never": s.missing.get(n, [])}
            for n, c in s.covered.items()
        },
        "incomplete": dict(s.incomplete),
        "found": None if s.found is None else found_document(s.found),
    }


def found_document(found: Found) -> dict[str, object]:
    """A finding as JSON: `program` can be run again."""
    return {
        "findings": [finding_document(f) for f in found.findings],
        "program": to_json(found.program),
        "log": [e.to_json() for e in found.log],
        "first_program": to_json(found.first),
        "first_log": [e.to_json() for e in found.first_log],
        "first_findings": [finding_document(f) for f in found.first_findings],
        "after_commands": found.after,
        "seed": found.seed,
        "seen_again": found.again,
        "repeats": found.repeats,
    }


def finding_document(f: Finding) -> dict[str, object]:
    """One finding as JSON."""
    return {"check": f.check, "name": f.name, "message": f.message, "call": f.call, "details": list(f.details)}


def dumped(data: object) -> str:
    """JSON as it is written everywhere."""
    return json.dumps(data, indent=2) + "\n"

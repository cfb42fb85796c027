"""A session as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

from hmmspec.conform.difference import Comparison
from hmmspec.conform.program import Race, lines, to_json
from hmmspec.conform.session import Found, Lost, Session
from hmmspec.conform.target import Event, Finding
from hmmspec.report.phrases import plural, seconds
from hmmspec.report.style import Style

NEVER_SHOWN = 40  # transitions never exercised that are listed for each spec
WORN = ", but not on a target started anew: something that ran before it is needed, too"
LOG_SHOWN = 60  # events of the smallest run that are listed


def told(session: Session, style: Style, *, quiet: bool = False) -> Iterator[str]:
    """The report, line by line."""
    s = session
    rate = f", {s.commands / s.seconds:,.0f} a second" if s.seconds > 0 else ""
    amount = f"{s.commands:,} commands in {plural(s.programs, 'program')}, {plural(s.races, 'race')}"
    yield style.paint(f"{s.target}: {amount}, seed {s.plan.seed}: {seconds(s.seconds)}{rate}", "strong")
    if s.comparison is not None:
        yield from _comparison(s, s.comparison, style)
    if not quiet:
        yield from _coverage(s, style)
    for why, times in s.incomplete.most_common(8):
        yield from style.wrap(f"not followed to the end in {plural(times, 'program')}: {why}", "  ", "    ")
    for lost in s.lost:
        yield from _lost(lost, style)
    if s.interrupted:
        yield f"interrupted: {s.plan.steps:,} commands were asked for"
    elif s.plan.seconds is not None and s.found is None and s.commands < s.plan.steps:
        yield f"incomplete: time is up, and {s.plan.steps:,} commands were asked for"
    if s.found is not None:
        yield from found_text(s.found, style)
    elif not s.lost:
        yield style.paint("nothing found", "good")


def _comparison(s: Session, c: Comparison, style: Style) -> Iterator[str]:
    skipped = f"; {plural(c.repeated, 'skipped page')} tried again" if c.repeated else ""
    yield f"  {plural(c.compared, 'result')} of {c.names[0]} and {c.names[1]} compared{skipped}"
    for name, times in sorted(c.explained.items()):
        yield f"  known difference {name}: {plural(times, 'time')}"
    for place in s.unneeded:
        yield from style.wrap(f"known difference that nothing shows any more: {place}", "  ", "    ")


def _lost(lost: Lost, style: Style) -> Iterator[str]:
    """A target that died, and was started again."""
    yield ""
    for finding in lost.findings[:2]:
        yield from _finding(finding, style)
    again = f"in none of {plural(lost.repeats, 'repeat')}" if lost.repeats else "not tried again"
    yield f"after {lost.after:,} commands; started again; the same program killed it again {again}:"
    yield from (f"  {line}" for line in lines(lost.program))


def _coverage(s: Session, style: Style) -> Iterator[str]:
    for name, covered in s.covered.items():
        missing = s.missing.get(name, [])
        ruled_out = s.ruled_out.get(name, [])
        every = len((set(covered) | set(missing)) - set(ruled_out))
        perhaps = s.possible.get(name, [])
        some = f", {len(perhaps)} of them only perhaps" if perhaps else ""
        yield f"  spec {name}: {every - len(missing)} of {plural(every, 'transition')} exercised{some}"
        if missing:
            more = f", and {len(missing) - NEVER_SHOWN} more" if len(missing) > NEVER_SHOWN else ""
            yield from style.wrap(f"never: {', '.join(missing[:NEVER_SHOWN])}{more}", "    ", "      ")
        if ruled_out:
            yield from style.wrap(f"cannot happen on this target: {', '.join(ruled_out)}", "    ", "      ")


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
    title = "the shortest program found" if found.again else "the program, which did not show it again,"
    yield style.paint(f"{title} ({plural(size, 'command')}):", "strong")
    yield from (f"  {line}" for line in lines(found.program))
    on = found.seen_on or (found.comparison.names[0] if found.comparison is not None else "")
    yield style.paint(f"what was seen{f' on {on}' if on else ''}:", "strong")
    shown = found.log[-LOG_SHOWN:]
    if len(shown) < len(found.log):
        yield f"  ({len(found.log) - len(shown)} events before)"
    yield from (f"  {line}" for line in log_lines(shown))
    yield from style.wrap(
        f"first seen after {found.after:,} commands with seed {found.seed}; "
        f"seen again in {found.again} of {found.repeats} repeats{WORN if found.worn else ''}",
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
            n: {
                "exercised": {t: k for t, k in c.items() if k},
                "only_perhaps": s.possible.get(n, []),
                "never": s.missing.get(n, []),
                "cannot_happen": s.ruled_out.get(n, []),
            }
            for n, c in s.covered.items()
        },
        "interrupted": s.interrupted,
        "incomplete": dict(s.incomplete),
        "found": None if s.found is None else found_document(s.found),
        "lost": [_lost_document(lost) for lost in s.lost],
        "comparison": None if s.comparison is None else _comparison_document(s, s.comparison),
    }


def _comparison_document(s: Session, c: Comparison) -> dict[str, object]:
    return {
        "targets": list(c.names),
        "compared": c.compared,
        "tried_again": c.repeated,
        "explained": dict(sorted(c.explained.items())),
        "not_needed": s.unneeded,
    }


def _lost_document(lost: Lost) -> dict[str, object]:
    return {
        "findings": [finding_document(f) for f in lost.findings],
        "program": to_json(lost.program),
        "log": [e.to_json() for e in lost.log],
        "after_commands": lost.after,
        "seen_again": lost.again,
        "repeats": lost.repeats,
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
        "seen_on": found.seen_on,
        "needs_what_ran_before": found.worn,
        "logs": {n: [e.to_json() for e in log] for n, log in found.comparison.logs.items()} if found.comparison else {},
    }


def finding_document(f: Finding) -> dict[str, object]:
    """One finding as JSON."""
    return {"check": f.check, "name": f.name, "message": f.message, "call": f.call, "details": list(f.details)}


def dumped(data: object) -> str:
    """JSON as it is written everywhere."""
    return json.dumps(data, indent=2) + "\n"

"""`hmmspec follow TRACE.jsonl SPEC`: does a spec explain a recorded event log?"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hmmspec.cli.args import Parser, count, shown
from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.follow.load import Loaded, load_for
from hmmspec.conform.follow.log import Log, read_log
from hmmspec.conform.target import Finding
from hmmspec.diagnostics import Severity, SpecError
from hmmspec.report.phrases import plural
from hmmspec.report.style import style_for

EXIT_FINDING, EXIT_INCOMPLETE = 1, 3


def parser() -> Parser:
    """The options of `follow`."""
    p = Parser(
        "follow",
        "Follow a recorded event log: is there a run of the spec that explains what was seen?",
        "SPEC is a spec with its binding beside it (x.hmm with x.bind), or the binding itself.\n"
        "exit codes: 0 the spec explains the log; 1 it does not: what was seen and what it would have\n"
        "allowed is told; 2 the log, the spec or the binding is wrong; 3 some of the log was not followed\n"
        "to its end, and nothing was found in the rest",
    )
    p.add_argument("trace", metavar="TRACE.jsonl", help="the event log: one JSON object on each line")
    p.add_argument("specs", metavar="SPEC", nargs="+", help="one or several specs or bindings")
    p.add_argument("--binding", metavar="FILE", help="the binding, if it is not beside the spec")
    p.add_argument(
        "--limit", type=count, default=10_000, metavar="N", help="states that are kept at once (default: 10000)"
    )
    p.add_argument("--torn", action="store_true", help="follow a log whose last line ends in the middle up to there")
    p.add_argument("--findings", type=count, default=5, metavar="N", help="stop after N findings (default: 5)")
    p.add_argument("--coverage", action="store_true", help="tell how often each transition of the spec was exercised")
    p.add_argument("--json", action="store_true", help="one JSON document on standard output")
    return p


@dataclass(frozen=True)
class Told:
    """What came of one spec."""

    follower: Follower
    findings: tuple[Finding, ...]
    events: int
    seconds: float

    @property
    def exit_code(self) -> int:
        return EXIT_FINDING if self.findings else EXIT_INCOMPLETE if self.follower.incomplete else 0


def run(args: argparse.Namespace) -> int:
    """Read, follow, tell; the exit code.  Raises SpecError."""
    loaded = [load_for(path, args.binding) for path in args.specs]
    for one in loaded:
        for warning in one.warnings:
            print(shown(warning), file=sys.stderr)
    log = read_log(args.trace, [name for one in loaded for name in one.event_names])
    if log.torn is not None and not args.torn:
        raise SpecError([log.torn])
    gc.freeze()  # the specs and the log stay as they are: nobody needs to look through them again and again
    told = [_followed(one, log, args.limit, args.findings) for one in loaded]
    code = max((t.exit_code for t in told), key=(0, EXIT_INCOMPLETE, EXIT_FINDING).index)
    if args.json:
        print(json.dumps(_document(args.trace, log, told, code), indent=2))
    else:
        for each in told:
            _print(each, args.coverage)
    if log.torn is not None:
        print(shown(replace(log.torn, severity=Severity.WARNING, fix="it was left out")), file=sys.stderr)
    return code


def _followed(loaded: Loaded, log: Log, limit: int, most: int) -> Told:
    follower = Follower(loaded, limit)
    follower.start(log.profile, log.devices)
    found: list[Finding] = []
    begun = time.perf_counter()
    for event in log.events:
        found += follower.see(event)
        if len(found) >= most:
            break
    else:
        found += follower.finish()
    return Told(follower, tuple(found[:most]), follower.events, time.perf_counter() - begun)


def _print(told: Told, coverage: bool) -> None:
    style = style_for(sys.stdout)
    follower = told.follower
    name = follower.name
    for finding in told.findings:
        print(style.paint(f"{name}: not explained", "bad"))
        print(f"  {finding.message}")
        for line in finding.details:
            print(f"    {line}")
        print()
    rate = f"{told.events / told.seconds:,.0f} events a second" if told.seconds > 0.01 else "at once"
    seen = f"{plural(told.events, 'event')} ({rate})"
    if told.findings:
        print(style.paint(f"{name}: {plural(len(told.findings), 'finding')} in {seen}", "bad"))
    elif follower.incomplete:
        print(style.paint(f"{name}: incomplete: {follower.incomplete}; nothing found in the rest, {seen}", "warn"))
    else:
        print(style.paint(f"{name}: explained, {seen}", "good"))
    if follower.forgotten:
        print(f"  not followed, as the binding says: {plural(follower.forgotten, 'group')}")
    if told.findings and follower.incomplete:
        print(f"  incomplete as well: {follower.incomplete}")
    never = follower.coverage.never
    total = len(follower.coverage.names)
    print(f"  transitions: {total - len(never)} of {total} used by some explanation")
    if coverage:
        possible = follower.coverage.possible
        for rule, times in follower.coverage.exercised.items():
            often = f"{times:8} times" if times or not possible[rule] else f"maybe {possible[rule]:2} times"
            print(f"  {rule:<28} {often}")
    elif never:
        print(f"  never: {', '.join(never)}")


def _document(trace: str, log: Log, told: Sequence[Told], code: int) -> dict[str, object]:
    return {
        "log": trace,
        "target": log.target,
        "torn": log.torn is not None,
        "exit_code": code,
        "specs": [
            {
                "spec": t.follower.name,
                "verdict": ("not explained" if t.findings else "incomplete" if t.follower.incomplete else "explained"),
                "events": t.events,
                "seconds": round(t.seconds, 6),
                "incomplete": dict(t.follower.lost),
                "not_followed": t.follower.forgotten,
                "findings": [{"call": f.call, "message": f.message, "details": list(f.details)} for f in t.findings],
                "exercised": dict(t.follower.coverage.exercised),
                "possible": dict(t.follower.coverage.possible),
                "never": list(t.follower.coverage.never),
            }
            for t in told
        ],
    }

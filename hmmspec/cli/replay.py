"""`hmmspec replay TRACE.json [SPEC]`: run a saved trace again and say whether it still fits."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from hmmspec.checker.trace import trace_of
from hmmspec.cli.args import Parser, params
from hmmspec.cli.retrace import Followed, follow
from hmmspec.cli.specs import load_one
from hmmspec.cli.traces import read_trace
from hmmspec.report.phrases import plural
from hmmspec.report.saved import SavedTrace
from hmmspec.report.style import style_for
from hmmspec.report.trace_text import TraceOptions, trace_lines
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter
from hmmspec.system.system import Invariant, StepProperty


def parser() -> Parser:
    """The options of `replay`."""
    p = Parser(
        "replay",
        "Run a saved trace again, step by step, and print it. Traces come from 'check --save-traces'.",
        "exit codes: 0 every step fits, and the property is still violated; 1 some step does not fit\n"
        "any more, or the property holds now; 2 the trace or the spec is wrong",
    )
    p.add_argument("trace", metavar="TRACE.json", help="a saved trace")
    p.add_argument("spec", metavar="SPEC", nargs="?", help="the spec (default: the one the trace names)")
    p.add_argument("--full-states", action="store_true", help="whole states, not only what changed")
    return p


def run(args: argparse.Namespace) -> int:
    """Follow the trace, print what fits, say what does not.  Raises SpecError."""
    saved = read_trace(args.trace)
    overrides = params([f"{name}={value}" for name, value in saved.overrides.items()])
    loaded = load_one(args.spec or _spec_path(saved, args.trace), [saved.instance], overrides)
    interp = Interpreter(loaded.systems[0])
    style = style_for(sys.stdout)
    for line in style.wrap(f"{saved.property} of {loaded.path}, instance {saved.instance}"):
        print(style.paint(line, "strong"))
    if loaded.digest != saved.digest:
        print("the text of the spec has changed since the trace was saved")
    print()
    followed = follow(interp, saved.trace)
    for line in _printed(interp, saved, followed, args.full_states):
        print(line)
    problem = followed.problem or _holds_now(interp, saved.property, followed)
    told = problem or f"every step fits: {plural(saved.trace.length, 'step')}"
    print()
    for line in style.wrap(told):
        print(style.paint(line, "bad" if problem else "good"))
    return 1 if problem else 0


def _spec_path(saved: SavedTrace, trace_path: str) -> str:
    """The spec as the trace names it, seen from here or else from the trace's own folder."""
    beside = Path(trace_path).parent / saved.path
    return str(beside) if not Path(saved.path).exists() and beside.exists() else saved.path


def _printed(interp: Interpreter, saved: SavedTrace, followed: Followed, full_states: bool) -> list[str]:
    if followed.start is None:
        return []
    trace = trace_of(interp, followed.start, followed.steps, final=followed.final)
    if not followed.problem:
        trace = replace(trace, loop=saved.trace.loop, blame=saved.trace.blame, message=saved.trace.message)
    return trace_lines(trace, style_for(sys.stdout), TraceOptions(full_states, interp.system.path))


def _holds_now(interp: Interpreter, name: str, followed: Followed) -> str:
    """Where the run fits: whether its end still breaks the property, as far as one state or step can tell."""
    found = next((p for p in interp.system.properties if p.name == name), None)
    states = followed.states
    try:
        match found:
            case Invariant(body=body) if followed.final is None:
                holds = bool(interp.evaluate(body, states[-1]))
            case StepProperty(body=body) if followed.final is None and len(states) > 1:
                holds = bool(interp.evaluate(body, states[-2], states[-1]))
            case _:
                return ""
    except SpecFault:
        return ""  # still wrong, only in another way
    return f"every step fits, but {name} holds now at the end of the run" if holds else ""

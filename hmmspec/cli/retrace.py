"""Follow a trace in the interpreter: which states it goes through, or where it no longer fits the spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hmmspec.checker.trace import show_args
from hmmspec.checker.verdict import Trace, TraceStep
from hmmspec.report.trace_text import step_title
from hmmspec.system.run import Interpreter, State, first_starts

Step = tuple[int, tuple[object, ...], State]

_STARTS_COMPARED = 100_000  # a spec with more start states than that is not searched for the nearest one


@dataclass(frozen=True)
class Followed:
    """start: None if no start state fits; steps: those that fit; final: rule and arguments of a failing last step.

    problem: what does not fit, empty if all does.
    """

    start: State | None
    steps: tuple[Step, ...]
    final: tuple[int, tuple[object, ...]] | None = None
    problem: str = ""

    @property
    def states(self) -> list[State]:
        return [] if self.start is None else [self.start, *(s for _, _, s in self.steps)]


def follow(interp: Interpreter, trace: Trace) -> Followed:
    """Run the trace as far as it fits."""
    start, problem = _start(interp, trace.initial)
    if start is None:
        return Followed(None, (), problem=problem)
    steps: list[Step] = []
    here = start
    for number, wanted in enumerate(trace.steps, 1):
        found, problem = _step(interp, here, wanted)
        if found is None:
            return Followed(start, tuple(steps), problem=f"step {number}, {step_title(wanted)}, {problem}")
        steps.append(found)
        here = found[2]
    if trace.final is not None:
        return _final(interp, trace.final, start, steps)
    if trace.loop is not None and [start, *(s for _, _, s in steps)][trace.loop] != here:
        return Followed(start, tuple(steps), problem=f"the last state is not the one after step {trace.loop}: no loop")
    return Followed(start, tuple(steps))


def _start(interp: Interpreter, wanted: Mapping[str, str]) -> tuple[State | None, str]:
    found = interp.start_of(wanted)
    if found is not None:
        return found, ""
    nearest: list[str] | None = None
    for state in first_starts(interp, _STARTS_COMPARED, _STARTS_COMPARED)[0]:
        different = _different(interp.cells(state), wanted)
        if nearest is None or len(different) < len(nearest):
            nearest = different
    if nearest is None:
        return None, "no start state of the spec was found"
    return None, f"no start state is the trace's; in the nearest, {_some(nearest)}"


def _step(interp: Interpreter, here: State, wanted: TraceStep) -> tuple[Step | None, str]:
    rules = interp.system.rules
    if all(rule.name != wanted.rule for rule in rules):
        return None, "does not exist in this spec"
    possible, faults = interp.expand(here)
    nearest: list[str] | None = None
    for number, args, after in possible:
        if rules[number].name != wanted.rule or show_args(rules[number], args) != wanted.args:
            continue
        different = _different(interp.cells(after), wanted.cells)
        if not different:
            return (number, args, after), ""
        if nearest is None or len(different) < len(nearest):
            nearest = different
    if nearest is not None:
        return None, f"leads elsewhere: {_some(nearest)}"
    for number, args, fault in faults:
        if rules[number].name == wanted.rule and show_args(rules[number], args) == wanted.args:
            return None, f"fails: {fault.message}"
    return None, "is not possible here"


def _final(interp: Interpreter, wanted: TraceStep, start: State, steps: list[Step]) -> Followed:
    here = steps[-1][2] if steps else start
    for number, args, _ in interp.expand(here)[1]:
        rule = interp.system.rules[number]
        if rule.name == wanted.rule and show_args(rule, args) == wanted.args:
            return Followed(start, tuple(steps), (number, args))
    problem = f"the last step, {step_title(wanted)}, does not fail any more"
    return Followed(start, tuple(steps), problem=problem)


def _different(have: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """What tells a state from the one wanted, in words."""
    out = [f"{c} is {have[c]}, the trace has {v}" for c, v in wanted.items() if c in have and have[c] != v]
    out += [f"there is no {cell}" for cell in wanted if cell not in have]
    return out + [f"{cell} is not in the trace" for cell in have if cell not in wanted]


def _some(different: list[str]) -> str:
    more = f", and {len(different) - 3} more" if len(different) > 3 else ""
    return "; ".join(different[:3]) + more

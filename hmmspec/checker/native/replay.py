"""A state that the engine reports is looked at once more, by the interpreter: what exactly does it show?"""

from __future__ import annotations

from collections.abc import Sequence

from hmmspec.checker.explicit.findings import Finding, Findings
from hmmspec.checker.explicit.limits import Meter
from hmmspec.checker.explicit.locks import CyclicWaits
from hmmspec.checker.explicit.monitors import DeadlockMonitor, Monitor, StateQuestions, StepMonitor, has_step_properties
from hmmspec.checker.explicit.refinement import Refinement
from hmmspec.system.run import Interpreter, State

_ALL = 1 << 60


class Replay:
    """Finds what there is to find in one state and on the steps out of it."""

    def __init__(self, interp: Interpreter) -> None:
        self.interp = interp
        self.found = Findings(_ALL)
        self.questions = StateQuestions(interp, self.found, {})
        self.monitors: list[Monitor] = [DeadlockMonitor(interp, self.found)]
        if has_step_properties(interp.system):
            self.monitors.append(StepMonitor(interp, self.found))
        if interp.system.locks:
            self.monitors.append(CyclicWaits(interp, self.found))
        if interp.system.refinement is not None:
            self.monitors.append(Refinement(interp, interp.system.refinement, self.found))

    def findings(self, number: int, s: State) -> dict[str, list[Finding]]:
        """By name, in the order of the Python engine."""
        self.found.by_name.clear()
        self.questions.look(number, s)
        steps, faults = self.interp.expand(s)
        for monitor in self.monitors:
            monitor.see(number, s, steps, faults)
        for rule, args, fault in faults:
            self.found.add(fault.name, Finding(number, fault=(rule, args, fault)))
        return {name: list(found) for name, found in self.found.by_name.items()}


def length(depth: int, finding: Finding) -> int:
    """Of the run that shows a finding at a state of this depth."""
    return depth + (finding.fault is not None or finding.step is not None)


def judge_starts(interp: Interpreter, starts: Sequence[State], findings: Findings, meter: Meter) -> None:
    """Whether each start is one of the abstract system: that is not asked of the engine."""
    plan = interp.system.refinement
    if plan is None:
        return
    refinement = Refinement(interp, plan, findings)
    for number, s in enumerate(starts):
        if findings.full("refines"):
            break
        if number % 1024 == 0:
            meter.tick("start", number)
        refinement.begin(number, s)

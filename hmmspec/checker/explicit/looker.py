"""One state looked at for everything: what exactly does it show, and the steps out of it?"""

from __future__ import annotations

from hmmspec.checker.explicit.findings import Finding, Findings
from hmmspec.checker.explicit.locks import CyclicWaits
from hmmspec.checker.explicit.monitors import (
    DeadlockMonitor,
    Faults,
    Monitor,
    StateQuestions,
    StepMonitor,
    Steps,
    has_step_properties,
)
from hmmspec.checker.explicit.refinement import Refinement
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State

_ALL = 1 << 60


class Looker:
    """Finds what there is to find in one state and on the steps out of it, whatever was found before."""

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
        steps, faults = self.interp.expand(s)
        found = self.seen(number, s, steps, faults)
        return {name: list(some) for name, some in found.items()}

    def seen(self, number: int, s: State, steps: Steps, faults: Faults) -> dict[str, list[Finding]]:
        """The same of a state whose steps are known; good until the next call."""
        self.found.by_name.clear()
        try:
            quiet = self.questions.nothing_new(s)
        except SpecFault:
            quiet = False
        if not quiet:
            self.questions.look(number, s)
        for monitor in self.monitors:
            monitor.see(number, s, steps, faults)
        for rule, args, fault in faults:
            self.found.add(fault.name, Finding(number, fault=(rule, args, fault)))
        return self.found.by_name


def length(depth: int, finding: Finding) -> int:
    """Of the run that shows a finding at a state of this depth."""
    return depth + (finding.fault is not None or finding.step is not None)

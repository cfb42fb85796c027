"""A state that the engine reports is looked at once more, by the interpreter: what exactly does it show?"""

from __future__ import annotations

from collections.abc import Sequence

from hmmspec.checker.explicit.findings import Findings
from hmmspec.checker.explicit.limits import Meter
from hmmspec.checker.explicit.looker import Looker as Replay
from hmmspec.checker.explicit.looker import length
from hmmspec.checker.explicit.refinement import Refinement
from hmmspec.system.run import Interpreter, State

__all__ = ["Replay", "judge_starts", "length"]


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

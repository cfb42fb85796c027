"""Random runs of one instance, instead of a search."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from hmmspec.checker.check import judge_expectations, report_on
from hmmspec.checker.explicit.limits import Limits, Meter
from hmmspec.checker.explicit.simulation import Outcome, simulate_here
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Level, Progress, Verdict
from hmmspec.system.system import System


def simulate(
    system: System, options: CheckOptions, progress: Callable[[Progress], None] | None = None
) -> InstanceReport:
    """What random runs of one instance show (`options.simulate` says which), as `check` does.

    A run shows what is wrong and what is reachable, never that something holds.
    """
    begin = time.monotonic()
    meter = Meter(system.name, system.instance, Limits(None, options.seconds, options.memory), progress)
    report = simulated(simulate_here(system, options, meter), options)
    return replace(report, wall_seconds=time.monotonic() - begin)


def simulated(outcome: Outcome, options: CheckOptions) -> InstanceReport:
    """The report on random runs; `wall_seconds` is left to the caller."""
    report = report_on(outcome.explored(), options)
    report = replace(
        report,
        states=None,
        verdicts=tuple(_not_shortest(v) for v in report.verdicts),
        simulation=outcome.simulation(),
    )
    return judge_expectations(report, outcome.interp.system.expectation) if options.expectations else report


def _not_shortest(v: Verdict) -> Verdict:
    return replace(v, level=Level.VIOLATED) if v.level is Level.VIOLATED_SHORTEST else v

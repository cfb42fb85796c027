"""Real runs that violate what was to be proved, in small instances."""

from __future__ import annotations

import time

from hmmspec.checker.native.engine import check_auto
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.samples import Instances, Sizes
from hmmspec.checker.verdict import Level, Status, Trace
from hmmspec.diagnostics import Limit

STATES = 3_000_000
PATIENCE = 20.0  # seconds for an instance in which there must be a run


def real_runs(
    instances: Instances, names: set[str], sure: set[str], largest: int, seconds: float
) -> dict[str, tuple[Trace, Level, Sizes]]:
    """Of each property a run that violates it, in the smallest of the instances with up to `largest` identities of each
    type, as far as some is found in so much time.  sure: those that are known to be violated, for which time is no
    limit."""
    until = time.monotonic() + seconds
    found: dict[str, tuple[Trace, Level, Sizes]] = {}
    for sizes in instances.sizes(largest):
        left = until - time.monotonic()
        wanted = names - set(found) if left > 0 else sure - set(found)
        if not wanted:
            break
        try:
            system = instances.of(sizes)
            seconds = max(left, PATIENCE if wanted & sure else 1.0)
            options = CheckOptions(engine="auto", states=STATES, seconds=seconds, expectations=False, witness=False)
            report = check_auto(system, options)
        except (Limit, MemoryError):
            continue
        for v in report.verdicts:
            if v.property in wanted and v.status is Status.VIOLATED and v.trace is not None:
                found[v.property] = v.trace, v.level, sizes
    return found

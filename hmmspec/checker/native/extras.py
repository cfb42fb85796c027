"""What a spec may ask for beyond states and steps: each is one entry here.

An extra that is wanted and not there sends the spec to the Python engine, which says so; one that is there looks at the
finished search (`run`) and puts what it finds into `Explored`, as the explicit engine does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hmmspec.checker.explicit.engine import Explored
from hmmspec.checker.native.judges import judge_locks, judge_whole_runs
from hmmspec.checker.native.search import Search
from hmmspec.checker.options import CheckOptions
from hmmspec.system.system import LeadsTo, Recoverable, System


@dataclass(frozen=True)
class Extra:
    """name: in words, for the report; wanted: whether this spec and these options ask for it; run: after the search,
    judge and enter findings (it may raise LimitReached: what is not judged stays in `Explored.pending`); None: not
    there yet."""

    name: str
    wanted: Callable[[System, CheckOptions], bool]
    run: Callable[[Search, Explored], None] | None = None


EXTRAS: tuple[Extra, ...] = (
    Extra("lock_cycle and lock_order", lambda s, o: bool(s.locks), judge_locks),
    Extra(
        "recoverable and leads_to",
        lambda s, o: not o.hash_bits and any(isinstance(p, Recoverable | LeadsTo) for p in s.properties),
        judge_whole_runs,
    ),
)


def judges(system: System, options: CheckOptions) -> list[Callable[[Search, Explored], None]]:
    """What looks at the finished search, of all that is asked for."""
    return [x.run for x in EXTRAS if x.run is not None and x.wanted(system, options)]


def missing(system: System, options: CheckOptions) -> list[str]:
    """The names of what is asked for and not there."""
    return [x.name for x in EXTRAS if x.run is None and x.wanted(system, options)]

"""What one run of a scenario does: commands with what is expected of each, everything worked out but the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from hmmspec.conform.commands import Command
from hmmspec.conform.scenario import syntax as s
from hmmspec.diagnostics import Span
from hmmspec.records import dataclass

Value: TypeAlias = int | bool | str


@dataclass(frozen=True)
class WantOutcome:
    """`ok`, `error`, `any` or a name."""

    word: str


@dataclass(frozen=True)
class WantCount:
    """A number of the result: `pages <= 4`."""

    field: str
    op: str
    value: int


@dataclass(frozen=True)
class WantStamps:
    """Pages `first` .. of the result (from 0): each of `allowed` is a first stamp and whether it stays the same."""

    first: int
    count: int
    page: int  # the number of the first of them in the arena, for messages
    allowed: tuple[tuple[int, bool], ...]


@dataclass(frozen=True)
class WantBits:
    """Pages `first` .. of a snapshot or the pagemap: (bits looked at, their values), each pair of `allowed` is fine."""

    field: str
    first: int
    count: int
    page: int
    allowed: tuple[tuple[int, int], ...]
    texts: tuple[str, ...]


Want: TypeAlias = WantOutcome | WantCount | WantStamps | WantBits
Cases: TypeAlias = tuple[tuple[Want, ...], ...]
OK: Cases = ((WantOutcome("ok"),),)


@dataclass(frozen=True)
class Step:
    """A command; one of the cases in `expected` must be met.  `number` counts the steps of a plan from 0."""

    number: int
    command: Command
    expected: Cases
    span: Span


@dataclass(frozen=True)
class RaceStep:
    """Several threads at once."""

    threads: tuple[tuple[Step, ...], ...]
    span: Span


@dataclass(frozen=True)
class Judge:
    """A condition over results.  `values`: what the names in it stand for; `results`: result name -> step number."""

    condition: s.Expr
    values: Mapping[str, Value]
    results: Mapping[str, int]
    text: str
    span: Span


@dataclass(frozen=True)
class Outcomes:
    """One of these must hold: (name, condition)."""

    choices: tuple[tuple[str, Judge], ...]
    span: Span


PlanStep: TypeAlias = Step | RaceStep | Judge | Outcomes


@dataclass(frozen=True)
class Plan:
    """A scenario for one target, one variant and one choice of its parameters.

    skipped: why it does not run there, or ''.  shown: the parameters that tell this plan from the scenario's others.
    seeds: how often it is run, because of its races.
    """

    scenario: s.Scenario
    variant: str
    params: Mapping[str, int]
    shown: Mapping[str, int]
    steps: tuple[PlanStep, ...]
    processes: Mapping[str, str]  # p0 -> main: what the scenario calls them
    devices: Mapping[str, str]  # dev0 -> gpu
    seeds: int = 1
    skipped: str = ""

    @property
    def title(self) -> str:
        """`migrate_fault [private, N=4]`."""
        parts = [self.variant, *(f"{n}={v}" for n, v in self.shown.items())]
        inner = ", ".join(p for p in parts if p)
        return f"{self.scenario.name} [{inner}]" if inner else self.scenario.name

"""What a check found, as plain data: no engine, no System, nothing to call.  Reporters read this and nothing else.

Wording and exit codes follow one rule: a verdict never claims more than was shown, and a limit is never a success.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from hmmspec.diagnostics import Diagnostic, Span
from hmmspec.records import dataclass


class Level(Enum):
    """How much a verdict shows."""

    EXHAUSTIVE = "exhaustive"  # holds in all reachable states of the instance
    INDUCTIVE = "inductive"  # holds for every size of the types named
    BOUNDED = "bounded"  # no violation within k steps
    INCOMPLETE = "incomplete"  # no violation found before a limit
    HASHED = "hashed"  # no violation, states kept as hashes
    VIOLATED_SHORTEST = "violated, shortest"
    VIOLATED = "violated"  # the trace is real, but may not be the shortest


class Status(Enum):
    HOLDS = "holds"
    VIOLATED = "violated"
    UNKNOWN = "unknown"
    WARNING = "warning"  # a built-in finding that is only a warning (lock_order, stuck by an assume)


@dataclass(frozen=True)
class Change:
    """One cell of the state that a step changed: `pins[page1]: 0 -> 1`."""

    cell: str
    before: str
    after: str


@dataclass(frozen=True)
class TraceStep:
    """One step and the state after it.

    rule: the step's name (`pin`, `fault.check`); args: parameter name and shown value, thread index first;
    actor: the thread that moved (`fault[cpu0]`) or None; cells: the whole state after the step, cell -> shown value;
    outcome: which of several next states of the same step and arguments this is (0 if only one).
    """

    rule: str
    actor: str | None
    args: tuple[tuple[str, str], ...]
    changes: tuple[Change, ...]
    cells: Mapping[str, str]
    span: Span | None = field(default=None, compare=False)
    outcome: int = 0


@dataclass(frozen=True)
class Blame:
    """Why a property is false: the smallest conjunct that failed and the bound values that broke it, with the parts
    of it and their values: (`place[p] == system`, `false`), (`place[p]`, `device`).."""

    conjunct: str
    bindings: tuple[tuple[str, str], ...]
    parts: tuple[tuple[str, str], ...]
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Trace:
    """A run: the initial state, the steps, and for a lasso the index of the state the loop returns to.

    loop: None for a finite trace; else the states `loop..len(steps)` repeat for ever (the last state equals state
    `loop`; `loop == len(steps)`: the run stays in its last state).
    final: what the last, failing step attempted, where it adds no state (an assert, a spec error, a lock finding).
    """

    initial: Mapping[str, str]
    steps: tuple[TraceStep, ...]
    loop: int | None = None
    final: TraceStep | None = None
    blame: Blame | None = None
    message: str = ""

    @property
    def length(self) -> int:
        return len(self.steps) + (self.final is not None)


@dataclass(frozen=True)
class Proof:
    """How a property was proved, or what stands in the way.

    every: the types of which it holds for any number of identities, () where it is of the instance alone; fixed: the
    params that keep their value, as shown; lemmas: invariants that were found and that the proof needs, in hmm syntax;
    uses: other properties of the spec that it needs; left_out: conjuncts of guards that were left out, since they
    count (`step: conjunct`); depth: steps of the induction (k of k-induction); method: 'induction', 'k-induction' or
    'pdr'.
    sizes: the params without a value here, as the trace has them (of a violation, or of `gap`): `PAGES = 2`.
    gap: not proved: the smallest counterexample to induction, a run of one step out of a state that nothing known
    excludes; blocked_by: conjuncts, in hmm syntax, each of which would exclude that state, and of which nobody knows
    whether they hold; reason: why it was not proved, or was refused.
    """

    every: tuple[str, ...] = ()
    fixed: tuple[tuple[str, str], ...] = ()
    lemmas: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    depth: int = 1
    method: str = "induction"
    sizes: tuple[tuple[str, str], ...] = ()
    gap: Trace | None = None
    blocked_by: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """One property of one instance.

    kind: 'invariant', 'step', 'assert', 'reachable', 'leads_to', 'recoverable', or 'built-in'.
    expected: whether this outcome is what the file expects (always True where nothing violated is expected and it
    holds).  others: further distinct counterexamples, if asked for.  remark: what a reader must know besides.
    """

    property: str
    kind: str
    text: str
    status: Status
    level: Level
    trace: Trace | None = None
    others: tuple[Trace, ...] = ()
    expected: bool = True
    remark: str = ""
    span: Span | None = field(default=None, compare=False)
    witness: Trace | None = None  # for a reachable that holds: a run that gets there
    proof: Proof | None = None  # from `prove`: of what was proved, or was tried


@dataclass(frozen=True)
class Coverage:
    """How often a step (by name) fired, over all arguments."""

    rule: str
    fired: int
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Simulation:
    """Random runs, where there was no search: how many, of at most `depth` steps, and how many steps they took."""

    runs: int
    depth: int
    steps: int


@dataclass(frozen=True)
class Hashed:
    """A search that kept hashes of states: `bits` of each, and with how many of them new states were compared.

    Two different states have equal bits with probability 2^-bits (over the keys that follow from the seed), so some
    state was taken for another and missed with a probability of at most compared / 2^bits: `missed` (after Stern and
    Dill 1995; compact.c says more).  It holds for the number of states that were reached.
    """

    bits: int
    compared: int

    @property
    def missed(self) -> float:
        return min(1.0, self.compared / (1 << self.bits))


@dataclass(frozen=True)
class InstanceReport:
    """Everything that was shown of one instance of one spec.

    states: full states (None if not known); orbits: representatives stored, when symmetry was used, else None;
    reduction: '' | 'orbits' | 'representatives'; transitions: as the contract counts them (of the states stored);
    limit: '' or which limit ended the search; interrupted: by the user.
    problems: expectations that did not come true ('expected 133 states, found 140').
    remark: what must be known of how the engine ran ('' if nothing), as why another one did.
    hashed: of a search that kept hashes of states instead of states.
    bounded: of a bounded search, the most steps of the runs that were looked at; then `states` is None.
    every: of proofs, the types of which there is any number (() for the instance as it is), and None of a search. Then
    `params` are those that keep their value, `covers` all instances with these values (`instance` is the first),
    `states` is None; certificate: the folder in which the proof is written, '' for none.
    simulation: of random runs; then `states` is None, `transitions` the steps that were judged (those out of every
    state of the runs, as often as they were met) and `depth` the longest run.
    """

    spec: str
    path: str
    instance: str
    params: tuple[tuple[str, str], ...]
    engine: str
    seed: int
    verdicts: tuple[Verdict, ...]
    states: int | None
    orbits: int | None
    reduction: str
    transitions: int
    depth: int
    explore_seconds: float
    wall_seconds: float
    coverage: tuple[Coverage, ...] = ()
    assumes: tuple[tuple[str, str], ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
    limit: str = ""
    interrupted: bool = False
    problems: tuple[str, ...] = ()
    unproved: tuple[str, ...] = ()  # prove clauses that this run does not look at
    remark: str = ""
    simulation: Simulation | None = None
    hashed: Hashed | None = None
    bounded: int | None = None
    every: tuple[str, ...] | None = None
    covers: tuple[str, ...] = ()
    certificate: str = ""

    @property
    def exit_code(self) -> int:
        """0 as expected; 1 violated or an expectation missed; 3 incomplete; 130 interrupted."""
        if any(not v.expected and v.status is Status.VIOLATED for v in self.verdicts) or self.problems:
            return 1
        if self.interrupted:
            return 130
        if self.limit or self.simulation is not None or any(v.status is Status.UNKNOWN for v in self.verdicts):
            return 3
        return 0


@dataclass(frozen=True)
class Progress:
    """Sent now and then while a search runs."""

    spec: str
    instance: str
    phase: str
    states: int
    frontier: int
    transitions: int
    depth: int
    seconds: float


def exit_code(reports: tuple[InstanceReport, ...]) -> int:
    """The exit code of a whole run: the gravest of its parts (1 before 130 before 3 before 0)."""
    codes = {r.exit_code for r in reports}
    return next((c for c in (1, 130, 3) if c in codes), 0)

"""The System: what a spec with its parameters means, as one frozen value.  Everything downstream reads only this.

Variables with finite types, rules (guarded atomic steps, possibly with several outcomes) and properties.  Machines,
threads, procedures, locks and queues are gone: `hmmspec.system.elaborate` has lowered them to variables, guards and
assignments, and has left notes (`Rule.thread`, `Guard.waits`, ..) where a finding or a message needs to know.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from hmmspec.diagnostics import NOWHERE, Span
from hmmspec.records import dataclass
from hmmspec.system.expr import Binder, Expr
from hmmspec.system.types import Symmetric, Type


@dataclass(frozen=True, kw_only=True)
class Node:
    span: Span = field(default=NOWHERE, compare=False, repr=False)


# ---------------------------------------------------------------- variables and defines


@dataclass(frozen=True)
class InitExpr:
    """The first value of each element.  `binders` name the indices of the enclosing arrays, outermost first."""

    binders: tuple[str, ...]
    value: Expr


@dataclass(frozen=True)
class InitAny:
    """One initial state for each value (of each element); `allowed`: only these values, if given."""

    allowed: tuple[object, ...] | None = None


@dataclass(frozen=True)
class Variable(Node):
    """`type` is nested Arrays over the declared indices.

    kind: 'var'; 'machine'; 'label' (which label a thread stands at); 'point' (where inside a procedure it is);
    'local' (of a thread, `thread.name`, or of a procedure, `thread.procedure.name`); 'lock' (the owner, or null);
    'readers' (of an rwlock: the set of owners, `name.readers`).
    `depth`: how many of the Arrays of `type` are declared indices (init applies below them).
    """

    name: str
    type: Type
    depth: int
    init: InitExpr | InitAny
    kind: Literal["var", "machine", "label", "point", "local", "lock", "readers"] = "var"
    owner: str | None = None  # the thread of a label, point or local


@dataclass(frozen=True)
class Parameter:
    name: str
    type: Type


@dataclass(frozen=True)
class Define(Node):
    name: str
    params: tuple[Parameter, ...]
    type: Type
    body: Expr


# ---------------------------------------------------------------- statements


@dataclass(frozen=True)
class Assign(Node):
    """`target` is a Var under Index and Field; the value has exactly its type."""

    target: Expr
    value: Expr


@dataclass(frozen=True)
class Let(Node):
    """Names the value for the rest of the block."""

    name: str
    value: Expr


@dataclass(frozen=True)
class IfElse(Node):
    condition: Expr
    then: Block
    otherwise: Block


@dataclass(frozen=True)
class For(Node):
    """The body once for each value that passes the filter, by ordinal; domains and filter are evaluated on entry
    of each pass."""

    binders: tuple[Binder, ...]
    filter: Expr | None
    body: Block


@dataclass(frozen=True)
class Choose(Node):
    """One branch for each value that passes the filter; names hold for the rest of the block; none: no outcome.
    A fault of the filter for any value is a fault of the whole."""

    binders: tuple[Binder, ...]
    filter: Expr | None


@dataclass(frozen=True)
class Either(Node):
    branches: tuple[Block, ...]


@dataclass(frozen=True)
class LockWait:
    """A guard that waits for a lock: for which, and as whom."""

    lock: str  # a key of System.locks
    index: tuple[Expr, ...]
    read: bool
    me: Expr  # of the lock's owner type


@dataclass(frozen=True)
class Guard(Node):
    """This branch has no outcome unless the condition holds."""

    condition: Expr
    waits: LockWait | None = None


@dataclass(frozen=True)
class Check(Node):
    """Where the condition does not hold the run ends with a finding: `name` is a property's name (`finding`
    'assert') or the built-in finding ('double_acquire', 'foreign_release', 'held_at_stop') itself."""

    finding: Literal["assert", "double_acquire", "foreign_release", "held_at_stop"]
    name: str
    text: str
    condition: Expr


Stmt = Assign | Let | IfElse | For | Choose | Either | Guard | Check
Block = tuple[Stmt, ...]


# ---------------------------------------------------------------- rules


@dataclass(frozen=True)
class Rule(Node):
    """One atomic step for each value of its parameters.

    name: what fairness lists and traces call it: a transition's or arrow's name, or `thread.label`.
    guard: evaluated first, in the state before the step; then the body runs on a working copy.
    thread, label: whose step it is; the first `index_arity` parameters are the thread's index; the others are the
    thread's own arguments, chosen by this step.  machine: of an arrow.
    """

    number: int
    name: str
    params: tuple[Parameter, ...]
    guard: Expr
    body: Block
    kind: Literal["transition", "arrow", "thread"] = "transition"
    machine: str | None = None
    thread: str | None = None
    label: str | None = None
    index_arity: int = 0


@dataclass(frozen=True)
class ThreadInfo(Node):
    """A thread: its index types, its labels (it starts at the first; 'stopped' is last), the variable of its place."""

    name: str
    index: tuple[Type, ...]
    labels: tuple[str, ...]
    place: str
    point: str | None
    locals: tuple[str, ...]


@dataclass(frozen=True)
class LockInfo(Node):
    """A lock or rwlock: its index types; `owner` (and for an rwlock `readers`) name the variables that hold it."""

    name: str
    kind: Literal["lock", "rwlock"]
    index: tuple[Type, ...]
    owner: str
    readers: str | None
    owner_type: Type  # Union of Null and the ThreadIds that may hold it


# ---------------------------------------------------------------- properties and the rest


@dataclass(frozen=True)
class Invariant(Node):
    name: str
    text: str
    body: Expr


@dataclass(frozen=True)
class StepProperty(Node):
    """`body` may read variables primed."""

    name: str
    text: str
    body: Expr


@dataclass(frozen=True)
class Reachable(Node):
    name: str
    text: str
    body: Expr


@dataclass(frozen=True)
class Recoverable(Node):
    name: str
    text: str
    body: Expr


@dataclass(frozen=True)
class LeadsTo(Node):
    """For each value of the binders that passes the filters: whenever `left` holds, `right` holds then or later."""

    name: str
    text: str
    binders: tuple[Binder, ...]
    filter: Expr | None
    left: Expr
    right: Expr


@dataclass(frozen=True)
class AssertProperty(Node):
    """An `assert` somewhere in a rule; several may share a name."""

    name: str
    text: str


Property = Invariant | StepProperty | Reachable | Recoverable | LeadsTo | AssertProperty


@dataclass(frozen=True)
class Predicate(Node):
    """A `terminal` or an `assume`."""

    name: str
    text: str
    body: Expr


@dataclass(frozen=True)
class Fairness(Node):
    """Steps of `rules` that agree in their first `prefix` arguments (of the same types) are one unit; each unit is
    treated fairly:
    weak: enabled from some point on for ever => taken again and again; strong: enabled again and again => taken
    again and again."""

    name: str
    strong: bool
    rules: tuple[int, ...]
    prefix: int


@dataclass(frozen=True)
class EventSet(Node):
    """Rules whose steps others can see."""

    rules: tuple[int, ...]


@dataclass(frozen=True)
class Observation(Node):
    name: str
    params: tuple[Parameter, ...]
    type: Type
    body: Expr


@dataclass(frozen=True)
class Anchor(Node):
    """Where in the kernel the steps live; no rules: the whole spec."""

    path: str
    symbol: str | None
    rules: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class ProofGoal(Node):
    properties: tuple[str, ...]
    every: tuple[str, ...]  # names of symmetric types


@dataclass(frozen=True)
class Expectation:
    """What the file says of this instance.  violates: None if it says nothing (then all must hold)."""

    violates: frozenset[str] | None = None
    states: int | None = None
    orbits: int | None = None


@dataclass(frozen=True)
class MappedVariable:
    """How a variable of the abstract system is read off a state of this one: an expression over this system's
    variables, of an equivalent type, under the index binders."""

    name: str
    binders: tuple[Binder, ...]
    value: Expr


@dataclass(frozen=True)
class RefinementMap(Node):
    abstract: System
    variables: tuple[MappedVariable, ...]


@dataclass(frozen=True)
class System:
    """What one instance of a spec means.  Pure data; equal systems mean the same."""

    name: str
    doc: str
    path: str
    instance: str
    params: tuple[tuple[str, object, Type], ...]
    symmetric: tuple[Symmetric, ...]
    variables: tuple[Variable, ...]
    defines: tuple[Define, ...]
    rules: tuple[Rule, ...]
    threads: tuple[ThreadInfo, ...]
    locks: tuple[LockInfo, ...]
    properties: tuple[Property, ...]
    terminal: tuple[Predicate, ...]
    assumes: tuple[Predicate, ...]
    fairness: tuple[Fairness, ...]
    events: tuple[EventSet, ...]
    observations: tuple[Observation, ...]
    anchors: tuple[Anchor, ...]
    proofs: tuple[ProofGoal, ...]
    expectation: Expectation
    refinement: RefinementMap | None = None

    def variable(self, name: str) -> Variable:
        return next(v for v in self.variables if v.name == name)

    def define(self, name: str) -> Define:
        return next(d for d in self.defines if d.name == name)


# Findings that no declaration names; a spec may expect them by these names, and may not reuse them.
BUILT_IN_FINDINGS = (
    "spec_error",
    "deadlock",
    "double_acquire",
    "foreign_release",
    "held_at_stop",
    "lock_cycle",
    "lock_order",
    "refines",
)

"""The syntax tree of a .hmm file: frozen dataclasses, one per construct, nothing resolved yet.

Every node has a `span`; spans do not take part in equality, so print-then-parse can be compared with `==`.
Names are plain strings here.  What a name means is decided in `hmmspec.system.elaborate`.
"""

from __future__ import annotations

from typing import Literal

from hmmspec.diagnostics import Node as Node
from hmmspec.records import dataclass


@dataclass(frozen=True)
class Ident(Node):
    """A name where it is declared or mentioned, so that a message can point at it."""

    name: str


# ---------------------------------------------------------------- types


@dataclass(frozen=True)
class BoolType(Node):
    pass


@dataclass(frozen=True)
class IntType(Node):
    """Unbounded; only in defines, params and lets."""


@dataclass(frozen=True)
class RangeType(Node):
    low: Expr
    high: Expr


@dataclass(frozen=True)
class EnumType(Node):
    literals: tuple[Ident, ...]


@dataclass(frozen=True)
class SymmetricType(Node):
    size: Expr


@dataclass(frozen=True)
class NamedType(Node):
    name: str


@dataclass(frozen=True)
class UnionType(Node):
    members: tuple[Type, ...]


@dataclass(frozen=True)
class OptionalType(Node):
    inner: Type


@dataclass(frozen=True)
class FieldDecl(Node):
    """`kind: Kind;` or `perm[Page]: bool;` in a record."""

    name: Ident
    indices: tuple[IndexDecl, ...]
    type: Type


@dataclass(frozen=True)
class RecordType(Node):
    fields: tuple[FieldDecl, ...]


@dataclass(frozen=True)
class SetType(Node):
    element: Type


@dataclass(frozen=True)
class QueueType(Node):
    capacity: Expr
    element: Type


Type = (
    BoolType
    | IntType
    | RangeType
    | EnumType
    | SymmetricType
    | NamedType
    | UnionType
    | OptionalType
    | RecordType
    | SetType
    | QueueType
)


@dataclass(frozen=True)
class IndexDecl(Node):
    """One `[Page]` or `[p: Page]` of a declaration."""

    name: Ident | None
    type: Type


@dataclass(frozen=True)
class Parameter(Node):
    name: Ident
    type: Type


# ---------------------------------------------------------------- expressions


@dataclass(frozen=True)
class IntLit(Node):
    value: int


@dataclass(frozen=True)
class BoolLit(Node):
    value: bool


@dataclass(frozen=True)
class NullLit(Node):
    pass


@dataclass(frozen=True)
class EmptyQueue(Node):
    """`[]`"""


@dataclass(frozen=True)
class Name(Node):
    """A variable, define, param, bound name, enum literal, label, or (right of `in`) a type.  `primed`: `place'`."""

    name: str
    primed: bool = False


@dataclass(frozen=True)
class Call(Node):
    """`on_device(p)`, `on_device'(p)`, the built-ins `head(q)`, `size(s)`, `min(a, b)`, `max(a, b)`; and, when a
    record type's name, see `RecordLit`."""

    name: Ident
    args: tuple[Expr, ...]
    primed: bool = False


@dataclass(frozen=True)
class FieldInit(Node):
    name: Ident
    value: Expr


@dataclass(frozen=True)
class RecordLit(Node):
    """`Pte(kind = none, write = false)`"""

    name: Ident
    fields: tuple[FieldInit, ...]


@dataclass(frozen=True)
class Index(Node):
    base: Expr
    index: Expr


@dataclass(frozen=True)
class Member(Node):
    """`e.kind`, `fault[c].p`"""

    base: Expr
    name: Ident


@dataclass(frozen=True)
class SetLit(Node):
    """`{a, b}`, `{}`"""

    elements: tuple[Expr, ...]


@dataclass(frozen=True)
class SetComp(Node):
    """`{x: T | P}`, `{x in S | P}`"""

    binder: Binder
    filter: Expr | None


UnaryOp = Literal["!", "-"]
BinaryOp = Literal["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||", "=>", "<=>"]


@dataclass(frozen=True)
class Unary(Node):
    op: UnaryOp
    operand: Expr


@dataclass(frozen=True)
class Binary(Node):
    """Both sides may be any expression; right of `in` stands a set, a `RangeExpr` or the `Name` of a type."""

    op: BinaryOp
    left: Expr
    right: Expr


@dataclass(frozen=True)
class RangeExpr(Node):
    """`lo..hi`; only right of `in` and as the domain of a binder."""

    low: Expr
    high: Expr


@dataclass(frozen=True)
class IfExpr(Node):
    condition: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True)
class Binder(Node):
    """`p, q: Page`, `i: 0..3`, `x in S`.  `domain` is a type (`NamedType`, `BoolType` or `RangeType`) for `:`,
    an expression for `in`."""

    names: tuple[Ident, ...]
    domain: Type | Expr
    over_set: bool


QuantKind = Literal["forall", "exists", "count", "sum", "min", "max"]


@dataclass(frozen=True)
class Quant(Node):
    """`forall p: Page | filter { body }`, `count(p: Page | filter)` (no body), `sum(body for p: Page | filter)`."""

    kind: QuantKind
    binders: tuple[Binder, ...]
    filter: Expr | None
    body: Expr | None


@dataclass(frozen=True)
class Held(Node):
    """`held(L)`, `held read(L)`, `mine(L)`, `mine read(L)`"""

    kind: Literal["held", "mine"]
    read: bool
    lock: Expr


@dataclass(frozen=True)
class Trylock(Node):
    """`trylock L`, `trylock read L`; only in an `if` condition, alone or last."""

    read: bool
    lock: Expr


@dataclass(frozen=True)
class LeadsTo(Node):
    """`P ~> Q`; only in a `leads_to` property, alone or as the body of `forall`s."""

    left: Expr
    right: Expr


Expr = (
    IntLit
    | BoolLit
    | NullLit
    | EmptyQueue
    | Name
    | Call
    | RecordLit
    | Index
    | Member
    | SetLit
    | SetComp
    | Unary
    | Binary
    | RangeExpr
    | IfExpr
    | Quant
    | Held
    | Trylock
    | LeadsTo
)


# ---------------------------------------------------------------- statements


@dataclass(frozen=True)
class Assign(Node):
    target: Expr  # Name, Index or Member chains
    op: Literal[":=", "+=", "-="]
    value: Expr


@dataclass(frozen=True)
class Let(Node):
    name: Ident
    value: Expr


@dataclass(frozen=True)
class If(Node):
    """`if (c) { } else if (d) { } else { }`; an `else if` is an `If` alone in `otherwise`."""

    condition: Expr
    then: Block
    otherwise: Block


@dataclass(frozen=True)
class For(Node):
    binders: tuple[Binder, ...]
    filter: Expr | None
    body: Block


@dataclass(frozen=True)
class Choose(Node):
    binders: tuple[Binder, ...]
    filter: Expr | None


@dataclass(frozen=True)
class Either(Node):
    branches: tuple[Block, ...]


@dataclass(frozen=True)
class Assert(Node):
    name: Ident
    text: str | None
    condition: Expr


@dataclass(frozen=True)
class Push(Node):
    queue: Expr
    value: Expr


@dataclass(frozen=True)
class Pop(Node):
    queue: Expr


@dataclass(frozen=True)
class Skip(Node):
    pass


@dataclass(frozen=True)
class Await(Node):
    condition: Expr


@dataclass(frozen=True)
class Acquire(Node):
    read: bool
    lock: Expr


@dataclass(frozen=True)
class Release(Node):
    lock: Expr


@dataclass(frozen=True)
class Goto(Node):
    label: Ident


@dataclass(frozen=True)
class While(Node):
    condition: Expr
    body: Block


@dataclass(frozen=True)
class Restart(Node):
    pass


@dataclass(frozen=True)
class Stop(Node):
    pass


@dataclass(frozen=True)
class Return(Node):
    value: Expr | None


@dataclass(frozen=True)
class CallStmt(Node):
    """`call f(e);` or `y := call f(e);`"""

    target: Expr | None
    name: Ident
    args: tuple[Expr, ...]


@dataclass(frozen=True)
class Label(Node):
    """`take:`: a place in a thread or procedure body; the statements that follow it belong to its step."""

    name: Ident


Stmt = (
    Assign
    | Let
    | If
    | For
    | Choose
    | Either
    | Assert
    | Push
    | Pop
    | Skip
    | Await
    | Acquire
    | Release
    | Goto
    | While
    | Restart
    | Stop
    | Return
    | CallStmt
    | Label
)
Block = tuple[Stmt, ...]


# ---------------------------------------------------------------- declarations


@dataclass(frozen=True)
class Import(Node):
    path: str


@dataclass(frozen=True)
class ParamDecl(Node):
    """`param PAGES = 3;`, `param FIXED: bool;`"""

    name: Ident
    type: Type | None
    default: Expr | None


@dataclass(frozen=True)
class TypeDecl(Node):
    name: Ident
    type: Type


@dataclass(frozen=True)
class AnyInit(Node):
    """`= any`: one initial state for each value."""


@dataclass(frozen=True)
class VarDecl(Node):
    """A variable of the spec, or a local at the top of a thread or procedure body."""

    name: Ident
    indices: tuple[IndexDecl, ...]
    type: Type
    init: Expr | AnyInit | None


@dataclass(frozen=True)
class Define(Node):
    name: Ident
    params: tuple[Parameter, ...]
    type: Type | None
    body: Expr


@dataclass(frozen=True)
class Arrow(Node):
    """`{swapped, device} -> unmapped by unmap(n: 0..1) when P { ... }`"""

    sources: tuple[Ident, ...]
    target: Ident
    name: Ident
    params: tuple[Parameter, ...]
    when: Expr | None
    body: Block


@dataclass(frozen=True)
class Machine(Node):
    name: Ident
    indices: tuple[IndexDecl, ...]
    states: tuple[Ident, ...]
    initial: tuple[Ident, ...]
    arrows: tuple[Arrow, ...]


@dataclass(frozen=True)
class LockDecl(Node):
    """`lock folio[Page];`, `rwlock mmap;`"""

    kind: Literal["lock", "rwlock"]
    name: Ident
    indices: tuple[IndexDecl, ...]


@dataclass(frozen=True)
class Transition(Node):
    name: Ident
    params: tuple[Parameter, ...]
    when: Expr | None
    body: Block


@dataclass(frozen=True)
class Thread(Node):
    """`thread fault[c: Cpu](p: Page) runs when P { var x: T = e; ... statements ... }`"""

    name: Ident
    indices: tuple[IndexDecl, ...]
    params: tuple[Parameter, ...]
    runs_when: Expr | None
    locals: tuple[VarDecl, ...]
    body: Block


@dataclass(frozen=True)
class Procedure(Node):
    name: Ident
    params: tuple[Parameter, ...]
    result: Type | None
    locals: tuple[VarDecl, ...]
    body: Block


PropertyKind = Literal["invariant", "step", "reachable", "leads_to", "recoverable", "terminal", "assume"]


@dataclass(frozen=True)
class Property(Node):
    kind: PropertyKind
    name: Ident
    text: str | None
    body: Expr


@dataclass(frozen=True)
class StepName(Node):
    """`migrate_back` (a transition, arrow name or thread) or `fault.check` (a label of a thread)."""

    name: str
    label: str | None = None


@dataclass(frozen=True)
class Fair(Node):
    strong: bool
    steps: tuple[StepName, ...]


@dataclass(frozen=True)
class Event(Node):
    steps: tuple[StepName, ...]


@dataclass(frozen=True)
class SourceAnchor(Node):
    """`source "mm/memory.c" do_swap_page for cpu_fault;`; `steps` empty: the whole spec."""

    path: str
    symbol: str | None
    steps: tuple[StepName, ...]


@dataclass(frozen=True)
class Observe(Node):
    name: Ident
    params: tuple[Parameter, ...]
    type: Type | None
    body: Expr


@dataclass(frozen=True)
class Setting(Node):
    name: Ident
    value: Expr


@dataclass(frozen=True)
class Instance(Node):
    name: Ident
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class ExpectViolates(Node):
    instance: Ident
    properties: tuple[Ident, ...]


@dataclass(frozen=True)
class ExpectCount(Node):
    instance: Ident
    count: int
    unit: Literal["states", "orbits"]


@dataclass(frozen=True)
class Prove(Node):
    properties: tuple[Ident, ...]
    every: tuple[Ident, ...]


Declaration = (
    ParamDecl
    | TypeDecl
    | VarDecl
    | Define
    | Machine
    | LockDecl
    | Transition
    | Thread
    | Procedure
    | Property
    | Fair
    | Event
    | SourceAnchor
    | Observe
    | Instance
    | ExpectViolates
    | ExpectCount
    | Prove
    | Import
)


@dataclass(frozen=True)
class Mapping(Node):
    """One line of `refines .. by { }`: `place[p: Page] = e;`, `fault[c: Cpu] = e;`, `fault[c: Cpu].x = e;`"""

    name: Ident
    indices: tuple[IndexDecl, ...]
    field: Ident | None
    value: Expr


@dataclass(frozen=True)
class Refines(Node):
    path: str
    mappings: tuple[Mapping, ...]


@dataclass(frozen=True)
class Replace(Node):
    """`replace DECLARATION`"""

    declaration: Declaration


@dataclass(frozen=True)
class ReplaceIn(Node):
    """`replace NAME { arrows or labelled steps }`: exactly one of the two tuples is filled."""

    name: Ident
    arrows: tuple[Arrow, ...]
    body: Block


@dataclass(frozen=True)
class Remove(Node):
    name: Ident


@dataclass(frozen=True)
class Add(Node):
    declaration: Declaration


PatchItem = Replace | ReplaceIn | Remove | Add


@dataclass(frozen=True)
class Patches(Node):
    path: str
    items: tuple[PatchItem, ...]


@dataclass(frozen=True)
class File(Node):
    """One parsed file.  `hmmspec.lang.load` turns it into a `Spec`."""

    name: Ident
    doc: str | None
    header: Refines | Patches | None
    declarations: tuple[Declaration, ...]


@dataclass(frozen=True)
class Spec(Node):
    """A file with its imports and patches applied: all declarations, in one list, in order.

    `refines`: the mapping and the loaded spec that this one refines, if it does.
    `files`: every source read on the way, the main one first.
    """

    name: str
    doc: str | None
    declarations: tuple[Declaration, ...]
    refines: Refinement | None
    files: tuple[str, ...]


@dataclass(frozen=True)
class Refinement(Node):
    abstract: Spec
    mappings: tuple[Mapping, ...]

"""Typed expressions of the core.  Every name is resolved, every conversion is an explicit `Cast`.

What can go wrong when one is evaluated (a *fault*, a spec error) is visible in the tree: a `Cast` that narrows
(kinds 'range', 'member', 'null'), `div`/`mod` by zero ('division'), `Head`, `Popped` of an empty queue and `Pushed` on
a full one ('queue'), `min`/`max` of nothing ('empty').  An index is always a value of the array's index type.

NOTE(evaluation): left to right; `and`, `or`, `implies` and `if` stop when decided; a binder's filter guards its
body; binders do not stop early: a fault for any value that passes the filter is a fault of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, fields, is_dataclass, replace
from typing import Literal, TypeVar

from hmmspec.diagnostics import NOWHERE, Span
from hmmspec.records import dataclass
from hmmspec.system.types import BOOL, INT, Type


@dataclass(frozen=True, kw_only=True)
class Node:
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Const(Node):
    """A value as in NOTE(values)."""

    value: object
    type: Type


@dataclass(frozen=True)
class Var(Node):
    """The whole of a state variable, in the state before the step or (`primed`) after it."""

    name: str
    type: Type
    primed: bool = False


@dataclass(frozen=True)
class Local(Node):
    """A bound name: rule parameter, binder, let, or define parameter.  No name in scope has the same."""

    name: str
    type: Type


@dataclass(frozen=True)
class Index(Node):
    base: Expr  # of an Array type
    index: Expr  # of exactly its index type
    type: Type


@dataclass(frozen=True)
class Field(Node):
    base: Expr  # of a Record type
    name: str
    type: Type


@dataclass(frozen=True)
class Not(Node):
    operand: Expr
    type: Type = BOOL


@dataclass(frozen=True)
class Negate(Node):
    operand: Expr
    type: Type = INT


@dataclass(frozen=True)
class Arith(Node):
    """On ints; div and mod round down."""

    op: Literal["+", "-", "*", "/", "%"]
    left: Expr
    right: Expr
    type: Type = INT


@dataclass(frozen=True)
class Compare(Node):
    """`==`, `!=` on two values of one type; the others on ints (any mix of Int and Range)."""

    op: Literal["==", "!=", "<", "<=", ">", ">="]
    left: Expr
    right: Expr
    type: Type = BOOL


@dataclass(frozen=True)
class Logic(Node):
    op: Literal["&&", "||", "=>", "<=>"]
    left: Expr
    right: Expr
    type: Type = BOOL


@dataclass(frozen=True)
class SetOp(Node):
    """Union (`+`) and difference (`-`) of two sets of one type."""

    op: Literal["+", "-"]
    left: Expr
    right: Expr
    type: Type


@dataclass(frozen=True)
class InSet(Node):
    """`element in set`; the element has the set's element type."""

    element: Expr
    set: Expr
    type: Type = BOOL


@dataclass(frozen=True)
class InRange(Node):
    """`low <= value <= high`, each evaluated once, in the order value, low, high."""

    value: Expr
    low: Expr
    high: Expr
    type: Type = BOOL


@dataclass(frozen=True)
class IsMember(Node):
    """Whether a union value holds one of these members (`x in Cpu`)."""

    value: Expr  # of a Union type
    members: tuple[int, ...]
    type: Type = BOOL


@dataclass(frozen=True)
class If(Node):
    condition: Expr
    then: Expr
    otherwise: Expr
    type: Type


@dataclass(frozen=True)
class OverType:
    """Every value of a scalar type, by ordinal."""

    type: Type


@dataclass(frozen=True)
class OverRange:
    """low..high inclusive, bounds evaluated when the binder is entered; empty if high < low."""

    low: Expr
    high: Expr


@dataclass(frozen=True)
class OverSet:
    """The elements of a set, by ordinal, as the set was when the binder is entered."""

    set: Expr


@dataclass(frozen=True)
class Binder:
    """`name` takes each value of the domain; a later binder's domain may speak of earlier names."""

    name: str
    type: Type
    domain: OverType | OverRange | OverSet


@dataclass(frozen=True)
class Quant(Node):
    """forall, exists: `body` is a bool.  count: `body` is None.  sum, min, max: an int.
    set: the set of the values of `body` (the binder's own name) that pass the filter."""

    kind: Literal["forall", "exists", "count", "sum", "min", "max", "set"]
    binders: tuple[Binder, ...]
    filter: Expr | None
    body: Expr | None
    type: Type


@dataclass(frozen=True)
class MinMax(Node):
    """`min(a, b, ..)` of given ints, at least one."""

    kind: Literal["min", "max"]
    args: tuple[Expr, ...]
    type: Type = INT


@dataclass(frozen=True)
class Apply(Node):
    """A define applied; `primed`: evaluated in the state after the step."""

    define: str
    args: tuple[Expr, ...]
    type: Type
    primed: bool = False


@dataclass(frozen=True)
class MakeRecord(Node):
    values: tuple[Expr, ...]  # in field order, each of the field's type
    type: Type


@dataclass(frozen=True)
class MakeSet(Node):
    elements: tuple[Expr, ...]
    type: Type


@dataclass(frozen=True)
class MakeThreadId(Node):
    """The identity of a thread instance from its index values."""

    args: tuple[Expr, ...]
    type: Type


@dataclass(frozen=True)
class Size(Node):
    operand: Expr  # a set or a queue
    type: Type = INT


@dataclass(frozen=True)
class Head(Node):
    queue: Expr
    type: Type


@dataclass(frozen=True)
class Pushed(Node):
    """The queue with the value at its end."""

    queue: Expr
    value: Expr
    type: Type


@dataclass(frozen=True)
class Popped(Node):
    """The queue without its head."""

    queue: Expr
    type: Type


@dataclass(frozen=True)
class Cast(Node):
    """A value of one type as a value of another: member to union, union to member or to a wider or narrower union,
    int to range, range to range or int.  Narrowing may fault."""

    operand: Expr
    type: Type


Expr = (
    Const
    | Var
    | Local
    | Index
    | Field
    | Not
    | Negate
    | Arith
    | Compare
    | Logic
    | SetOp
    | InSet
    | InRange
    | IsMember
    | If
    | Quant
    | MinMax
    | Apply
    | MakeRecord
    | MakeSet
    | MakeThreadId
    | Size
    | Head
    | Pushed
    | Popped
    | Cast
)

TRUE = Const(True, BOOL)
FALSE = Const(False, BOOL)


def children(e: Expr) -> Iterator[Expr]:
    """The direct subexpressions, in order of evaluation (binder domains before filter before body)."""
    if isinstance(e, Quant):
        for b in e.binders:
            match b.domain:
                case OverRange(low, high):
                    yield low
                    yield high
                case OverSet(s):
                    yield s
                case OverType():
                    pass
        if e.filter is not None:
            yield e.filter
        if e.body is not None:
            yield e.body
        return
    for f in fields(e):
        value = getattr(e, f.name)
        if isinstance(value, Node):
            yield value  # type: ignore[misc]
        elif isinstance(value, tuple):
            for item in value:
                if isinstance(item, Node):
                    yield item  # type: ignore[misc]


def walk(e: Expr) -> Iterator[Expr]:
    """The expression and everything in it, parents first."""
    yield e
    for c in children(e):
        yield from walk(c)


T = TypeVar("T")


def rewrite(node: T, change: Callable[[Expr], Expr | None]) -> T:
    """The tree with every expression for which `change` gives another one replaced by that (not looked into again).

    Works on expressions, binders, domains, statements and tuples of these; shares what did not change.
    """
    if isinstance(node, tuple):
        items = tuple(rewrite(item, change) for item in node)
        return node if all(a is b for a, b in zip(items, node, strict=True)) else items  # type: ignore[return-value]
    if not is_dataclass(node) or isinstance(node, type):
        return node
    if isinstance(node, Node):
        new = change(node)  # type: ignore[arg-type]
        if new is not None:
            return new  # type: ignore[return-value]
    changed = {}
    for f in fields(node):
        if f.name in ("span", "type"):
            continue
        old = getattr(node, f.name)
        value = rewrite(old, change)
        if value is not old:
            changed[f.name] = value
    return replace(node, **changed) if changed else node


def substitute(body: Expr, values: Mapping[str, Expr]) -> Expr:
    """`body` with Locals of these names replaced (for the parameters of a define: its body has no others free)."""
    return rewrite(body, lambda e: values.get(e.name) if isinstance(e, Local) else None)

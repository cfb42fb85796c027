"""The tree of a binding file: which events of a log are which events of a spec (docs/conformance.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from hmmspec.conform.tree import Name as Name
from hmmspec.conform.tree import Number as Number
from hmmspec.conform.tree import Text as Text
from hmmspec.diagnostics import Node as Node
from hmmspec.records import dataclass

# ---------------------------------------------------------------- expressions over an event's fields


@dataclass(frozen=True)
class Any(Node):
    """`_`: every value."""


@dataclass(frozen=True)
class Impossible(Node):
    """`impossible`: no value."""


@dataclass(frozen=True)
class Get(Node):
    """`base[index]`."""

    base: Expr
    index: Expr


@dataclass(frozen=True)
class Profile(Node):
    """`profile.name`: a behaviour of the target."""

    name: str


@dataclass(frozen=True)
class Apply(Node):
    define: str
    args: tuple[Expr, ...]


@dataclass(frozen=True)
class Unary(Node):
    op: Literal["!", "-"]
    operand: Expr


@dataclass(frozen=True)
class Binary(Node):
    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class In(Node):
    value: Expr
    options: tuple[Expr, ...]


@dataclass(frozen=True)
class If(Node):
    condition: Expr
    then: Expr
    otherwise: Expr


Expr = Number | Text | Name | Any | Impossible | Get | Profile | Apply | Unary | Binary | In | If


# ---------------------------------------------------------------- what happens in the spec


@dataclass(frozen=True)
class Happens(Node):
    """One event of the spec.  `moment`: at some moment of the call, just as it is called, or just as it returns."""

    event: str
    args: tuple[Expr, ...]


@dataclass(frozen=True)
class Sees(Node):
    """An observation of the spec has this value at some moment of the call."""

    observation: str
    args: tuple[Expr, ...]
    value: Expr


@dataclass(frozen=True)
class Nothing(Node):
    """No event."""


@dataclass(frozen=True)
class Never(Node):
    """Nothing explains it."""


@dataclass(frozen=True)
class Forget(Node):
    """From here on this group of pages is not followed."""


@dataclass(frozen=True)
class Repeat(Node):
    """Any number of these events, in any order; none, too."""

    parts: tuple[Happens, ...]


@dataclass(frozen=True)
class Then(Node):
    """One after the other."""

    parts: tuple[Body, ...]


@dataclass(frozen=True)
class Or(Node):
    """One of these."""

    parts: tuple[Body, ...]


Body = Happens | Sees | Nothing | Never | Forget | Repeat | Then | Or


def happens(body: Body, sure: bool = True) -> Iterator[tuple[Happens, bool]]:
    """The events in a body, and whether it cannot be without them."""
    match body:
        case Happens():
            yield body, sure
        case Repeat(parts):
            for part in parts:
                yield part, False
        case Then(several):
            for each in several:
                yield from happens(each, sure)
        case Or(several):
            for each in several:
                yield from happens(each, sure and len(several) == 1)
        case _:
            return


# ---------------------------------------------------------------- a whole binding


@dataclass(frozen=True)
class Clause(Node):
    """`when condition: body`; `condition` None: `else`."""

    condition: Expr | None
    body: Body


@dataclass(frozen=True)
class On(Node):
    """What commands of some names mean.

    fields, results: the fields of the command and of its result that are spoken of; each: names that count on from
    their value, `of` how many; at: the key of the group concerned, empty: as `group by` says; joins: the key of a
    second group, which becomes one with the first; at_call, at_return: what happens just at these moments.
    """

    names: tuple[Name, ...]
    fields: tuple[Name, ...]
    results: tuple[Name, ...]
    each: tuple[Name, ...]
    of: Expr | None
    at: tuple[Expr, ...]
    joins: Expr | None
    clauses: tuple[Clause, ...]
    at_call: Body | None
    at_return: Body | None


@dataclass(frozen=True)
class Define(Node):
    name: Name
    params: tuple[Name, ...]
    body: Expr


@dataclass(frozen=True)
class Setting(Node):
    """A param of the spec: a number or a literal, or what the target's profile says (`profile.x`, else a default)."""

    param: Name
    value: Expr


@dataclass(frozen=True)
class Binding(Node):
    """A binding file.  spec: the path as written; group: the expressions whose values tell groups apart."""

    spec: Text
    settings: tuple[Setting, ...]
    doc: str
    group: tuple[Expr, ...]
    members: tuple[Name, ...]
    defines: tuple[Define, ...]
    ignored: tuple[Name, ...]
    also: tuple[Body, ...]
    ons: tuple[On, ...]

"""What values of types without bounds are made of.

    a scalar that may be an identity       `Described`: what it may be, with the condition of each
    Array over identities, Set of them     `Family`: the part for each identity

A scalar with identities is a symmetric type of `every`, a thread with such an index, or a union with one of these among
its members.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from hmmspec.checker.symbolic.formulas import Formula
from hmmspec.checker.symbolic.terms import Term
from hmmspec.checker.symbolic.values import SymValue
from hmmspec.diagnostics import Limit


class NotFirstOrder(Limit):
    """Something that cannot be said of types without bounds; the message says what, and what to write instead."""


class Uncountable(NotFirstOrder):
    """Identities of a type without bounds are counted."""


@dataclass(frozen=True)
class Plain:
    """A value of a member without identities."""

    member: int
    value: int


@dataclass(frozen=True)
class Known:
    """This identity."""

    member: int
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Read:
    """The identity of which `which` holds (of at most one, and of none where the condition beside it does not hold)."""

    member: int
    which: Callable[[tuple[Term, ...]], Formula]

    def __post_init__(self) -> None:
        object.__setattr__(self, "which", cache(self.which))


Key = Plain | Known  # one value, of a member of a type
Holder = Key | Read


@dataclass(frozen=True)
class Described:
    """What a value may be: exactly one condition holds."""

    options: tuple[tuple[Formula, Holder], ...]


@dataclass(frozen=True)
class Family:
    """A part for each value of a type that has identities."""

    part: Callable[[Key], SymValue]

    def __post_init__(self) -> None:
        # Parts are made when they are asked for, and each once.
        object.__setattr__(self, "part", cache(self.part))

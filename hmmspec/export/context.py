"""What an expression is evaluated in, and how a language goes through the values of a type."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hmmspec.export.places import Memory
from hmmspec.export.terms import Bounds, Scalar, Truth, Value
from hmmspec.system.types import Type


@dataclass(frozen=True)
class Context:
    """What names mean: locals, and variables after the writes of `memory`; primed ones after those of `after`."""

    names: Mapping[str, Value] = field(default_factory=dict)
    memory: Memory = ()
    after: Memory | None = None

    def with_names(self, **names: Value) -> Context:
        return Context({**self.names, **names}, self.memory, self.after)


@dataclass(frozen=True)
class Trouble:
    """Where evaluation is a spec error, and of what kind."""

    when: Truth
    kind: str


Choice = tuple[Scalar, Bounds]


class Spread(ABC):
    """How a language goes through the values of a type in a quantifier: one by one, or by binding a name."""

    @abstractmethod
    def over(self, t: Type, name: str) -> Sequence[Choice]:
        """Every value of a scalar type."""

    @abstractmethod
    def numbers(self, low: int, high: int, name: str) -> Sequence[Choice]:
        """Every number from low to high."""

"""Sets of configurations, the steps between them, and who works them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from hmmspec.conform.follow.bind import Bound
from hmmspec.conform.follow.shapes import Program
from hmmspec.system.run import State
from hmmspec.system.types import Symmetric

Places = tuple[int, ...]
Config = tuple[State, Places]
Rules = frozenset[int]
NONE: Rules = frozenset()


class TooMany(Exception):
    """More configurations than the limit: nothing is known from here on."""


# Made for each step that was not known: a frozen one would take three times as long to make.
@dataclass(eq=False, slots=True)
class Edge:
    """A step from node to node.  sure: rules that every explanation uses; maybe: rules that some explanation uses."""

    node: Node
    sure: Rules = NONE
    maybe: Rules = NONE


class Node:
    """A set of configurations.  `programs`: of the pending calls, oldest first; size: how many configurations; number:
    what `PackedSets` calls it.  Equal nodes are one object."""

    __slots__ = ("__weakref__", "_configs", "called", "mentions", "number", "programs", "ran", "returned", "size")

    def __init__(
        self,
        programs: tuple[Program, ...],
        size: int,
        configs: frozenset[Config] | Callable[[Node], Iterable[Config]],
        number: int = 0,
    ) -> None:
        self.programs, self.size, self.number = programs, size, number
        self._configs = configs
        self.called: dict[Program, Edge] = {}
        self.returned: dict[int, Edge] = {}
        self.ran: dict[Program, Edge] = {}
        self.mentions: tuple[int, ...] | None = None

    @property
    def configs(self) -> frozenset[Config]:
        return self._configs if isinstance(self._configs, frozenset) else frozenset(self._configs(self))


def forgotten(nodes: Iterable[Node]) -> None:
    """Forget the steps from these nodes."""
    for node in nodes:
        node.called.clear()
        node.returned.clear()
        node.ran.clear()


class States(Protocol):
    """Nodes of one bound System and the steps between them: `Sets`, or `PackedSets`, which is the same in C.

    All but `mentioned_by` raise TooMany.  largest: the size of the largest node so far.
    """

    bound: Bound
    members: tuple[Symmetric, ...]
    largest: int

    def start(self) -> Node: ...

    def node(self, programs: tuple[Program, ...], configs: Iterable[Config]) -> Node: ...

    def call(self, node: Node, program: Program) -> Edge: ...

    def back(self, node: Node, slot: int) -> Edge: ...

    def run(self, node: Node, program: Program) -> Edge: ...

    def mentions(self, node: Node) -> tuple[int, ...]: ...

    def mentioned_by(self, program: Program) -> tuple[int, ...]: ...

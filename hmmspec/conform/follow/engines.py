"""Who works out the sets of one bound System: the interpreter from the first event on, and C as soon as it is compiled.

Both come to the same sets, so that it makes no difference when one takes over from the other.
"""

from __future__ import annotations

from typing import Literal

from hmmspec.clib.compile import Building, CannotCompile
from hmmspec.conform.follow.bind import Bound
from hmmspec.conform.follow.nodes import Node, States, TooMany
from hmmspec.conform.follow.packed import Library, PackedSets
from hmmspec.conform.follow.sets import Sets
from hmmspec.conform.follow.unit import text_for
from hmmspec.diagnostics import Limit
from hmmspec.system.faults import SpecFault

Kind = Literal["auto", "python", "native"]

OPTIONS = ("-O1",)  # compiling takes longer than most logs: it is to be over soon
WORTH_IT = 3_000  # steps that the interpreter has worked out when the compiler is started: some tenths of a second


class Engine:
    """The sets of one bound System.

    kind: 'python': the interpreter's; 'native': those in C, or where there is no compiler the interpreter's; 'auto':
    those in C if they were compiled before, else the interpreter's until they are.
    states: the sets to follow with; first: the start; why: what is in the way of following at all, '' if nothing;
    remark: why it cannot be C; settled: nothing better will come.
    """

    def __init__(self, bound: Bound, limit: int, kind: Kind) -> None:
        self.plain = Sets(bound, limit)
        self.states: States = self.plain
        self.remark = ""
        self.settled = kind == "python"
        self._bound, self._limit = bound, limit
        self._building: Building | None = None
        if not self.settled:
            try:
                self._text = text_for(bound, self.plain.members)
                self._building = Building(self._text, OPTIONS, only_cached=kind == "auto")
                if kind == "native":
                    self._building.wait()
            except (Limit, CannotCompile) as error:
                self._never(error)
            self.states = self.better() or self.plain
        self.first, self.why = self._start()

    def better(self) -> States | None:
        """The sets in C, if there are any now; the compiler is started if it is worth it."""
        if self.settled or self._building is None:
            return None
        try:
            built = self._building.ready()
            if built is not None:
                found = PackedSets(self.plain, self._limit, Library(built))
                self.settled = True
                return found
            if not self._building.running and self.plain.worked >= WORTH_IT:
                self._building = Building(self._text, OPTIONS)
        except (Limit, CannotCompile) as error:
            self._never(error)
        return None

    def _never(self, why: Exception) -> None:
        self.remark = str(why)
        self.settled = True

    def _start(self) -> tuple[Node, str]:
        """The start states, or why there are none to follow from."""
        try:
            node = self.states.start()
        except TooMany as error:
            return self.states.node((), ()), str(error) or too_many(self._limit)
        except SpecFault as fault:
            return self.states.node((), ()), f"the spec's start errs: {fault.fault.message}"
        return node, "" if node.size else "the spec has no start state"


def too_many(limit: int) -> str:
    """Why a group is given up whose set has grown beyond the limit."""
    return f"more than {limit} states of the spec explain what was seen"

"""Breadth-first search over all reachable states: levels make every trace found here a shortest one.

Kept per state: the packed state (a key of one dict, whose order is the numbering) and the number of its parent.  Which
step led from a parent to a state is found again by running the parent once more.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from hmmspec.checker.explicit.chance import Starts
from hmmspec.checker.explicit.edges import Edges, Units
from hmmspec.checker.explicit.findings import Finding, Findings
from hmmspec.checker.explicit.limits import LimitReached, Meter
from hmmspec.checker.explicit.monitors import Faults, Monitor, StateQuestions
from hmmspec.checker.explicit.symmetry import Symmetry
from hmmspec.system.faults import Fault, SpecFault
from hmmspec.system.run import Interpreter, State

_BETWEEN_TICKS = 128  # states
STARTS_LOOKED_AT = 16  # for each state that may be stored: of many start states one may be kept, by symmetry


@dataclass
class Graph:
    """What the search saw.

    number: stored state -> its number, in order; parents: number -> number of the state it was reached from, -1 for a
    start; expanded: states 0..expanded-1 have had all their steps looked at; full: how many states the stored ones
    stand for; fired: transitions per rule; erred: steps per rule that ended in an error; start_erred: the start itself
    is an error, and there is nothing to search; some_starts: it did not begin in all start states; complete: nothing is
    left (limit and interrupted may still tell of what came after the search).
    """

    number: dict[State, int] = field(default_factory=dict)
    parents: array[int] = field(default_factory=lambda: array("q"))
    expanded: int = 0
    full: int = 0
    transitions: int = 0
    depth: int = 0
    fired: list[int] = field(default_factory=list)
    erred: list[int] = field(default_factory=list)
    edges: Edges | None = None
    limit: str = ""
    interrupted: bool = False
    start_erred: bool = False
    some_starts: bool = False
    complete: bool = False

    @property
    def stored(self) -> int:
        """How many states are stored."""
        return len(self.number)

    def states(self) -> list[State]:
        """The stored states by number."""
        return list(self.number)

    def path(self, number: int) -> list[int]:
        """The numbers of the states from a start to this one."""
        out = [number]
        while self.parents[out[-1]] >= 0:
            out.append(self.parents[out[-1]])
        out.reverse()
        return out


def first_value_error(interp: Interpreter) -> Finding | None:
    """Why there is nothing to search: a first value errs."""
    if interp.initial_fault is None:
        return None
    return Finding(-1, error=interp.initial_fault, message="in the start")


def assume_error(fault: Fault) -> Finding:
    """Why there is nothing to search: an assume errs in some start state."""
    return Finding(-1, error=fault, message="in an assume, at the start")


class _Full(Exception):
    """No room for another state."""


class Search:
    """One search; `run` may be called once.  starts: where it begins, None for all start states."""

    def __init__(
        self,
        interp: Interpreter,
        meter: Meter,
        findings: Findings,
        questions: StateQuestions,
        monitors: Sequence[Monitor] = (),
        symmetry: Symmetry | None = None,
        units: Units | None = None,
        keep_edges: bool = False,
        at_start: Callable[[int, State], None] | None = None,
        starts: Starts | None = None,
    ) -> None:
        self.interp, self.meter, self.findings, self.questions = interp, meter, findings, questions
        self.monitors, self.symmetry, self.units = tuple(monitors), symmetry, units
        self.at_start, self.starts = at_start, starts
        rules = len(interp.system.rules)
        self.graph = Graph(fired=[0] * rules, erred=[0] * rules, edges=Edges() if keep_edges else None)
        self.cap = meter.limits.states

    def run(self) -> Graph:
        """Search until nothing is left, a limit is reached or the user interrupts.  Never raises for those."""
        g = self.graph
        try:
            self._start()
            low = 0
            while low < len(g.parents):
                frontier = self._frontier(low)
                low = len(g.parents)
                self.findings.new_level()
                if g.edges is None and self.symmetry is None:
                    self._level(frontier)
                else:
                    self._level_with_edges(frontier)
                if len(g.parents) > low:
                    g.depth += 1
            g.complete = g.start_erred or not g.some_starts
        except LimitReached as e:
            g.limit = str(e)
        except _Full:
            g.limit = f"limit of {self.cap} states"
        except KeyboardInterrupt:
            g.interrupted = True
        self._tidy()
        return g

    def _frontier(self, low: int) -> list[State]:
        # The states of one level: dicts keep order, so they are the last ones.
        out: list[State] = []
        for s in reversed(self.graph.number):
            if len(out) == len(self.graph.parents) - low:
                break
            out.append(s)
        out.reverse()
        return out

    def _tidy(self) -> None:
        """After an interrupt between two statements: dict, parents and edges agree again."""
        g = self.graph
        while len(g.number) > len(g.parents):
            g.number.popitem()
        if g.edges is not None:
            del g.edges.target[g.edges.first[-1] :]
            del g.edges.units[g.edges.first[-1] :]
            g.expanded = min(g.expanded, len(g.edges))
        if self.symmetry is None:
            g.full = len(g.number)

    def _start(self) -> None:
        error = first_value_error(self.interp)
        if self.starts is not None and self.starts.fault is not None:
            error = assume_error(self.starts.fault)
        if error is not None:
            self._nothing_to_search(error)
            return
        g, symmetry = self.graph, self.symmetry
        if self.starts is not None:
            states: Iterable[State] = self.starts.states
            g.some_starts = not self.starts.whole
        else:
            states = self.interp.initial(lambda: self.meter.tick("start", len(g.number)))
        try:
            for looked, s in enumerate(states):
                if symmetry is not None:
                    if self.cap is not None and looked > STARTS_LOOKED_AT * self.cap:
                        raise _Full
                    s = symmetry.canonical(s)
                if s not in g.number:
                    number = self._new(s, -1)
                    if self.at_start is not None:
                        self.at_start(number, s)
        except SpecFault as e:  # start states are made one by one, as they are asked for
            self._nothing_to_search(assume_error(e.fault))

    def _nothing_to_search(self, error: Finding) -> None:
        """The start is an error: what its other states showed does not count."""
        g = self.graph
        g.number.clear()
        del g.parents[:]
        g.full, g.start_erred = 0, True
        self.findings.clear()
        self.questions.answered.clear()
        self.findings.add("spec_error", error)

    def _new(self, s: State, parent: int) -> int:
        g = self.graph
        n = len(g.parents)
        if n == self.cap:
            raise _Full
        if self.symmetry is not None:
            g.full += self.symmetry.size
        g.number[s] = n
        g.parents.append(parent)
        self._judge(n, s)
        return n

    def _judge(self, n: int, s: State) -> None:
        try:
            if self.questions.nothing_new(s):
                return
        except SpecFault:
            pass
        self.questions.look(n, s)

    def _level(self, frontier: list[State]) -> None:
        """Expand one level: the plain case, kept short because everything waits for it."""
        g, meter, monitors, questions = self.graph, self.meter, self.monitors, self.questions
        expand, seen, add_parent, fired = self.interp.expand, g.number, g.parents.append, g.fired
        cap = -1 if self.cap is None else self.cap
        n, first = len(g.parents), g.expanded
        transitions = g.transitions
        asked = not questions.idle
        nothing_new = questions.nothing_new
        number = first
        try:
            for number, s in enumerate(frontier, first):
                if number % _BETWEEN_TICKS == 0:
                    meter.tick("search", n, n - number, transitions, g.depth)
                steps, faults = expand(s)
                for monitor in monitors:
                    monitor.see(number, s, steps, faults)
                for rule, _, t in steps:
                    fired[rule] += 1
                    if t not in seen:
                        if n == cap:
                            raise _Full
                        seen[t] = n
                        add_parent(number)
                        if asked:
                            try:
                                quiet = nothing_new(t)
                            except SpecFault:
                                quiet = False
                            if not quiet:
                                questions.look(n, t)
                                nothing_new, asked = questions.nothing_new, not questions.idle
                        n += 1
                transitions += len(steps)
                if faults:
                    transitions += len(faults)
                    self._errors(number, faults)
            number += 1
        finally:
            g.transitions, g.expanded = transitions, number

    def _level_with_edges(self, frontier: list[State]) -> None:
        """Expand one level with symmetry, or keeping the edges, or both."""
        g, meter, symmetry, edges, units = self.graph, self.meter, self.symmetry, self.graph.edges, self.units
        seen, fired = g.number, g.fired
        known = units.known if units is not None else {}
        for number, s in enumerate(frontier, g.expanded):
            if number % _BETWEEN_TICKS == 0:
                meter.tick("search", len(g.parents), len(g.parents) - number, g.transitions, g.depth)
            steps, faults = self.interp.expand(s)
            for monitor in self.monitors:
                monitor.see(number, s, steps, faults)
            for rule, args, t in steps:
                fired[rule] += 1
                target = seen.get(t)
                if target is None:
                    if symmetry is not None:
                        t = symmetry.canonical(t)
                        target = seen.get(t)
                    if target is None:
                        target = self._new(t, number)
                if edges is not None and units is not None:
                    edges.target.append(target)
                    label = known.get((rule, args))
                    edges.units.append(units.set_of(rule, args) if label is None else label)
            if edges is not None and units is not None:
                edges.close(number, {units.set_of(rule, args) for rule, args, _ in faults})
            g.transitions += len(steps) + len(faults)
            if faults:
                self._errors(number, faults)
            g.expanded = number + 1

    def _errors(self, number: int, faults: Faults) -> None:
        for rule, args, fault in faults:
            self.graph.erred[rule] += 1
            self.findings.add(fault.name, Finding(number, fault=(rule, args, fault)))

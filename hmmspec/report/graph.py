"""The reachable states of a small instance as a diagram."""

from __future__ import annotations

from collections import deque

import networkx as nx

from hmmspec.checker.trace import actor, show_args
from hmmspec.checker.verdict import TraceStep
from hmmspec.diagnostics import Limit
from hmmspec.report.dot import Diagram, Edge, Vertex
from hmmspec.report.trace_text import state_groups, step_title
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State, at_most
from hmmspec.system.system import Invariant

_SHOWN_CELLS = 12  # a state with more of them is a number, and its cells a tool tip
_CANDIDATES = 1000  # for start states, for each state that may be drawn


def graph_of(interp: Interpreter, most: int) -> Diagram:
    """Every reachable state and step.

    States that break an invariant are marked, and so are those that a run never leaves again as a group (a final
    strongly connected component) unless that is the whole graph.  Raises Limit past `most` states.
    """
    numbers: dict[State, int] = {}
    todo: deque[State] = deque()

    def number(state: State) -> str:
        if state not in numbers:
            if len(numbers) == most:
                raise Limit(f"instance {interp.system.instance} has more than {most} states: see --max-states")
            numbers[state] = len(numbers)
            todo.append(state)
        return str(numbers[state])

    hidden = (
        f"instance {interp.system.instance} has too many first values to find {most} start states: see --max-states"
    )
    for start in interp.initial(at_most(_CANDIDATES * most, Limit(hidden))):
        number(start)
    starts = len(numbers)
    edges: list[Edge] = []
    ends: list[Vertex] = []
    while todo:
        state = todo.popleft()
        steps, failures = interp.expand(state)
        edges += [Edge(number(state), number(after), _title(interp, rule, args)) for rule, args, after in steps]
        for rule, args, fault in failures:
            ends.append(Vertex(f"fault {len(ends)}", fault.message, "bad"))
            edges.append(Edge(number(state), ends[-1].key, _title(interp, rule, args)))
    final = _final(len(numbers), edges)
    vertices = [_vertex(interp, state, i, i < starts, str(i) in final) for state, i in numbers.items()]
    title = f"{interp.system.name}, instance {interp.system.instance}: {len(numbers)} states"
    return Diagram(title, (*vertices, *ends), tuple(edges))


def _final(count: int, edges: list[Edge]) -> frozenset[str]:
    """The states in strongly connected components that no edge leaves; none if that is every state."""
    graph: nx.DiGraph[str] = nx.DiGraph([(e.source, e.target) for e in edges])
    graph.add_nodes_from(str(i) for i in range(count))
    parts = nx.condensation(graph)
    final = frozenset(v for part, out in parts.out_degree() if out == 0 for v in parts.nodes[part]["members"])
    return final if len(final) < count else frozenset()


def _vertex(interp: Interpreter, state: State, number: int, start: bool, final: bool) -> Vertex:
    cells = interp.cells(state)
    told = "\n".join(", ".join(group) for group in state_groups(cells))
    label = told if len(cells) <= _SHOWN_CELLS else str(number)
    return Vertex(str(number), label, _tone(interp, state, start, final), told)


def _tone(interp: Interpreter, state: State, start: bool, final: bool) -> str:
    if _broken(interp, state):
        return "bad"
    return "initial" if start else "final" if final else ""


def _broken(interp: Interpreter, state: State) -> bool:
    try:
        return not all(interp.predicate(p.body)(state) for p in interp.system.properties if isinstance(p, Invariant))
    except SpecFault:
        return True


def _title(interp: Interpreter, number: int, args: tuple[object, ...]) -> str:
    rule = interp.system.rules[number]
    return step_title(TraceStep(rule.name, actor(rule, args), show_args(rule, args), (), {}))

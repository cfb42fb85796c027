"""The reachable states of a small instance as a diagram."""

from __future__ import annotations

from collections import deque

from hmmspec.checker.trace import actor, show_args
from hmmspec.checker.verdict import TraceStep
from hmmspec.diagnostics import Limit
from hmmspec.report.dot import Diagram, Edge, Vertex
from hmmspec.report.trace_text import state_groups, step_title
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import Invariant

_SHOWN_CELLS = 12  # a state with more of them is a number, and its cells a tool tip


def graph_of(interp: Interpreter, most: int) -> Diagram:
    """Every reachable state and step; states that break an invariant are marked.  Raises Limit past `most` states."""
    numbers: dict[State, int] = {}
    todo: deque[State] = deque()

    def number(state: State) -> str:
        if state not in numbers:
            if len(numbers) == most:
                raise Limit(f"instance {interp.system.instance} has more than {most} states: see --max-states")
            numbers[state] = len(numbers)
            todo.append(state)
        return str(numbers[state])

    for start in interp.initial():
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
    vertices = [_vertex(interp, state, i, i < starts) for state, i in numbers.items()]
    title = f"{interp.system.name}, instance {interp.system.instance}: {len(numbers)} states"
    return Diagram(title, (*vertices, *ends), tuple(edges))


def _vertex(interp: Interpreter, state: State, number: int, start: bool) -> Vertex:
    cells = interp.cells(state)
    told = "\n".join(", ".join(group) for group in state_groups(cells))
    label = told if len(cells) <= _SHOWN_CELLS else str(number)
    return Vertex(str(number), label, "bad" if _broken(interp, state) else "initial" if start else "", told)


def _broken(interp: Interpreter, state: State) -> bool:
    try:
        return not all(interp.predicate(p.body)(state) for p in interp.system.properties if isinstance(p, Invariant))
    except SpecFault:
        return True


def _title(interp: Interpreter, number: int, args: tuple[object, ...]) -> str:
    rule = interp.system.rules[number]
    return step_title(TraceStep(rule.name, actor(rule, args), show_args(rule, args), (), {}))

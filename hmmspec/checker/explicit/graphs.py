"""Graph algorithms over stored edges: strongly connected components, shortest paths, backward closure."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from hmmspec.checker.explicit.edges import Edges


class _Sparse(dict[int, int]):
    """A table of numbers, 0 where nothing is written."""

    def __missing__(self, key: int) -> int:
        return 0


_DENSE = 4  # a table of all states, once more than one in so many is concerned


def components(nodes: Sequence[int], edges: Edges) -> Iterator[list[int]]:
    """Strongly connected components of the graph restricted to `nodes` (Tarjan 1972, without recursion)."""
    size = max(nodes, default=0) + 1
    top = max(size, len(edges))
    dense = len(nodes) * _DENSE > top
    inside: _Sparse | bytearray = bytearray(top) if dense else _Sparse()
    on_stack: _Sparse | bytearray = bytearray(top) if dense else _Sparse()
    index: _Sparse | array[int] = array("i", bytes(4 * top)) if dense else _Sparse()
    low: _Sparse | array[int] = array("i", bytes(4 * top)) if dense else _Sparse()
    for v in nodes:
        inside[v] = 1
    first, target = edges.first, edges.target
    count = 0
    stack: list[int] = []
    for root in nodes:
        if index[root]:
            continue
        count += 1
        index[root] = low[root] = count
        stack.append(root)
        on_stack[root] = 1
        work = [(root, iter(target[first[root] : first[root + 1]]))]
        while work:
            v, todo = work[-1]
            for w in todo:
                if w >= top or not inside[w]:
                    continue
                if not index[w]:
                    count += 1
                    index[w] = low[w] = count
                    stack.append(w)
                    on_stack[w] = 1
                    work.append((w, iter(target[first[w] : first[w + 1]])))
                    break
                if on_stack[w] and index[w] < low[v]:
                    low[v] = index[w]
            else:
                work.pop()
                if work and low[v] < low[work[-1][0]]:
                    low[work[-1][0]] = low[v]
                if low[v] == index[v]:
                    component = []
                    while True:
                        w = stack.pop()
                        on_stack[w] = 0
                        component.append(w)
                        if w == v:
                            break
                    yield component


def backward_closure(edges: Edges, count: int, goals: Iterable[int]) -> bytearray:
    """For each of the states 0..count-1 whether some path leads from it to a goal."""
    start = array("q", bytes(8 * (count + 1)))
    for t in edges.target:
        start[t + 1] += 1
    for i in range(count):
        start[i + 1] += start[i]
    fill = array("q", start)
    sources = array("i", bytes(4 * len(edges.target)))
    for i in range(len(edges)):
        for e in range(edges.first[i], edges.first[i + 1]):
            t = edges.target[e]
            sources[fill[t]] = i
            fill[t] += 1
    reached = bytearray(count)
    todo: list[int] = []
    for goal in goals:
        reached[goal] = 1
        todo.append(goal)
    while todo:
        t = todo.pop()
        for s in sources[start[t] : start[t + 1]]:
            if not reached[s]:
                reached[s] = 1
                todo.append(s)
    return reached


# An edge as a path lists it: (number of the set of units, target).
Hop = tuple[int, int]


def shortest_path(
    start: int, wanted: Callable[[int, int, int], bool], out: Callable[[int], Iterable[tuple[int, int]]]
) -> list[Hop] | None:
    """The fewest edges from `start` whose last (source, units, target) is wanted; `out` gives (target, units)."""
    came: dict[int, tuple[int, int]] = {start: (start, 0)}
    queue = deque([start])
    while queue:
        v = queue.popleft()
        for target, units in out(v):
            if wanted(v, units, target):
                path = [(units, target)]
                while v != start:
                    before, units_in = came[v]
                    path.append((units_in, v))
                    v = before
                path.reverse()
                return path
            if target not in came:
                came[target] = (v, units)
                queue.append(target)
    return None

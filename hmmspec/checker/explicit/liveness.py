"""`leads_to` under weak and strong fairness: is there a fair run that sees P and from then on never Q?

For each value of the binders the states with !Q that a state with P && !Q reaches through states with !Q are cut into
strongly connected components, and each is judged: a unit of weak fairness must be taken in it or be disabled somewhere
in it; one of strong fairness must be taken in it or be enabled nowhere in it - else the states that enable it are left
out and what remains is cut again (Emerson and Lei 1985).  Staying in one state for ever is a run too: fair where no
fair unit is enabled.  A step that ends in an error is enabled, but is part of no infinite run.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hmmspec.checker.explicit.edges import Edges, Units
from hmmspec.checker.explicit.graphs import Hop, components, shortest_path
from hmmspec.checker.explicit.limits import Meter
from hmmspec.checker.explicit.search import Graph

_BETWEEN_TICKS = 4096


@dataclass(frozen=True)
class Lasso:
    """stem: numbers of the states from a start to where the loop begins; pending: where in it P holds; loop: the edges
    of the loop, none if the run stays where it is."""

    stem: tuple[int, ...]
    pending: int
    loop: tuple[Hop, ...]


class FairRuns:
    """Answers questions about fair runs of one graph."""

    def __init__(self, graph: Graph, units: Units, meter: Meter) -> None:
        assert graph.edges is not None
        self.graph, self.units, self.meter = graph, units, meter
        self.edges: Edges = graph.edges
        self.sets: list[frozenset[int]] = []
        self.enabled = array("i")  # state -> number of the set of its enabled units
        self.depths = array("i")
        numbers: dict[frozenset[int], int] = {}
        for i in range(len(self.edges)):
            if i % _BETWEEN_TICKS == 0:
                meter.tick("leads_to", i)
            enabled = self.edges.enabled(i, units)
            if enabled not in numbers:
                numbers[enabled] = len(self.sets)
                self.sets.append(enabled)
            self.enabled.append(numbers[enabled])
        for parent in graph.parents:
            self.depths.append(0 if parent < 0 else self.depths[parent] + 1)
        self.strong = frozenset(u for u in range(len(units.keys)) if units.strong(u))

    def lasso(self, left: bytearray, right: bytearray) -> Lasso | None:
        """A fair run that sees a state of `left` and, from it on, none of `right`; a short one if there are several.
        Only states that were expanded take part, so what is found is real even where the search is incomplete."""
        region, came = self._region(left, right)
        best: tuple[int, int, list[int]] | None = None
        order = array("i", bytes(4 * len(self.edges)))
        for d, v in enumerate(region):
            order[v] = d
        for fair in self._fair_components(region):
            resting = [v for v in fair if not self.sets[self.enabled[v]]]
            entry = min(resting or fair, key=order.__getitem__)
            # A run that comes to rest says more than a loop does: prefer it where both begin equally early.
            rank = (order[entry], 0 if resting else 1)
            if best is None or rank < best[:2]:
                best = (*rank, fair)
        if best is None:
            return None
        entry = region[best[0]]
        hops = () if best[1] == 0 else tuple(self._loop(entry, best[2]))
        tail = [entry]
        while came[tail[-1]] >= 0:
            tail.append(came[tail[-1]])
        tail.reverse()
        stem = self.graph.path(tail[0])
        return Lasso((*stem, *tail[1:]), len(stem) - 1, hops)

    def _region(self, left: bytearray, right: bytearray) -> tuple[list[int], array[int]]:
        """The states of interest in order of their distance from a start through a state of `left`, and for each the
        one it is reached from (-1: it is a state of `left`)."""
        edges, count = self.edges, len(self.edges)
        came = array("i", [-2]) * count
        buckets: dict[int, list[int]] = {}
        for i in range(count):
            if left[i] and not right[i]:
                buckets.setdefault(self.depths[i], []).append(i)
        region: list[int] = []
        level: list[int] = []
        depth = min(buckets, default=0)
        while level or buckets:
            for i in buckets.pop(depth, ()):
                if came[i] == -2:
                    came[i] = -1
                    level.append(i)
            self.meter.tick("leads_to", len(region), len(level))
            following: list[int] = []
            for v in level:
                region.append(v)
                for w in edges.target[edges.first[v] : edges.first[v + 1]]:
                    if w < count and came[w] == -2 and not right[w]:
                        came[w] = v
                        following.append(w)
            level = following
            depth += 1
            if not level and buckets:
                depth = min(buckets)
        return region, came

    def _fair_components(self, nodes: Sequence[int]) -> Iterator[list[int]]:
        todo = [nodes]
        while todo:
            for component in components(todo.pop(), self.edges):
                if len(component) == 1 and self.sets[self.enabled[component[0]]]:
                    v = component[0]
                    if all(w != v for w in self.edges.target[self.edges.first[v] : self.edges.first[v + 1]]):
                        continue  # neither a loop nor a state to rest in
                unfair, refused = self._judge(component)
                if refused:
                    continue
                if not unfair:
                    yield component
                else:
                    rest = [v for v in component if not (self.sets[self.enabled[v]] & unfair)]
                    if rest:
                        todo.append(rest)

    def _judge(self, component: list[int]) -> tuple[frozenset[int], bool]:
        """The units of strong fairness that are enabled but not taken; whether weak fairness rules all of it out."""
        taken: frozenset[int] = frozenset().union(*(self.units.sets[n] for n in self._labels(component)))
        sets = [self.sets[n] for n in {self.enabled[v] for v in component}]
        always = frozenset.intersection(*sets)
        ever = frozenset[int]().union(*sets)
        return (ever - taken) & self.strong, bool((always - taken) - self.strong)

    def _labels(self, component: list[int]) -> set[int]:
        inside = set(component)
        return {units for v in component for target, units in self.edges.out(v) if target in inside}

    def _loop(self, entry: int, component: list[int]) -> list[Hop]:
        """A short closed walk from `entry` within the component that is fair to every unit."""
        inside = set(component)
        sets = [self.sets[n] for n in {self.enabled[v] for v in component}]
        ever = frozenset[int]().union(*sets)
        open_units = set(ever)

        def out(v: int) -> Iterator[tuple[int, int]]:
            return ((t, n) for t, n in self.edges.out(v) if t in inside)

        def satisfied(units: int, target: int) -> frozenset[int]:
            """The open units that this edge, or weak ones that the state it leads to, does justice to."""
            idle = frozenset(u for u in open_units if u not in self.strong and u not in self._enabled(target))
            return (self.units.sets[units] & open_units) | idle

        open_units -= {u for u in open_units if u not in self.strong and u not in self._enabled(entry)}
        walk: list[Hop] = []
        here = entry
        while open_units:
            part = shortest_path(here, lambda _, units, target: bool(satisfied(units, target)), out)
            assert part is not None, "a fair component has no fair loop"
            for units, target in part:
                open_units -= satisfied(units, target)
            walk.extend(part)
            here = part[-1][1]
        if here != entry or not walk:
            back = shortest_path(here, lambda _s, _u, target: target == entry, out)
            assert back is not None, "a component is not strongly connected"
            walk.extend(back)
        return walk

    def _enabled(self, v: int) -> frozenset[int]:
        return self.sets[self.enabled[v]]

"""`leads_to` under fairness on the quotient, with track kept of who is who (Emerson and Sistla 1996).

NOTE(threads): a step from a representative leads to a state that some renaming g makes a representative again.  Where
the step is followed, all that is watched is renamed along with it: the values of the property's binders, and the units
of fairness.  A watched value w is part of the node (representative, w); there are few.  For the units it is enough to
know, within a strongly connected component, which renamings its closed walks make: they are a group, and a unit at one
node becomes, round and round, just those of its orbit under that group.  Some run round the whole component is fair if
and only if each orbit has a node or edge where one of its units, under the name that it has there, is treated fairly:
the group brings every other unit of the orbit to the same place.  A spanning tree says what a unit is called elsewhere,
and the edges off the tree give the group.

None of this asks that a representative is unique in its orbit, only that each state has one.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hmmspec.checker.explicit.edges import Edges, Units
from hmmspec.checker.explicit.findings import Finding, Findings
from hmmspec.checker.explicit.graphs import components
from hmmspec.checker.explicit.limits import Meter
from hmmspec.checker.explicit.renamings import IDENTITY, Renamings, Watched
from hmmspec.checker.explicit.runs import Step
from hmmspec.checker.explicit.search import Graph
from hmmspec.checker.explicit.symmetry import Symmetry
from hmmspec.checker.explicit.temporal import bindings, sides
from hmmspec.system.expr import Local
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import LeadsTo

_BETWEEN_TICKS = 1024

# What one step does: the renaming that makes its result a representative, and the number of its set of units.
Label = tuple[int, int]


@dataclass
class Region:
    """The nodes (representative, value of the binders) that a pending one reaches with the right side never true, in
    order of their distance from a start; `came`: from which node, -1 for one where the left side holds.  The `units`
    of its edges are numbers of labels."""

    state: array[int] = field(default_factory=lambda: array("i"))
    watched: array[int] = field(default_factory=lambda: array("i"))
    came: array[int] = field(default_factory=lambda: array("i"))
    edges: Edges = field(default_factory=Edges)


@dataclass(frozen=True)
class FairComponent:
    """Nodes of a region round which a fair run can go for ever, or stay at `entry`."""

    region: Region
    nodes: list[int]
    entry: int
    rests: bool


class Quotient:
    """The edges of a graph of representatives with their renamings, and the questions about its fair runs."""

    def __init__(
        self, interp: Interpreter, graph: Graph, states: Sequence[State], symmetry: Symmetry, units: Units, meter: Meter
    ) -> None:
        assert graph.edges is not None
        self.interp, self.graph, self.states, self.symmetry = interp, graph, states, symmetry
        self.edges: Edges = graph.edges
        self.units, self.meter = units, meter
        self.renamings = Renamings(interp.system, symmetry, units)
        self.labels: list[Label] = []
        self._label: dict[Label, int] = {}
        self._moves: dict[int, list[tuple[int, int]]] = {}
        self._enabled: dict[int, frozenset[int]] = {}
        self._same: dict[frozenset[int], frozenset[int]] = {}
        self.depths = array("i")
        for parent in graph.parents:
            self.depths.append(0 if parent < 0 else self.depths[parent] + 1)

    # ------------------------------------------------------------ edges

    def steps(self, r: int) -> Iterator[tuple[Step, int, int]]:
        """Every step from a representative, with the number of its target and of its label."""
        first = self.edges.first[r]
        for e, step in enumerate(self.interp.expand(self.states[r])[0], first):
            t, target = step[2], self.edges.target[e]
            same = t == self.states[target]
            g = IDENTITY if same else self.renamings.number(self.symmetry.renaming(t))
            label = (g, self.edges.units[e])
            number = self._label.get(label)
            if number is None:
                number = self._label[label] = len(self.labels)
                self.labels.append(label)
            yield step, target, number

    def moves(self, r: int) -> list[tuple[int, int]]:
        """The different (target, number of the label) of its steps."""
        found = self._moves.get(r)
        if found is None:
            found = self._moves[r] = list(dict.fromkeys((target, label) for _, target, label in self.steps(r)))
        return found

    def enabled(self, r: int) -> frozenset[int]:
        """The units that have an enabled step in a representative."""
        found = self._enabled.get(r)
        if found is None:
            found = self.edges.enabled(r, self.units)
            found = self._enabled[r] = self._same.setdefault(found, found)
        return found

    # ------------------------------------------------------------ pending nodes

    def region(self, watched: Watched, members: list[int], left: list[bytearray], right: list[bytearray]) -> Region:
        """For the values of one class.  Only states that were expanded take part, so what is found is real even where
        the search is incomplete.  `left`, `right`: for each value, the representatives where the side holds."""
        count, width = len(self.edges), len(watched.all)
        out = Region()
        numbers: dict[int, int] = {}
        starts: dict[int, list[tuple[int, int]]] = {}
        for w in members:
            r = left[w].find(1)
            while 0 <= r < count:
                if not right[w][r]:
                    starts.setdefault(self.depths[r], []).append((r, w))
                r = left[w].find(1, r + 1)

        def add(r: int, w: int, came: int) -> int:
            number = numbers[r * width + w] = len(out.state)
            out.state.append(r)
            out.watched.append(w)
            out.came.append(came)
            return number

        actions: dict[int, tuple[int, ...]] = {}
        target_of, label_of = out.edges.target, out.edges.units
        depth, here = min(starts, default=0), 0
        while here < len(out.state) or starts:
            if here == len(out.state):
                depth = max(depth, min(starts))
            for r, w in sorted(starts.pop(depth, ())):
                if r * width + w not in numbers:
                    add(r, w, -1)
            end = len(out.state)
            for v in range(here, end):
                if v % _BETWEEN_TICKS == 0:
                    self.meter.tick("leads_to", v, len(out.state) - v)
                r, w = out.state[v], out.watched[v]
                for target, label in self.moves(r):
                    if target >= count:
                        continue
                    action = actions.get(label)
                    if action is None:
                        action = actions[label] = watched.action(self.labels[label][0])
                    moved = action[w]
                    if right[moved][target]:
                        continue
                    number = numbers.get(target * width + moved)
                    target_of.append(add(target, moved, v) if number is None else number)
                    label_of.append(label)
                out.edges.close(v, set())
            here, depth = end, depth + 1
        return out

    # ------------------------------------------------------------ fairness

    def fair(self, region: Region) -> FairComponent | None:
        """Where the earliest fair run that stays in the region begins to go round, if there is one."""
        best: FairComponent | None = None
        for nodes in self._fair_components(region):
            resting = [v for v in nodes if not self.enabled(region.state[v])]
            found = FairComponent(region, nodes, min(resting or nodes), bool(resting))
            # A run that comes to rest says more than a loop does: prefer it where both begin equally early.
            if best is None or (found.entry, not found.rests) < (best.entry, not best.rests):
                best = found
        return best

    def _fair_components(self, region: Region) -> Iterator[list[int]]:
        todo: list[Sequence[int]] = [range(len(region.state))]
        tree = array("i", [-1]) * len(region.state)
        while todo:
            for nodes in components(todo.pop(), region.edges):
                for v in self._spread(region, nodes, tree):
                    if v % _BETWEEN_TICKS == 0:
                        self.meter.tick("leads_to", v)
                ignored, refused = self._judge(region, nodes, tree)
                if not ignored and not refused:
                    yield nodes
                elif not refused:
                    todo.append([v for v in nodes if not self._here(region, v, tree) & ignored])
                for v in nodes:
                    tree[v] = -1

    def _spread(self, region: Region, nodes: list[int], tree: array[int]) -> list[int]:
        """A spanning tree: for each node, what its path makes of the identities at the first."""
        for v in nodes:
            tree[v] = -2
        edges, then, labels = region.edges, self.renamings.then, self.labels
        tree[nodes[0]] = IDENTITY
        seen = [nodes[0]]
        for v in seen:
            for t, label in edges.out(v):
                if tree[t] == -2:
                    tree[t] = then(tree[v], labels[label][0])
                    seen.append(t)
        return seen

    def _here(self, region: Region, v: int, tree: array[int]) -> frozenset[int]:
        """The units that are enabled at a node, as they are called at the root of the tree."""
        return self.renamings.unit_set(self.renamings.back(tree[v]), self.enabled(region.state[v]))

    def _judge(self, region: Region, nodes: list[int], tree: array[int]) -> tuple[set[int], bool]:
        """The units (as called at the root) of strong fairness that are enabled but not taken; whether weak fairness
        rules all of the component out.  The tree is that of the component, and negative everywhere else."""
        r, sets, labels = self.renamings, self.units.sets, self.labels
        followed: set[tuple[int, int, int]] = set()  # (tree at the source, label, tree at the target)
        enabled: Counter[int] = Counter()
        for v in nodes:
            here = tree[v]
            for t, label in region.edges.out(v):
                if tree[t] >= 0:
                    followed.add((here, label, tree[t]))
            enabled.update(self._here(region, v, tree))
        if not enabled:
            return set(), False
        group: set[int] = set()
        taken: set[int] = set()
        for here, label, there in followed:
            g, number = labels[label]
            group.add(r.then(r.then(here, g), r.back(there)))
            taken |= r.unit_set(r.back(here), sets[number])
        group.discard(IDENTITY)
        ignored: set[int] = set()
        refused = False
        for orbit in r.orbits(sorted(group), set(enabled)):
            if orbit & taken:
                continue
            if self.units.strong(next(iter(orbit))):
                ignored |= orbit
            elif all(enabled[u] == len(nodes) for u in orbit):
                refused = True
        return ignored, refused


def pending(
    interp: Interpreter, p: LeadsTo, watched: Watched, quotient: Quotient, findings: Findings
) -> tuple[list[bytearray], list[bytearray]]:
    """For each value of the binders the representatives where the left, and where the right side holds."""
    names = tuple(b.name for b in p.binders)
    out: tuple[list[bytearray], list[bytearray]] = ([], [])
    for side, marks in zip(sides(p, {b.name: Local(b.name, b.type) for b in p.binders}), out, strict=True):
        holds = interp.truth(side, names=names)
        for values in watched.all:
            mark = bytearray(len(quotient.states))
            for i, s in enumerate(quotient.states):
                if i % _BETWEEN_TICKS == 0:
                    quotient.meter.tick("evaluate", i)
                try:
                    if holds(s, *values):
                        mark[i] = 1
                except SpecFault as fault:
                    findings.unjudged.add(p.name)
                    error = Finding(i, error=fault.fault, message=f"in leads_to '{p.name}'")
                    findings.add("spec_error", error)
            marks.append(mark)
    return out


def broken_on(
    interp: Interpreter, p: LeadsTo, quotient: Quotient, findings: Findings, wanted: int
) -> Iterator[tuple[Watched, FairComponent]]:
    """For up to `wanted` values of the binders that are no renamings of one another, where a fair run breaks it."""
    found = [
        tuple(c.value for c in binding.values()) for binding in bindings(interp, p, quotient.states, all_values=True)
    ]
    watched = Watched(quotient.renamings, p.binders, found)
    left, right = pending(interp, p, watched, quotient, findings)
    for members in watched.classes:
        fair = quotient.fair(quotient.region(watched, members, left, right))
        if fair is not None:
            yield watched, fair
            wanted -= 1
            if wanted <= 0:
                return

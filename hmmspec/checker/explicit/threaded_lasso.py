"""A real run from a fair component of a quotient: a stem, and a loop that closes and is fair to every real unit.

The walk is along nodes of the region, and with it goes the renaming that makes the representative the real state.  It
is led, again and again, to the nearest place that does justice to a real unit still waiting for it, and in the end back
to the real state that it set out from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from hmmspec.checker.explicit.graphs import Hop, shortest_path
from hmmspec.checker.explicit.renamings import Watched
from hmmspec.checker.explicit.runs import RealLasso, Run, Step, walk
from hmmspec.checker.explicit.temporal import Broken, sides
from hmmspec.checker.explicit.threaded import FairComponent, Quotient
from hmmspec.diagnostics import InternalError
from hmmspec.system.expr import Const
from hmmspec.system.run import State
from hmmspec.system.system import LeadsTo

# How many real states are looked at for a shortest way to close a loop; then it goes round until it closes.
CLOSING = 100_000


class _Path:
    """A real walk along the nodes of a region: now at `node`, of which renaming by `by` gives the real state."""

    def __init__(self, quotient: Quotient, fair: FairComponent, node: int, by: int, state: State) -> None:
        self.quotient, self.region = quotient, fair.region
        self.inside = frozenset(fair.nodes)
        self.node, self.by, self.state = node, by, state
        self.steps: list[Step] = []
        self.hops: list[Hop] = []

    def real(self, node: int, by: int) -> State:
        q = self.quotient
        return q.symmetry.rename(q.states[self.region.state[node]], q.renamings.all[by])

    def really(self, node: int, by: int) -> frozenset[int]:
        """The real units that are enabled there."""
        q = self.quotient
        return q.renamings.unit_set(by, q.enabled(self.region.state[node]))

    def after(self, label: int, by: int) -> int:
        """The renaming once a step with this label is done."""
        r = self.quotient.renamings
        return r.then(r.back(self.quotient.labels[label][0]), by)

    def out(self, node: int) -> Iterator[tuple[int, int]]:
        """(target, label) of the edges within the component."""
        return ((t, n) for t, n in self.region.edges.out(node) if t in self.inside)

    def go(self, hop: Hop) -> None:
        """One real step."""
        q, r = self.quotient, self.quotient.renamings
        label, node = hop
        here = self.region.state[self.node]
        found = next((s for s, t, number in q.steps(here) if number == label and t == self.region.state[node]), None)
        if found is None:
            raise InternalError("a stored step cannot be found again")
        rule, args, t = found
        step = (rule, r.args(rule, args, self.by), q.symmetry.rename(t, r.all[self.by]))
        if step not in q.interp.expand(self.state)[0]:
            raise InternalError("a step has no counterpart under a renaming of identities")
        self.steps.append(step)
        self.hops.append(hop)
        self.node, self.by, self.state = node, self.after(label, self.by), step[2]


def real_lasso(p: LeadsTo, watched: Watched, quotient: Quotient, fair: FairComponent) -> Broken:
    """The shortest stem to the component, then round it; with the values of the binders that are the real ones."""
    region = fair.region
    tail = [fair.entry]
    while region.came[tail[-1]] >= 0:
        tail.append(region.came[tail[-1]])
    tail.reverse()
    walker = walk(quotient.interp, quotient.states, quotient.symmetry, quotient.graph.path(region.state[tail[0]]))
    path = _Path(quotient, fair, tail[0], quotient.renamings.number(walker.renaming), walker.run.last)
    real = watched.all[watched.action(path.by)[region.watched[tail[0]]]]
    for node in tail[1:]:
        path.go(next((label, t) for t, label in region.edges.out(path.node) if t == node))
    loop = [] if fair.rests else _Loop(quotient, fair, path).closed()
    stem = walker.run.steps
    run = Run(walker.run.start, (*stem, *path.steps, *loop))
    binding = {b.name: Const(value, b.type) for b, value in zip(p.binders, real, strict=True)}
    lasso = RealLasso(run, len(stem), len(stem) + len(path.steps))
    return Broken(tuple(binding.items()), *sides(p, binding), lasso)


class _Loop:
    """Goes round until no unit waits and the walk is really back."""

    def __init__(self, quotient: Quotient, fair: FairComponent, stem: _Path) -> None:
        self.path = _Path(quotient, fair, stem.node, stem.by, stem.state)
        self.quotient, self.region = quotient, fair.region
        self.sets = quotient.units.sets
        self.start, self.first = stem.node, stem.state
        self.waiting = set(self.path.really(stem.node, stem.by))
        self.done: set[int] = set()

    def closed(self) -> list[Step]:
        """The steps of the loop."""
        while True:
            self._serve()
            back = self._way_back()
            if back is None:
                return self._round_and_round()
            self._follow(back)
            if not self.waiting:
                return self.path.steps

    def _strong(self, unit: int) -> bool:
        return self.quotient.units.strong(unit)

    def _follow(self, hops: list[Hop]) -> None:
        path, r = self.path, self.quotient.renamings
        for hop in hops:
            taken = r.unit_set(path.by, self.sets[self.quotient.labels[hop[0]][1]])
            path.go(hop)
            self.done |= taken
            enabled = path.really(path.node, path.by)
            # A weak unit may be disabled once; a strong one that is enabled once has to be taken.
            self.waiting = {u for u in self.waiting - taken if self._strong(u) or u in enabled}
            self.waiting |= {u for u in enabled if self._strong(u) and u not in self.done}

    def _serve(self) -> None:
        """To the nearest place that does justice to a unit, until all have had it."""
        while self.waiting:
            self._follow(self._nearest())

    def _nearest(self) -> list[Hop]:
        """Where a unit waits it is followed under the name that it has there: (node, unit)."""
        path, r, q = self.path, self.quotient.renamings, self.quotient
        back = r.back(path.by)
        came: dict[tuple[int, int], tuple[tuple[int, int], int] | None] = {
            (path.node, r.unit(back, u)): None for u in sorted(self.waiting)
        }
        queue = deque(came)
        while queue:
            here = queue.popleft()
            node, unit = here
            for target, label in path.out(node):
                g, number = q.labels[label]
                moved = r.unit(g, unit)
                idle = not self._strong(unit) and moved not in q.enabled(self.region.state[target])
                if idle or unit in self.sets[number]:
                    return [*_trail(came, here), (label, target)]
                if (target, moved) not in came:
                    came[target, moved] = here, label
                    queue.append((target, moved))
        raise InternalError("a fair component has no fair loop")

    def _way_back(self) -> list[Hop] | None:
        """The fewest steps to the real state that the loop began in, at least one; None if it is far."""
        path = self.path
        here = (path.node, path.by)
        wanted = self.region.state[self.start]
        closed: dict[int, bool] = {}

        def there(node: int, by: int) -> bool:
            if self.region.state[node] != wanted:
                return False
            if by not in closed:
                closed[by] = path.real(node, by) == self.first
            return closed[by]

        if path.steps and there(*here):
            return []
        came: dict[tuple[int, int], tuple[tuple[int, int], int] | None] = {here: None}
        queue = deque([here])
        while queue and len(came) <= CLOSING:
            here = queue.popleft()
            for target, label in path.out(here[0]):
                by = path.after(label, here[1])
                if there(target, by):
                    return [*_trail(came, here), (label, target)]
                if (target, by) not in came:
                    came[target, by] = here, label
                    queue.append((target, by))
        return None

    def _round_and_round(self) -> list[Step]:
        """Back to the node, and so often the same way again that its renaming has come to nothing.

        What a unit is given in one turn, its successor is given in the next."""
        path = self.path
        home: Callable[[int, int, int], bool] = lambda _s, _n, target: target == self.start  # noqa: E731
        while self.waiting or path.node != self.start or not path.steps:
            self._serve()
            if path.node != self.start or not path.steps:
                hops = shortest_path(path.node, home, path.out)
                if hops is None:
                    raise InternalError("a component is not strongly connected")
                self._follow(hops)
        turn = list(path.hops)
        while path.state != self.first:
            for hop in turn:
                path.go(hop)
        return path.steps


def _trail(came: dict[tuple[int, int], tuple[tuple[int, int], int] | None], end: tuple[int, int]) -> list[Hop]:
    """The hops that a search went to get there."""
    out: list[Hop] = []
    at = came[end]
    while at is not None:
        out.append((at[1], end[0]))
        end = at[0]
        at = came[end]
    out.reverse()
    return out

"""Renamings of identities by number: composed, undone, and applied to units of fairness and to values of binders.

A renaming is met again and again on the edges of a quotient, so each has a number (0 is the one that changes nothing)
and everything that is worked out for it is kept.
"""

from __future__ import annotations

from hmmspec.checker.explicit.edges import Units
from hmmspec.checker.explicit.symmetry import Renaming, Symmetry
from hmmspec.system.expr import Binder
from hmmspec.system.system import System
from hmmspec.system.types import Type

IDENTITY = 0
Values = tuple[object, ...]


class Renamings:
    """The renamings that were met, of one system's symmetric types."""

    def __init__(self, system: System, symmetry: Symmetry, units: Units) -> None:
        self.system, self.symmetry, self.units = system, symmetry, units
        self.all: list[Renaming] = []
        self._numbers: dict[Renaming, int] = {}
        self._products: dict[tuple[int, int], int] = {}
        self._inverses: dict[int, int] = {}
        self._units: dict[tuple[int, int], int] = {}
        self._sets: dict[tuple[int, frozenset[int]], frozenset[int]] = {}
        self.number(tuple(tuple(range(t.size)) for t in symmetry.types))

    def number(self, by: Renaming) -> int:
        found = self._numbers.get(by)
        if found is None:
            found = self._numbers[by] = len(self.all)
            self.all.append(by)
        return found

    def then(self, first: int, second: int) -> int:
        """Renaming by `first`, and what comes of it by `second`."""
        if first == IDENTITY:
            return second
        found = self._products.get((first, second))
        if found is None:
            pairs = zip(self.all[first], self.all[second], strict=True)
            found = self.number(tuple(tuple(b[i] for i in a) for a, b in pairs))
            self._products[first, second] = found
        return found

    def back(self, g: int) -> int:
        """The renaming that undoes it."""
        found = self._inverses.get(g)
        if found is None:
            found = self.number(tuple(tuple(sorted(range(len(a)), key=a.__getitem__)) for a in self.all[g]))
            self._inverses[g] = found
        return found

    def swaps(self) -> list[int]:
        """Exchanges of two neighbours: every renaming is made of them."""
        out = []
        for k, t in enumerate(self.symmetry.types):
            for i in range(t.size - 1):
                by = [list(range(other.size)) for other in self.symmetry.types]
                by[k][i], by[k][i + 1] = i + 1, i
                out.append(self.number(tuple(tuple(b) for b in by)))
        return out

    # ------------------------------------------------------------ what is renamed

    def values(self, types: tuple[Type, ...], values: Values, g: int) -> Values:
        """Some values, each of the type that stands in its place."""
        rename, by = self.symmetry.anatomy.rename, self.all[g]
        return tuple(rename(t, v, by) for t, v in zip(types, values, strict=True))

    def args(self, rule: int, args: Values, g: int) -> Values:
        return self.values(tuple(p.type for p in self.system.rules[rule].params), args, g)

    def unit(self, g: int, u: int) -> int:
        """The unit of fairness that this one becomes."""
        found = self._units.get((g, u))
        if found is None:
            entry, args = self.units.keys[u]
            fair = self.system.fairness[entry]
            types = tuple(p.type for p in self.system.rules[fair.rules[0]].params[: fair.prefix])
            found = self._units[g, u] = self.units.unit(entry, self.values(types, args, g))
        return found

    def unit_set(self, g: int, units: frozenset[int]) -> frozenset[int]:
        found = self._sets.get((g, units))
        if found is None:
            found = self._sets[g, units] = frozenset(self.unit(g, u) for u in units)
        return found

    def orbits(self, group: list[int], units: set[int]) -> list[set[int]]:
        """The orbits of the units under the group that these renamings make."""
        out: list[set[int]] = []
        left = set(units)
        while left:
            orbit, todo = set[int](), [left.pop()]
            orbit.update(todo)
            while todo:
                u = todo.pop()
                for h in group:
                    moved = self.unit(h, u)
                    if moved not in orbit:
                        orbit.add(moved)
                        todo.append(moved)
            left -= orbit
            out.append(orbit)
        return out


class Watched:
    """The values of a `leads_to`'s binders by number, closed under renaming; `classes`: those that are renamings of one
    another, together."""

    def __init__(self, renamings: Renamings, binders: tuple[Binder, ...], found: list[Values]) -> None:
        self.renamings = renamings
        self.types = tuple(b.type for b in binders)
        self.all: list[Values] = []
        self.classes: list[list[int]] = []
        self._numbers: dict[Values, int] = {}
        self._actions: dict[int, tuple[int, ...]] = {}
        swaps = renamings.swaps()
        for values in found:
            if values in self._numbers:
                continue
            members = [self._new(values)]
            for w in members:
                for g in swaps:
                    moved = renamings.values(self.types, self.all[w], g)
                    if moved not in self._numbers:
                        members.append(self._new(moved))
            self.classes.append(members)

    def _new(self, values: Values) -> int:
        self._numbers[values] = len(self.all)
        self.all.append(values)
        return len(self.all) - 1

    def action(self, g: int) -> tuple[int, ...]:
        """For each value the number of the renamed one."""
        found = self._actions.get(g)
        if found is None:
            moved = (self.renamings.values(self.types, values, g) for values in self.all)
            found = self._actions[g] = tuple(self._numbers[m] for m in moved)
        return found

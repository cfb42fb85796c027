"""The state graph, kept for properties that look at more than one step: which state leads where, by whose step."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from hmmspec.checker.explicit.findings import Args
from hmmspec.system.system import System

NO_UNITS: frozenset[int] = frozenset()


class Units:
    """The fairness units: steps of one `Fairness` entry that agree in their first `prefix` arguments.

    Each (rule, arguments) is given the number of the set of units it belongs to; set 0 is the empty set.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.entries: list[list[int]] = [[] for _ in system.rules]
        for number, f in enumerate(system.fairness):
            for rule in f.rules:
                self.entries[rule].append(number)
        self.keys: list[tuple[int, Args]] = []  # unit -> (entry, arguments)
        self._unit: dict[tuple[int, Args], int] = {}
        self.sets: list[frozenset[int]] = [NO_UNITS]
        self._set: dict[frozenset[int], int] = {NO_UNITS: 0}
        self.known: dict[tuple[int, Args], int] = {}  # what `set_of` has answered

    def set_of(self, rule: int, args: Args) -> int:
        """The number of the set of units that a step belongs to."""
        key = (rule, args)
        found = self.known.get(key)
        if found is None:
            fairness = self.system.fairness
            together = frozenset(self.unit(entry, args[: fairness[entry].prefix]) for entry in self.entries[rule])
            if together not in self._set:
                self._set[together] = len(self.sets)
                self.sets.append(together)
            found = self.known[key] = self._set[together]
        return found

    def unit(self, entry: int, args: Args) -> int:
        """The number of the unit of an entry with these first arguments."""
        found = self._unit.get((entry, args))
        if found is None:
            found = self._unit[entry, args] = len(self.keys)
            self.keys.append((entry, args))
        return found

    def strong(self, unit: int) -> bool:
        return self.system.fairness[self.keys[unit][0]].strong


@dataclass
class Edges:
    """Out-edges of the expanded states 0, 1, ..: those of state i are `first[i]` up to `first[i + 1]`."""

    first: array[int] = field(default_factory=lambda: array("q", [0]))
    target: array[int] = field(default_factory=lambda: array("i"))
    units: array[int] = field(default_factory=lambda: array("i"))  # number of the set of units
    faulty: dict[int, set[int]] = field(default_factory=dict)  # state -> sets of units enabled by a step that errs

    def __len__(self) -> int:
        return len(self.first) - 1

    def out(self, i: int) -> Iterator[tuple[int, int]]:
        """(target, number of the set of units) of each edge."""
        for e in range(self.first[i], self.first[i + 1]):
            yield self.target[e], self.units[e]

    def close(self, i: int, faulty: set[int]) -> None:
        """State i is expanded: its edges are those added to `target` and `units` since the last one was closed."""
        self.first.append(len(self.target))
        if faulty:
            self.faulty[i] = faulty

    def enabled(self, i: int, units: Units) -> frozenset[int]:
        """The units that have an enabled step in state i."""
        numbers = set(self.units[self.first[i] : self.first[i + 1]])
        numbers |= self.faulty.get(i, set())
        return frozenset().union(*(units.sets[n] for n in numbers)) if numbers else NO_UNITS

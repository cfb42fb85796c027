"""Signatures of identities: what can be told about each without naming any.

A signature of an identity in a state is unchanged when state and identity are renamed together.  Two identities that
some renaming of the state onto itself exchanges have equal signatures; the converse need not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from hmmspec.checker.explicit.slots import Anatomy, Naming, Slot
from hmmspec.system.run import State

Take = Callable[[Any], Any]


class Signatures:
    """The signatures of a system's identities.  `simple`: each slot belongs to one identity at most, no value names
    one, and so the signature of an identity is all there is to it."""

    def __init__(self, slots: Sequence[Slot], anatomy: Anatomy) -> None:
        self.anatomy = anatomy
        self.slots = slots
        self.owners: list[list[Naming]] = []  # the identities in the index of each slot
        self.group: list[int] = []  # slots that renamings move to one another
        self.valued = [h for h, s in enumerate(slots) if anatomy.concerned(s.type)]
        self._erased: dict[int, dict[Any, Any]] = {}
        self._named: dict[int, dict[Any, list[Naming]]] = {}
        groups: dict[Any, int] = {}
        for slot in slots:
            position = range(len(slot.index))
            self.owners.append(
                [n for p, (t, o) in zip(position, slot.index, strict=True) for n in anatomy.ordinal_namings(t, o, (p,))]
            )
            key = (slot.kind, tuple(anatomy.erase_ordinal(t, o) for t, o in slot.index))
            self.group.append(groups.setdefault(key, len(groups)))
        self.shared = [h for h in range(len(slots)) if len(self.owners[h]) > 1]
        self.simple = not self.valued and not self.shared
        self._takes = [[self._take(k, i) for i in range(t.size)] for k, t in enumerate(anatomy.types)]

    def _take(self, k: int, i: int) -> tuple[Take, list[Take]]:
        """How to read one identity's own slots (in an order common to all) and the bundles it shares with others."""
        own: list[tuple[int, int]] = []
        bundles: dict[tuple[int, tuple[Any, ...]], list[int]] = {}
        for here, owners in enumerate(self.owners):
            roles = tuple(role for role, type_number, identity in owners if (type_number, identity) == (k, i))
            if not roles:
                continue
            if len(owners) == 1:
                own.append((self.group[here], here))
            else:
                bundles.setdefault((self.group[here], roles), []).append(here)
        shared = [bundles[key] for key in sorted(bundles)]
        return _getter([h for _, h in sorted(own)]), [_getter(b) for b in shared]

    def erased(self, s: State) -> Sequence[Any]:
        """The state without the identities that its values name."""
        if not self.valued:
            return s
        out: list[Any] = list(s)
        for h in self.valued:
            table = self._erased.setdefault(h, {})
            v = out[h]
            if v not in table:
                table[v] = self.anatomy.erase(self.slots[h].type, v)
            out[h] = table[v]
        return out

    def named(self, h: int, value: Any) -> list[Naming]:
        """The identities that this value of slot `h` names."""
        table = self._named.setdefault(h, {})
        if value not in table:
            if len(table) > 50_000:
                table.clear()
            table[value] = self.anatomy.namings(self.slots[h].type, value)
        return table[value]

    def classes(self, s: State) -> list[list[list[int]]]:
        """For each symmetric type: its identities in order of a cheap signature, those that tie in one list."""
        erased = self.erased(s)
        references: dict[tuple[int, int], list[Any]] = {}
        for h in self.valued:
            for role, k, i in self.named(h, s[h]):
                own = tuple(r for r, k2, i2 in self.owners[h] if (k2, i2) == (k, i))
                references.setdefault((k, i), []).append((self.group[h], role, erased[h], own))
        out = []
        for k, takes in enumerate(self._takes):
            keyed = []
            for i, (take, bundles) in enumerate(takes):
                refs = references.get((k, i), [])
                refs.sort()
                keyed.append(((take(erased), [sorted(b(erased)) for b in bundles], refs), i))
            out.append(_grouped(keyed))
        return out

    def refine(self, s: State, classes: list[list[list[int]]]) -> list[list[list[int]]]:
        """Tell more identities apart by which others they meet in a slot, until that tells nothing new."""
        erased = self.erased(s)
        meetings = []
        for h in range(len(self.slots)):
            namings = [((0, *role), k, i) for role, k, i in self.owners[h]]
            if self.anatomy.concerned(self.slots[h].type):
                namings += [((1, *role), k, i) for role, k, i in self.named(h, s[h])]
            if len(namings) > 1:
                meetings.append((self.group[h], erased[h], namings))
        while True:
            colour = {(k, i): c for k, of_type in enumerate(classes) for c, ms in enumerate(of_type) for i in ms}
            met: dict[tuple[int, int], list[Any]] = {key: [] for key in colour}
            for group, value, namings in meetings:
                for k, i in {(k, i) for _, k, i in namings}:
                    seen = sorted((role, k2, colour[k2, i2], (k2, i2) == (k, i)) for role, k2, i2 in namings)
                    met[k, i].append((group, value, seen))
            finer = [
                _grouped([((colour[k, i], sorted(met[k, i])), i) for ms in of_type for i in ms])
                for k, of_type in enumerate(classes)
            ]
            if sum(map(len, finer)) == sum(map(len, classes)):
                return classes
            classes = finer


def _grouped(keyed: list[tuple[Any, int]]) -> list[list[int]]:
    keyed.sort(key=itemgetter(0))
    return [[i for _, i in together] for _, together in groupby(keyed, key=itemgetter(0))]


def _getter(indices: Sequence[int]) -> Take:
    if not indices:
        return lambda s: ()
    if len(indices) == 1:
        only = indices[0]
        return lambda s: (s[only],)
    return itemgetter(*indices)

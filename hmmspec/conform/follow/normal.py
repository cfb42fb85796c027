"""States that differ only in identities that nobody names, made one: quickly, for sets of states that come and go.

NOTE(first-mention): identities of such a type are put in the order in which the slots of the state mention them; those
that no slot mentions follow, in the order of what the state says of them.  Slots keep their order, since all types
that a log can name stay as they are; so two states that differ by such a renaming nearly always become the same one
(where an identity is mentioned only in sets or by other such identities, they may stay apart, which costs time alone).
"""

from __future__ import annotations

from collections.abc import Sequence

from hmmspec.checker.explicit.slots import Anatomy, slots
from hmmspec.checker.explicit.symmetry import Renaming, Symmetry
from hmmspec.system.run import State
from hmmspec.system.system import System
from hmmspec.system.types import Symmetric, Type, is_scalar

_MEMO = 500_000


class Normal:
    """The normal form of states of one system, under renamings of `types`."""

    def __init__(self, system: System, types: Sequence[Symmetric]) -> None:
        self.types = tuple(types)
        self._symmetry = Symmetry(system, types)
        self._identity = tuple(tuple(range(t.size)) for t in self.types)
        self._memo: dict[State, State] = {}
        anatomy = Anatomy(types)
        self._anchors: list[tuple[int, dict[object, list[tuple[int, int]]]]] = []
        # For each type, for each identity the slots that it alone indexes.
        self._own: list[list[list[int]]] = [[[] for _ in range(t.size)] for t in self.types]
        for here, slot in enumerate(slots(system.variables)):
            indices = [(k, i) for t, o in slot.index for _, k, i in anatomy.ordinal_namings(t, o)]
            if not indices and anatomy.concerned(slot.type) and is_scalar(slot.type):
                self._anchors.append((here, _Mentions(anatomy, slot.type)))
            elif len(indices) == 1 and not anatomy.concerned(slot.type):
                k, i = indices[0]
                self._own[k][i].append(here)

    def of(self, s: State) -> State:
        """The normal form of a state."""
        found = self._memo.get(s)
        if found is None:
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            by = self._renaming(s)
            found = self._memo[s] = s if by == self._identity else self._symmetry.rename(s, by)
        return found

    def _renaming(self, s: State) -> Renaming:
        orders: list[list[int]] = [[] for _ in self.types]
        for here, mentions in self._anchors:
            for k, identity in mentions[s[here]]:
                if identity not in orders[k]:
                    orders[k].append(identity)
        out = []
        for t, order, own in zip(self.types, orders, self._own, strict=True):
            rest = [i for i in range(t.size) if i not in order]
            if len(rest) > 1:
                rest.sort(key=lambda i: [s[h] for h in own[i]])
            by = [0] * t.size
            for position, identity in enumerate((*order, *rest)):
                by[identity] = position
            out.append(tuple(by))
        return tuple(out)


class _Mentions(dict[object, list[tuple[int, int]]]):
    """For a value of a slot, the identities in it: (number of the type, identity)."""

    def __init__(self, anatomy: Anatomy, t: Type) -> None:
        self.anatomy, self.type = anatomy, t

    def __missing__(self, value: object) -> list[tuple[int, int]]:
        out = self[value] = [(k, i) for _, k, i in self.anatomy.namings(self.type, value)]
        return out

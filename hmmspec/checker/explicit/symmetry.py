"""Symmetry reduction: of all states that differ by a renaming of identities only, one representative is kept.

NOTE(canonical): the representative of a state is found from its contents alone, in the same way for every state of its
orbit: each identity gets a signature that no renaming changes, identities are put in the order of their signatures, and
where signatures tie the least of the states that the ties leave is taken.  Twins (identities whose exchange leaves the
state as it is) need not be tried against one another.  The renamings that give the least state are exactly a coset of
the state's stabiliser, so its size, and with it the size of the orbit, is known exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, permutations, product
from math import factorial, prod
from operator import itemgetter
from typing import Any

from hmmspec.checker.explicit.signature import Signatures
from hmmspec.checker.explicit.slots import Anatomy, Slot, slots
from hmmspec.system.run import State
from hmmspec.system.system import System
from hmmspec.system.types import Symmetric, cardinality, is_scalar, values

Renaming = tuple[tuple[int, ...], ...]
Classes = list[list[int]]  # the identities of one type in groups that nothing told apart so far, in order

TRIES_BEFORE_REFINING = 24
TRIES_AT_MOST = 20_000
_MEMO = 300_000


class _Table(dict[Any, Any]):
    """A value map that is worked out value by value."""

    def __init__(self, f: Callable[[Any], Any]) -> None:
        self.f = f

    def __missing__(self, key: Any) -> Any:
        out = self[key] = self.f(key)
        return out


def pick(indices: Sequence[int]) -> Callable[[Any], tuple[Any, ...]]:
    """`itemgetter` that always gives a tuple."""
    if not indices:
        return lambda s: ()
    if len(indices) == 1:
        only = indices[0]
        return lambda s: (s[only],)
    return itemgetter(*indices)


class Symmetry:
    """Renames and canonicalises the states of one system under all renamings of `types`.

    `exact` turns False once some state had more ties than can be tried: then several states of one orbit may be kept,
    and the number of full states is not known.  `size`: of the orbit of the last state that `canonical` saw as new.
    """

    def __init__(self, system: System, types: Sequence[Symmetric], *, tries: int | None = None) -> None:
        self.types = tuple(types)
        self.tries = TRIES_AT_MOST if tries is None else tries
        self.exact = True
        self.size = 1
        self.anatomy = Anatomy(types)
        self.slots = slots(system.variables)
        self.group = prod(factorial(t.size) for t in self.types)
        self._place = {(s.variable, s.path): i for i, s in enumerate(self.slots)}
        self._actions: dict[Renaming, Callable[[State], State]] = {}
        self._memo: dict[State, State] = {}
        self._signatures = Signatures(self.slots, self.anatomy)
        self._rows = _rows_of(self.slots, self.anatomy) if self._signatures.simple else None
        self._swaps = [
            {(i, j): self._swap(k, i, j) for i in range(t.size) for j in range(t.size) if i < j}
            for k, t in enumerate(self.types)
        ]

    def rename(self, s: State, by: Renaming) -> State:
        """The state with every identity renamed, in indices and in values."""
        action = self._actions.get(by)
        if action is None:
            if len(self._actions) > 20_000:
                self._actions.clear()
            action = self._actions[by] = self._action(by)
        return action(s)

    def canonical(self, s: State) -> State:
        """The representative of the state's orbit."""
        found = self._memo.get(s)
        if found is None:
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            found, self.size = self.representative(s)
            self._memo[s] = found
        return found

    def orbit(self, s: State) -> int:
        """How many states the orbit of `s` has (right as long as `exact`)."""
        return self.representative(s)[1]

    def representative(self, s: State) -> tuple[State, int]:
        """The representative and the size of the orbit."""
        if self._rows is not None:
            return self._sorted_columns(s)
        found, size, _ = self._least(s)
        return found, size

    def renaming(self, s: State) -> Renaming:
        """A renaming that makes `s` its representative."""
        if self._rows is None:
            return self._least(s)[2]
        orders = []
        for t, rows in zip(self.types, self._rows, strict=True):
            columns = list(zip(*[s[row] for row in rows], strict=True)) or [()] * t.size
            orders.append(sorted(range(t.size), key=columns.__getitem__))
        return tuple(_inverse(o) for o in orders)

    def _least(self, s: State) -> tuple[State, int, Renaming]:
        classes = self._signatures.classes(s)
        twins = [self._twins(s, k, c) for k, c in enumerate(classes)]
        tries = prod(_arrangements(c) for c in twins)
        if tries > TRIES_BEFORE_REFINING:
            classes = self._signatures.refine(s, classes)
            twins = [self._twins(s, k, c) for k, c in enumerate(classes)]
            tries = prod(_arrangements(c) for c in twins)
        together = prod(factorial(len(t)) for of_type in twins for c in of_type for t in c)
        if tries > self.tries or tries == 1:
            self.exact &= tries == 1
            by = tuple(_inverse(list(chain.from_iterable(c))) for c in classes)
            return self.rename(s, by), self.group // together, by
        best: Any = None
        chosen: Renaming = ()
        hits = 0
        for orders in product(*(_orders(c) for c in twins)):
            by = tuple(_inverse(o) for o in orders)
            candidate: Any = self.rename(s, by)
            if best is None or candidate < best:
                best, chosen, hits = candidate, by, 1
            elif candidate == best:
                hits += 1
        return best, self.group // (together * hits), chosen

    # ------------------------------------------------------------ inside

    def _twins(self, s: State, k: int, classes: Classes) -> list[list[list[int]]]:
        """Each class, split into groups of twins."""
        out: list[list[list[int]]] = []
        for members in classes:
            groups: list[list[int]] = []
            for i in members:
                for g in groups:
                    j = g[0]
                    if self._swaps[k][(i, j) if i < j else (j, i)](s) == s:
                        g.append(i)
                        break
                else:
                    groups.append([i])
            out.append(groups)
        return out

    def _swap(self, k: int, i: int, j: int) -> Callable[[State], State]:
        by = [list(range(t.size)) for t in self.types]
        by[k][i], by[k][j] = j, i
        renaming = tuple(tuple(b) for b in by)
        made: list[Callable[[State], State]] = []

        def swap(s: State) -> State:
            if not made:
                made.append(self._action(renaming))
            return made[0](s)

        return swap

    def _action(self, by: Renaming) -> Callable[[State], State]:
        source = [0] * len(self.slots)
        maps: list[tuple[int, Any]] = []
        for here, slot in enumerate(self.slots):
            moved = iter(self.anatomy.rename_ordinals(t, by)[o] for t, o in slot.index)
            path = tuple(p if isinstance(p, str) else next(moved) for p in slot.path)
            there = self._place[slot.variable, path]
            source[there] = here
            if self.anatomy.concerned(slot.type):
                maps.append((there, self._value_map(slot, by)))
        take = pick(source)
        if not maps:
            return lambda s: bytes(take(s)) if isinstance(s, bytes) else take(s)

        def act(s: State) -> State:
            out = list(take(s))
            for i, table in maps:
                out[i] = table[out[i]]
            return bytes(out) if isinstance(s, bytes) else tuple(out)

        return act

    def _value_map(self, slot: Slot, by: Renaming) -> Any:
        t = slot.type
        if is_scalar(t) and cardinality(t) <= 256:
            return {v: self.anatomy.rename(t, v, by) for v in values(t)}
        return _Table(lambda v: self.anatomy.rename(t, v, by))

    def _sorted_columns(self, s: State) -> tuple[State, int]:
        """Where each slot belongs to one identity at most and no value names one, a state is a heap of columns."""
        assert self._rows is not None
        out: Any = bytearray(s) if isinstance(s, bytes) else list(s)
        same = 1
        for t, rows in zip(self.types, self._rows, strict=True):
            if not rows:
                same *= factorial(t.size)
                continue
            columns = sorted(zip(*[s[row] for row in rows], strict=True))
            run, last = 1, None
            for c in columns:
                if c == last:
                    run += 1
                    same *= run
                else:
                    run, last = 1, c
            for row, cells in zip(rows, zip(*columns, strict=True), strict=True):
                out[row] = cells
        return (bytes(out) if isinstance(s, bytes) else tuple(out)), self.group // same


def _rows_of(all_slots: list[Slot], anatomy: Anatomy) -> list[list[slice]]:
    """For each symmetric type the slots that an identity owns, as rows: one slot of each identity, in their order."""
    found: list[dict[object, list[int]]] = [{} for _ in anatomy.types]
    for here, slot in enumerate(all_slots):
        for _, k, _ in [n for t, o in slot.index for n in anatomy.ordinal_namings(t, o)]:
            erased = tuple(anatomy.erase_ordinal(t, o) for t, o in slot.index)
            found[k].setdefault((slot.kind, erased), []).append(here)
    # Arrays are row-major, so from one identity to the next it is always the same number of slots.
    return [[slice(row[0], row[-1] + 1, row[1] - row[0]) for row in rows.values()] for rows in found]


def _arrangements(classes: list[list[list[int]]]) -> int:
    """In how many ways the members of each class can be ordered, not telling twins apart."""
    n = 1
    for groups in classes:
        n *= factorial(sum(len(g) for g in groups)) // prod(factorial(len(g)) for g in groups)
    return n


def _orders(classes: list[list[list[int]]]) -> Iterator[list[int]]:
    """Every such order, as the list of identities from first to last."""
    for parts in product(*(list(_class_orders(groups)) for groups in classes)):
        yield list(chain.from_iterable(parts))


def _class_orders(groups: list[list[int]]) -> Iterator[tuple[int, ...]]:
    if all(len(g) == 1 for g in groups):
        yield from permutations([g[0] for g in groups])
        return
    left = [list(g) for g in groups]

    def go(done: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if not any(left):
            yield done
        for g in left:
            if g:
                i = g.pop(0)
                yield from go((*done, i))
                g.insert(0, i)

    yield from go(())


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The renaming that puts the identities into this order."""
    out = [0] * len(order)
    for position, i in enumerate(order):
        out[i] = position
    return tuple(out)

"""What may exclude a state: lemmas that no sampled state contradicts.

A hole is a step that breaks a claim, and the cells of the state before it that matter.  If the claim holds, no
reachable state has these values in these cells.  So some smallest part of them is not found together in any sampled
state, and "never these together" is a candidate; each value is then widened to as many values as the samples allow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations, product
from typing import Any

import numpy as np

from hmmspec.checker.symbolic.cells import (
    Held,
    Id,
    Other,
    Plain,
    Slot,
    Thread,
    Value,
    abstract,
    concrete,
    ids,
    ids_of,
    renamed,
    renamed_cell,
)
from hmmspec.checker.symbolic.lemmas import Lemma, Literal
from hmmspec.checker.symbolic.samples import Columns, Reached, namings, raw
from hmmspec.system.faults import members_of
from hmmspec.system.run import State
from hmmspec.system.types import Range, Symmetric, ThreadId, Type, Union, cardinality, from_ordinal

LARGEST = 5  # literals that are tried exhaustively
MOST = 60  # parts that are looked at
MOST_CELLS = 14


@dataclass(frozen=True)
class Candidate:
    """A lemma, and how much of the sampled cases its literals cover, each by itself: the more, the more general."""

    lemma: Lemma
    rank: tuple[int, int, float]


class Cube:
    """Cells of a state and their values, in terms of names.  base: only the first so many matter, but are reached; with
    one or two more of them they may not be."""

    def __init__(
        self, state: State, places: Sequence[Slot], samples: Sequence[Reached], base: int | None = None
    ) -> None:
        self.base = base
        names: dict[Id, Id] = {}
        counts: dict[str, int] = {}
        found = [(s, abstract(s.type, raw(state[s.slot], s))) for s in places]
        for s, v in found:
            for i in (*ids_of(s.cell), *ids(v)):
                if i not in names:
                    names[i] = Id(i.sort, counts.get(i.sort, 0))
                    counts[i.sort] = names[i].number + 1
        self.cells = [renamed_cell(s.cell, names) for s, _ in found]
        self.types = [s.type for s, _ in found]
        self.values = [renamed(v, names) for _, v in found]
        fitting = [r for r in samples if all(r.symmetric()[sort].size >= n for sort, n in counts.items())]
        self.columns = Columns(fitting, self.cells, list(names.values()))
        self.fits = bool(fitting)
        self._fitting, self._names = fitting, list(names.values())
        target = [self.columns.code(k, v) for k, v in enumerate(self.values)]
        self.rows = self.columns.rows
        self.same = self.rows == np.array(target, dtype=np.int16)
        self.pairs = self._equal_pairs()

    def _equal_pairs(self) -> list[tuple[int, int, bool, Any]]:
        """Numbers of one type: whether they are equal, here and in each row."""
        out: list[tuple[int, int, bool, Any]] = []
        numbers = [k for k, t in enumerate(self.types) if isinstance(t, Range)]
        for i, j in combinations(numbers, 2):
            a, b = (np.array([_number(v) for v in self.columns.values[k]], dtype=np.int64) for k in (i, j))
            here = self.values[i] == self.values[j]
            out.append((i, j, here, (a[self.rows[:, i]] == b[self.rows[:, j]]) == here))
        return out[:20]

    @property
    def reached(self) -> bool:
        """Whether some sampled state has all these values."""
        return bool(self.same.all(axis=1).any()) if self.fits else False

    def witnesses(self) -> Iterator[tuple[Reached, State]]:
        """Of each instance and naming a sampled state that has all these values, where there is one."""
        for reached in self._fitting:
            for naming in namings(reached, self._names):
                here: Any = None
                for cell, value in zip(self.cells, self.values, strict=True):
                    place = reached.place(renamed_cell(cell, dict(naming)))
                    assert place is not None
                    wanted = concrete(reached.slots[place].type, renamed(value, dict(naming)))
                    same = reached.matrix[place] == wanted
                    here = same if here is None else here & same
                found = [0] if here is None else np.flatnonzero(here)[:1]
                if len(found):
                    yield reached, reached.states[int(found[0])]

    # ------------------------------------------------------------ parts

    def parts(self) -> Iterator[tuple[int, ...]]:
        """Smallest sets of columns (cells, and after them pairs) that no row agrees with, the smallest first."""
        columns = [self.same[:, k] for k in range(len(self.cells))] + [p[3] for p in self.pairs]
        if self.base is not None:
            yield from self._with_more(columns[: len(self.cells)], self.base)
            return
        useful = [k for k, c in enumerate(columns) if not c.all()]
        if len(useful) > MOST_CELLS:
            useful = self._fewer(columns, useful)
        found: list[frozenset[int]] = []
        for size in range(1, min(LARGEST, len(useful)) + 1):
            for some in combinations(useful, size):
                if any(f <= set(some) for f in found):
                    continue
                if not reduce(lambda a, b: a & b, (columns[k] for k in some)).any():
                    found.append(frozenset(some))
                    yield some
                    if len(found) >= MOST:
                        return
        if not found and useful:
            yield tuple(self._fewer(columns, useful))

    def _with_more(self, columns: list[Any], base: int) -> Iterator[tuple[int, ...]]:
        here = reduce(lambda a, b: a & b, columns[:base]) if base else np.ones(len(self.rows), dtype=bool)
        more = [k for k in range(base, len(columns)) if not columns[k].all()]
        for size in (1, 2):
            found = [
                s
                for s in combinations(more, size)
                if not reduce(lambda a, b: a & b, (columns[k] for k in s), here).any()
            ]
            for some in found[:MOST]:
                yield tuple(self._fewer(columns, [*range(base), *some]))
            if found:
                return

    @staticmethod
    def _fewer(columns: list[Any], useful: list[int]) -> list[int]:
        """A part that suffices, leaving out what can be left out."""
        kept = list(useful)
        for k in useful:
            rest = [j for j in kept if j != k]
            if rest and not reduce(lambda a, b: a & b, (columns[j] for j in rest)).any():
                kept = rest
        return kept

    # ------------------------------------------------------------ lemmas

    def candidates(self, widened: bool = True) -> list[Candidate]:
        """The most promising first.  widened: with as many values as the samples allow; what these say may be too much
        to be inductive, where they are few."""
        if not self.fits:
            return []
        out: dict[Lemma, Candidate] = {}
        for part in self.parts():
            lemma, covered = self._widened(part) if widened else self._plain(part)
            lemma = lemma.canonical()
            rank = (len(lemma.literals), len(lemma.names), -covered)
            if lemma not in out:
                out[lemma] = Candidate(lemma, rank)
        return sorted(out.values(), key=lambda c: c.rank)

    def _widened(self, part: tuple[int, ...]) -> tuple[Lemma, float]:
        plain = [k for k in part if k < len(self.cells)]
        pairs = [self.pairs[k - len(self.cells)] for k in part if k >= len(self.cells)]
        names = {i for k in plain for i in (*ids_of(self.cells[k]), *ids(self.values[k]))}
        names |= {i for p in pairs for k in p[:2] for i in ids_of(self.cells[k])}
        holding = {k: self.same[:, k] for k in plain}
        literals: dict[int, Literal] = {}
        covered = 0.0
        for k in plain:
            others = [holding[j] for j in plain if j != k] + [p[3] for p in pairs]
            rows = self.rows[reduce(lambda a, b: a & b, others), k] if others else self.rows[:, k]
            literals[k], inside = self._literal(k, names, set(np.unique(rows).tolist()))
            holding[k] = np.isin(self.rows[:, k], inside)
            covered += float(holding[k].mean()) if len(self.rows) else 0.0
        out = [literals[k] for k in plain]
        for i, j, here, rows in pairs:
            out.append(Literal(self.cells[i], none=not here, equal=self.cells[j]))
            covered += float(rows.mean())
        return Lemma(tuple(out)), covered

    def _plain(self, part: tuple[int, ...]) -> tuple[Lemma, float]:
        """Only the values of the state."""
        out = [Literal(self.cells[k], frozenset((self.values[k],))) for k in part if k < len(self.cells)]
        for i, j, here, _ in (self.pairs[k - len(self.cells)] for k in part if k >= len(self.cells)):
            out.append(Literal(self.cells[i], none=not here, equal=self.cells[j]))
        return Lemma(tuple(out)), 0.0

    def _literal(self, k: int, names: set[Id], seen: set[int]) -> tuple[Literal, list[int]]:
        """The values that go with no seen one, as a literal; and their codes."""
        t = self.types[k]
        here = {n: n for n in names}
        classes = [renamed(v, here) for v in self.columns.values[k]]
        forbidden = {classes[code] for code in seen}
        universe = list(_universe(t, names))
        allowed = {v for v in universe if v not in forbidden}
        others = {v for v in universe if isinstance(v, Other)}
        if others and not others <= allowed:
            allowed -= others
        codes = [code for code, v in enumerate(classes) if v in allowed]
        if others and others <= allowed:
            rest = frozenset(v for v in universe if v not in allowed)
            return Literal(self.cells[k], rest, none=True), codes
        return Literal(self.cells[k], frozenset(allowed)), codes


def _number(v: Value) -> int:
    return v.value if isinstance(v, Plain) else 0


def _universe(t: Type, names: set[Id]) -> Iterator[Value]:
    """All values of a type, where identities are these names or others."""
    for number, m in enumerate(members_of(t)):
        inner = _named(m, names)
        if inner is None:
            plain: list[Value] = [abstract(m, from_ordinal(m, i)) for i in range(cardinality(m))]
            yield from (Held(number, v) for v in plain) if isinstance(t, Union) else plain
        else:
            yield from (Held(number, v) for v in inner) if isinstance(t, Union) else inner
            yield Other(number if isinstance(t, Union) else 0)


def _named(t: Type, names: set[Id]) -> list[Value] | None:
    """The values of a type with identities that have names; None: a type without."""
    match t:
        case Symmetric(sort, _):
            return [n for n in sorted(names) if n.sort == sort]
        case ThreadId(_, index):
            parts = [_named(i, names) for i in index]
            if all(p is None for p in parts):
                return None
            whole = [
                p if p is not None else [abstract(i, from_ordinal(i, x)) for x in range(cardinality(i))]
                for i, p in zip(index, parts, strict=True)
            ]
            return [Thread(tuple(some)) for some in product(*whole)]
        case _:
            return None

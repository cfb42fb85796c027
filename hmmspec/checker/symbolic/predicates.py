"""What a finite state is made of, for PDR: predicates such as `place[page0] == device`, and how renamings move them.

A literal is an int: twice the number of a predicate, plus one where it is negated.  A cube is a set of literals that
hold together; the negation of a cube is a clause.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from math import factorial, prod

from hmmspec.checker.symbolic.cells import (
    Cell,
    Id,
    Value,
    abstract,
    concrete,
    renamed,
    renamed_cell,
    slots,
)
from hmmspec.checker.symbolic.encoding import Encoding
from hmmspec.checker.symbolic.formulas import TRUE, Formula
from hmmspec.system.run import State
from hmmspec.system.types import BOOL, Symmetric, Type, cardinality, from_ordinal

Literal = int
Cube = frozenset[Literal]

MOST_RENAMINGS = 150  # a group with more of them is not used: the clauses of one orbit would be too many


@dataclass(frozen=True)
class Predicate:
    """A cell of the state has this value; cell None: one bit of what no cell describes (`name` says of which)."""

    cell: Cell | None
    value: Value | None
    type: Type
    name: str = ""


class Predicates:
    """All predicates of an encoded System.

    holds, after: their formulas in the state and after the step; number: the literal that a cell has a value; renamed:
    the symmetric types whose identities are renamed; renamings: what each literal becomes, for every renaming.
    """

    def __init__(self, encoding: Encoding, *, symmetric: bool = True) -> None:
        self.encoding, self.system = encoding, encoding.system
        self.all: list[Predicate] = []
        self.holds: list[Formula] = []
        self.number: dict[tuple[Cell, Value], Literal] = {}
        self._cells: list[list[Literal]] = []  # of each cell the literals that say which value it has
        self._plain = True  # cells describe everything that has identities in it
        self._make()
        composed = Composed(encoding)
        self.after = [composed.of(h) for h in self.holds]
        self.renamed = self._types() if symmetric and self._plain else []
        self.id_renamings = list(self._orders())
        self.renamings = [[x for p in range(len(self.all)) for x in self._moved(p, by)] for by in self.id_renamings]

    def _make(self) -> None:
        covered: set[tuple[str, int]] = set()
        self._slots = slots(self.system)
        for s in self._slots:
            covered |= {(s.cell.variable, i) for i in s.atoms}
            bits = [self.encoding.f.atom((s.cell.variable, i)) for i in s.atoms]
            self._cells.append(self._values(s.cell, s.type, bits))
        named = {t.name: t for t in self.system.symmetric}
        types = {v.name: v.type for v in self.system.variables}
        for name, i in self.encoding.atoms:
            if (name, i) not in covered:
                self._plain &= not (named and mentions_identities(types[name]))
                self._cells.append([self._new(Predicate(None, None, BOOL, f"bit {i} of {name}"), (name, i))])

    def _new(self, p: Predicate, atom: object) -> Literal:
        self.all.append(p)
        self.holds.append(self.encoding.f.atom(atom) if isinstance(atom, tuple) else atom)  # type: ignore[arg-type]
        return 2 * len(self.all) - 2

    def _values(self, cell: Cell, t: Type, bits: Sequence[Formula]) -> list[Literal]:
        """For each value of the cell, by ordinal, the literal that it has it."""
        f = self.encoding.f
        count = cardinality(t)
        found = [abstract(t, from_ordinal(t, i)) for i in range(count)]
        if count == 2:
            yes = self._new(Predicate(cell, found[1], t), bits[0])
            out = [yes ^ 1, yes]
        else:
            out = [
                self._new(Predicate(cell, v, t), f.all(b if i >> k & 1 else b ^ 1 for k, b in enumerate(bits)))
                for i, v in enumerate(found)
                if count > 1
            ]
        self.number.update({(cell, v): lit for v, lit in zip(found, out, strict=False)})
        return out

    # ------------------------------------------------------------ states

    def of_state(self, holds: Sequence[bool]) -> Cube:
        """The literals that say which state it is; `holds`: the predicates that hold."""
        out: set[Literal] = set()
        for values in self._cells:
            if len(values) == 1:
                out.add(values[0] if holds[values[0] >> 1] else values[0] ^ 1)
            else:
                out |= {v for v in values if holds[v >> 1] ^ bool(v & 1)}
        return frozenset(out)

    def columns(self, states: Sequence[State]) -> Iterator[int | None]:
        """Of each predicate the states of the interpreter in which it holds, as the bits of a number; None: unknown."""
        values: dict[Cell, list[int]] = {}
        for s in self._slots:
            if s.length:
                values[s.cell] = [len(state[s.slot]) for state in states]  # type: ignore[arg-type]
            elif s.bit >= 0:
                values[s.cell] = [state[s.slot] >> s.bit & 1 for state in states]  # type: ignore[operator]
            else:
                values[s.cell] = [int(state[s.slot]) for state in states]  # type: ignore[call-overload]
        for p in self.all:
            if p.cell is None or p.value is None:
                yield None
                continue
            wanted = concrete(p.type, p.value)
            yield int("0" + "".join("1" if v == wanted else "0" for v in reversed(values[p.cell])), 2)

    def common(self, cube: Cube, state: Cube) -> Cube:
        """The literals of the cube that hold in the state."""
        return frozenset(x for x in cube if x in state or (x & 1 and x ^ 1 not in state))

    def formula(self, lit: Literal) -> Formula:
        return self.holds[lit >> 1] ^ (lit & 1)

    def formula_after(self, lit: Literal) -> Formula:
        return self.after[lit >> 1] ^ (lit & 1)

    # ------------------------------------------------------------ renamings

    def _types(self) -> list[Symmetric]:
        """The symmetric types whose identities are renamed: as many as there are renamings for."""
        out: list[Symmetric] = []
        for t in sorted(self.system.symmetric, key=lambda t: t.size):
            if prod(factorial(u.size) for u in (*out, t)) <= MOST_RENAMINGS:
                out.append(t)
        return out

    def _orders(self) -> Iterator[dict[Id, Id]]:
        """Every renaming of identities but the one that changes nothing."""
        rest = {Id(t.name, i): Id(t.name, i) for t in self.system.symmetric for i in range(t.size)}
        for orders in product(*(permutations(range(t.size)) for t in self.renamed)):
            pairs = zip(self.renamed, orders, strict=True)
            moved = {Id(t.name, i): Id(t.name, j) for t, o in pairs for i, j in enumerate(o)}
            if any(a != b for a, b in moved.items()):
                yield rest | moved

    def _moved(self, number: int, names: Mapping[Id, Id]) -> tuple[Literal, Literal]:
        p = self.all[number]
        if p.cell is None or p.value is None:
            return 2 * number, 2 * number + 1
        lit = self.number[renamed_cell(p.cell, names), renamed(p.value, names)]
        return lit, lit ^ 1

    def orbit(self, cube: Cube) -> list[Cube]:
        """The cube under all renamings, itself first."""
        return list(dict.fromkeys([cube, *(frozenset(by[x] for x in cube) for by in self.renamings)]))


class Composed:
    """Formulas over the state after the step, as formulas over the state before it and the inputs."""

    def __init__(self, encoding: Encoding) -> None:
        self.f = encoding.f
        self._known: dict[int, Formula] = {0: TRUE}
        for atom, after in zip(encoding.atoms, encoding.after, strict=True):
            self._known[encoding.f.atom(atom) >> 1] = after

    def of(self, formula: Formula) -> Formula:
        """The formula; every atom in it must be one of the state."""
        for node in self.f.below([formula]):
            if node not in self._known:
                parts = self.f.parts[node]
                assert parts is not None
                a, b = (self._known[p >> 1] ^ (p & 1) for p in parts)
                self._known[node] = self.f.both(a, b)
        return self._known[formula >> 1] ^ (formula & 1)


def mentions_identities(t: Type) -> bool:
    """Whether identities of a symmetric type occur in values of the type."""
    return "Symmetric(" in repr(t)

"""Blocked cubes as lemmas that people read: `forall p: Page { place[p] in {ram, flying} => !locked[p] }`.

Cubes that differ in the value of one cell are one lemma about several values, and a cube with all its renamings is one
about all identities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import combinations

from hmmspec.checker.symbolic.cells import (
    Cell,
    Id,
    Length,
    Value,
    Wording,
    concrete,
    ids,
    ids_of,
    renamed,
    renamed_cell,
)
from hmmspec.checker.symbolic.predicates import Cube, Literal, Predicates, mentions_identities
from hmmspec.system import expr as E
from hmmspec.system.show import show_expr
from hmmspec.system.spelling import in_words
from hmmspec.system.types import BOOL, Bool, Set, Type, cardinality, from_ordinal, ordinal

Values = frozenset[int]  # ordinals of values of a cell
Part = tuple[Cell, Values]  # the cell has one of these values
Block = frozenset[Part | Literal]  # parts that never hold together; literals, where they name identities in values


class Words:
    """Lemmas of one encoding."""

    def __init__(self, predicates: Predicates) -> None:
        self.p, self.system = predicates, predicates.system
        self.w = Wording(self.system)
        self.types: dict[Cell, Type] = {p.cell: p.type for p in predicates.all if p.cell is not None}
        self._renamings = [{}, *predicates.id_renamings]

    def lemmas(self, cubes: Iterable[Cube]) -> list[str]:
        """What the cubes say, the shortest first."""
        out = [self._text(b) for b in self._merged(cubes)]
        return sorted(dict.fromkeys(out), key=lambda t: (len(t), t))

    # ------------------------------------------------------------ merging

    def _block(self, cube: Cube) -> Block:
        """The same by cells."""
        out: set[Part | Literal] = set()
        cells: dict[Cell, Values] = {}
        for x in cube:
            p = self.p.all[x >> 1]
            if p.cell is None or p.value is None or not self._closed(p.cell):
                out.add(x)
                continue
            everything = frozenset(range(cardinality(p.type)))
            one = frozenset([ordinal(p.type, concrete(p.type, p.value))])
            cells[p.cell] = cells.get(p.cell, everything) & (everything - one if x & 1 else one)
        return frozenset(out) | frozenset(cells.items())

    def _closed(self, cell: Cell) -> bool:
        """Whether its values can be listed in the language: no identities are among them."""
        return not mentions_identities(self.types[cell]) and not any(isinstance(s, Length) for s in cell.path)

    def _merged(self, cubes: Iterable[Cube]) -> list[Block]:
        """Blocks that differ in the values of one cell become one, as long as there are any."""
        found: dict[Block, None] = {}
        places: dict[tuple[Block, Cell], Block] = {}  # without the values of the cell
        todo = [self._block(c) for c in cubes]
        while todo:
            block = todo.pop()
            partner = next(self._partners(block, places), None)
            if partner is None:
                found[block] = None
                for rest, cell, _ in _without(block):
                    places.setdefault((rest, cell), block)
                continue
            older, rest, cell, values = partner
            found.pop(older)
            for key in [(r, c) for r, c, _ in _without(older)]:
                if places.get(key) == older:
                    del places[key]
            there = next(v for r, c, v in _without(older) if c == cell and r == rest)
            whole = values | there
            if len(whole) == cardinality(self.types[cell]):
                todo.append(rest)
            else:
                todo.append(rest | {(cell, whole)})
        return list(found)

    def _partners(
        self, block: Block, places: Mapping[tuple[Block, Cell], Block]
    ) -> Iterator[tuple[Block, Block, Cell, Values]]:
        for by in self._renamings:
            for rest, cell, values in _without(self._renamed(block, by)):
                older = places.get((rest, cell))
                if older is not None:
                    yield older, rest, cell, values

    def _renamed(self, block: Block, by: Mapping[Id, Id]) -> Block:
        if not by:
            return block
        number = self.p.number
        out: set[Part | Literal] = set()
        for part in block:
            if isinstance(part, tuple):
                out.add((renamed_cell(part[0], by), part[1]))
                continue
            p = self.p.all[part >> 1]
            if p.cell is None or p.value is None:
                out.add(part)
            else:
                out.add(number[renamed_cell(p.cell, by), renamed(p.value, by)] ^ (part & 1))
        return frozenset(out)

    # ------------------------------------------------------------ words

    def _text(self, block: Block) -> str:
        hidden = [x for x in block if isinstance(x, int) and self.p.all[x >> 1].cell is None]
        if hidden:
            return "never together: " + ", ".join(sorted(self._bare(part) for part in block))
        return in_words(self.system, self.expr(block))

    def _bare(self, part: Part | Literal) -> str:
        if isinstance(part, int) and self.p.all[part >> 1].cell is None:
            name = self.p.all[part >> 1].name
            return f"!({name})" if part & 1 else name
        identity = {Id(t.name, i): Id(t.name, i) for t in self.system.symmetric for i in range(t.size)}
        fixed = {show_expr(self.w.local(i)): E.Const(i.number, self.w.local(i).type) for i in identity}
        return in_words(self.system, E.substitute(self._part(part, identity, negated=False), fixed))

    def expr(self, block: Block) -> E.Expr:
        """That the parts never hold together, as an expression; of cells only."""
        parts = sorted(block, key=self._order)
        used: dict[Id, Id] = {}
        count: dict[str, int] = {}
        for part in parts:
            for i in self._ids(part):
                if i not in used:
                    used[i] = Id(i.sort, count.setdefault(i.sort, 0))
                    count[i.sort] += 1
        body = self._part(parts[-1], used, negated=True)
        if parts[:-1]:
            before = (self._part(p, used, negated=False) for p in parts[:-1])
            body = E.Logic("=>", reduce(lambda a, b: E.Logic("&&", a, b), before), body)
        closed = {t.name for t in self.p.renamed}
        local = self.w.local
        fixed = {show_expr(local(n)): E.Const(i.number, local(n).type) for i, n in used.items() if i.sort not in closed}
        body = E.substitute(body, fixed)
        return self._forall([n for i, n in used.items() if i.sort in closed], body)

    def _forall(self, names: Sequence[Id], body: E.Expr) -> E.Expr:
        """For all (different) identities of these names."""
        if not names:
            return body
        different: list[E.Expr] = [
            E.Compare("!=", self.w.local(a), self.w.local(b)) for a, b in combinations(names, 2) if a.sort == b.sort
        ]
        filter_ = reduce(lambda a, b: E.Logic("&&", a, b), different) if different else None
        return E.Quant("forall", tuple(self.w.binder(n) for n in names), filter_, body, BOOL)

    def _ids(self, part: Part | Literal) -> Iterator[Id]:
        if isinstance(part, tuple):
            yield from ids_of(part[0])
            return
        p = self.p.all[part >> 1]
        assert p.cell is not None
        assert p.value is not None
        yield from ids_of(p.cell)
        yield from ids(p.value)

    def _order(self, part: Part | Literal) -> tuple[int, str]:
        """What says much comes first: one value of many."""
        if isinstance(part, tuple):
            return len(part[1]), repr(part[0])
        return (100 if part & 1 else 1), repr(self.p.all[part >> 1])

    def _part(self, part: Part | Literal, names: Mapping[Id, Id], *, negated: bool) -> E.Expr:
        if isinstance(part, tuple):
            return self._among(part, names, negated=negated)
        p = self.p.all[part >> 1]
        assert p.cell is not None
        value: Value | None = p.value
        assert value is not None
        cell = self.w.cell(renamed_cell(p.cell, names))
        op = "!=" if bool(part & 1) ^ negated else "=="
        return E.Compare("!=" if op == "!=" else "==", cell, self.w.value(p.type, renamed(value, names)))

    def _among(self, part: Part, names: Mapping[Id, Id], *, negated: bool) -> E.Expr:
        """The cell has one of these values, or none of them."""
        cell, (t, values) = self.w.cell(renamed_cell(part[0], names)), (self.types[part[0]], part[1])
        everything = frozenset(range(cardinality(t)))
        if isinstance(t, Bool):
            return cell if (1 in values) ^ negated else E.Not(cell)
        if negated:
            values, negated = everything - values, False
        if len(everything - values) < len(values):
            values, negated = everything - values, True
        if len(values) == 1:
            value = E.Const(from_ordinal(t, next(iter(values))), t)
            return E.Compare("!=" if negated else "==", cell, value)
        inside = E.InSet(cell, E.Const(sum(1 << v for v in values), Set(t)))
        return E.Not(inside) if negated else inside


def _without(block: Block) -> Iterator[tuple[Block, Cell, Values]]:
    """Each cell with its values, and the rest."""
    for part in block:
        if isinstance(part, tuple):
            yield block - {part}, part[0], part[1]

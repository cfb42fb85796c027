"""Boolean formulas as a graph of conjunctions and negations, each made once (an and-inverter graph).

A formula is an int: twice the number of its node, plus one where it is negated; so `negated(f) == f ^ 1`, and two
formulas that are built alike are equal.  Node 0 is the constant: `TRUE == 0`, `FALSE == 1`.  Other nodes are atoms (a
leaf with whatever the caller says it is) or conjunctions of two formulas.  Source of the form: A. Kuehlmann et al.,
"Robust Boolean reasoning for equivalence checking and functional property verification", 2002.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator

TRUE = 0
FALSE = 1

Formula = int


class Formulas:
    """All formulas of one encoding."""

    def __init__(self) -> None:
        self.parts: list[tuple[Formula, Formula] | None] = [None]  # of conjunctions, by node
        self.atoms: dict[int, Hashable] = {}  # by node
        self._conjunctions: dict[tuple[Formula, Formula], Formula] = {}
        self._leaves: dict[Hashable, Formula] = {}

    def atom(self, what: Hashable) -> Formula:
        """The leaf for `what`; equal ones are one leaf."""
        found = self._leaves.get(what)
        if found is None:
            found = 2 * len(self.parts)
            self.atoms[len(self.parts)] = what
            self.parts.append(None)
            self._leaves[what] = found
        return found

    def both(self, a: Formula, b: Formula) -> Formula:
        """`a && b`."""
        if a > b:
            a, b = b, a
        if a in (TRUE, b):
            return b
        if a == FALSE or a == b ^ 1:
            return FALSE
        found = self._conjunctions.get((a, b))
        if found is None:
            found = self._absorbed(a, b)
            if found is None:
                found = 2 * len(self.parts)
                self.parts.append((a, b))
            self._conjunctions[a, b] = found
        return found

    def _absorbed(self, a: Formula, b: Formula) -> Formula | None:
        """What is seen one level below: `x && (x && y)`, `x && (!x && y)`, `x && !(x && y)`, .."""
        for x, y in ((a, b), (b, a)):
            inner = self.parts[y >> 1]
            if inner is None:
                continue
            if not y & 1:
                if x in inner:
                    return y
                if x ^ 1 in inner:
                    return FALSE
            elif x ^ 1 in inner:
                return x
            elif x in inner:
                rest = inner[1] if inner[0] == x else inner[0]
                return self.both(x, rest ^ 1)
        return None

    def either(self, a: Formula, b: Formula) -> Formula:
        """`a || b`."""
        return self.both(a ^ 1, b ^ 1) ^ 1

    def implies(self, a: Formula, b: Formula) -> Formula:
        """`a => b`."""
        return self.both(a, b ^ 1) ^ 1

    def all(self, formulas: Iterable[Formula]) -> Formula:
        """The conjunction of any number, as a balanced tree."""
        return self._tree(list(formulas), FALSE, TRUE, self.both)

    def any(self, formulas: Iterable[Formula]) -> Formula:
        """The disjunction of any number."""
        return self._tree(list(formulas), TRUE, FALSE, self.either)

    def _tree(
        self, todo: list[Formula], ends: Formula, empty: Formula, join: Callable[[Formula, Formula], Formula]
    ) -> Formula:
        while len(todo) > 1:
            todo = [join(todo[i], todo[i + 1]) if i + 1 < len(todo) else todo[i] for i in range(0, len(todo), 2)]
            if ends in todo:
                return ends
        return todo[0] if todo else empty

    def choose(self, condition: Formula, then: Formula, otherwise: Formula) -> Formula:
        """`if condition then .. else ..`."""
        if condition == TRUE:
            return then
        if condition == FALSE:
            return otherwise
        if then == otherwise:
            return then
        return self.either(self.both(condition, then), self.both(condition ^ 1, otherwise))

    def same(self, a: Formula, b: Formula) -> Formula:
        """`a <=> b`."""
        return self.choose(a, b, b ^ 1)

    def below(self, roots: Iterable[Formula]) -> Iterator[int]:
        """The nodes under these formulas, each once, parts before the whole."""
        done: set[int] = set()
        todo = [(r >> 1, False) for r in roots]
        while todo:
            node, ready = todo.pop()
            if ready:
                yield node
                continue
            if node in done:
                continue
            done.add(node)
            todo.append((node, True))
            parts = self.parts[node]
            if parts is not None:
                todo += [(p >> 1, False) for p in parts]

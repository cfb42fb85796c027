"""Formulas about identities as Z3 terms."""

from __future__ import annotations

from typing import Any

import z3

from hmmspec.checker.symbolic.formulas import Formula, Formulas
from hmmspec.checker.symbolic.terms import Every, Holds, Same, Term, The


class Translation:
    """Z3 terms of formulas.  Where a formula speaks of *the* identity that something holds of, it becomes "all of which
    it holds" where it is asserted and "some of which it holds" where it is denied: neither asks for an identity that
    was not there.
    """

    def __init__(self, formulas: Formulas) -> None:
        self.f = formulas
        self.sorts: dict[str, Any] = {}
        self._known: dict[tuple[int, bool], Any] = {(0, True): z3.BoolVal(True), (0, False): z3.BoolVal(True)}
        self._relations: dict[tuple[str, tuple[str, ...]], Any] = {}

    def term(self, f: Formula, asserted: bool = True) -> Any:
        """asserted: whether the formula is claimed to hold, not to fail."""
        todo = [(f >> 1, asserted ^ bool(f & 1))]
        known = self._known
        while todo:
            node, positive = todo[-1]
            if (node, positive) in known:
                todo.pop()
                continue
            parts = self.f.parts[node]
            if parts is None:
                todo.pop()
                known[node, positive] = self._atom(self.f.atoms[node], positive)
                continue
            missing = [(p >> 1, positive ^ bool(p & 1)) for p in parts]
            missing = [m for m in missing if m not in known]
            if missing:
                todo += missing
                continue
            todo.pop()
            known[node, positive] = z3.And(*(self._signed(p, positive ^ bool(p & 1)) for p in parts))
        return self._signed(f, asserted ^ bool(f & 1))

    def _signed(self, f: Formula, positive: bool) -> Any:
        found = self._known[f >> 1, positive]
        return z3.Not(found) if f & 1 else found

    def _atom(self, atom: object, positive: bool) -> Any:
        match atom:
            case Holds(relation, terms):
                key = relation, tuple(t.sort for t in terms)
                if key not in self._relations:
                    sorts = [self.sort(s) for s in key[1]]
                    self._relations[key] = z3.Function(relation, *sorts, z3.BoolSort())
                return self._relations[key](*(self.identity(t) for t in terms))
            case Same(a, b):
                return self.identity(a) == self.identity(b)
            case Every(names, body):
                return z3.ForAll([self.identity(n) for n in names], self.term(body, positive))
            case The(names, which, body) if positive:
                inside = z3.Implies(self.term(which, False), self.term(body, True))
                return z3.ForAll([self.identity(n) for n in names], inside)
            case The(names, which, body):
                inside = z3.And(self.term(which, False), self.term(body, False))
                return z3.Exists([self.identity(n) for n in names], inside)
            case _:
                return z3.Bool(str(atom))

    def sort(self, name: str) -> Any:
        """The sort of a type without bounds."""
        if name not in self.sorts:
            self.sorts[name] = z3.DeclareSort(name)
        return self.sorts[name]

    def identity(self, t: Term) -> Any:
        """An identity."""
        return z3.Const(t.name, self.sort(t.sort))

"""Formulas about identities as Z3 terms.

A proof needs many thousands of them, so they are made by Z3's C interface; what Z3's own Python classes do besides
takes several times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import z3
from z3 import z3core

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
        self._context = z3.main_ctx()
        self._ref = self._context.ref()
        true = self._keep(z3core.Z3_mk_true(self._ref))
        self._known: dict[tuple[int, bool], Any] = {(0, True): true, (0, False): true}
        self._relations: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._identities: dict[Term, Any] = {}

    def term(self, f: Formula, asserted: bool = True) -> Any:
        """asserted: whether the formula is claimed to hold, not to fail."""
        return z3.BoolRef(self._ast(f, asserted), self._context)

    def sort(self, name: str) -> Any:
        """The sort of a type without bounds."""
        if name not in self.sorts:
            self.sorts[name] = z3.DeclareSort(name)
        return self.sorts[name]

    def identity(self, t: Term) -> Any:
        """An identity."""
        if t not in self._identities:
            self._identities[t] = z3.Const(t.name, self.sort(t.sort))
        return self._identities[t]

    # ------------------------------------------------------------ in terms of Z3's C interface

    def _keep(self, ast: Any) -> Any:
        """Never given back: a term is used again and again."""
        z3core.Z3_inc_ref(self._ref, ast)
        return ast

    def _ast(self, f: Formula, asserted: bool) -> Any:
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
                known[node, positive] = self._keep(self._atom(self.f.atoms[node], positive))
                continue
            missing = [(p >> 1, positive ^ bool(p & 1)) for p in parts]
            missing = [m for m in missing if m not in known]
            if missing:
                todo += missing
                continue
            todo.pop()
            known[node, positive] = self._keep(self._all([self._signed(p, positive ^ bool(p & 1)) for p in parts]))
        return self._signed(f, asserted ^ bool(f & 1))

    def _signed(self, f: Formula, positive: bool) -> Any:
        found = self._known[f >> 1, positive]
        return self._keep(z3core.Z3_mk_not(self._ref, found)) if f & 1 else found

    def _all(self, parts: Sequence[Any]) -> Any:
        return z3core.Z3_mk_and(self._ref, len(parts), (z3.Ast * len(parts))(*parts))

    def _atom(self, atom: object, positive: bool) -> Any:
        match atom:
            case Holds(relation, terms):
                args = [self.identity(t).ast for t in terms]
                of = self._relation(relation, tuple(t.sort for t in terms))
                return z3core.Z3_mk_app(self._ref, of.ast, len(args), (z3.Ast * len(args))(*args))
            case Same(a, b):
                return z3core.Z3_mk_eq(self._ref, self.identity(a).ast, self.identity(b).ast)
            case Every(names, body):
                return self._quantified(True, names, self._ast(body, positive))
            case The(names, which, body) if positive:
                inside = z3core.Z3_mk_implies(self._ref, self._ast(which, False), self._ast(body, True))
                return self._quantified(True, names, inside)
            case The(names, which, body):
                return self._quantified(False, names, self._all([self._ast(which, False), self._ast(body, False)]))
            case _:
                return z3.Bool(str(atom), self._context).ast

    def _quantified(self, every: bool, names: Sequence[Term], body: Any) -> Any:
        self._keep(body)
        bound = (z3.Ast * len(names))(*(self.identity(n).ast for n in names))
        return z3core.Z3_mk_quantifier_const(self._ref, every, 1, len(names), bound, 0, (z3.Pattern * 0)(), body)

    def _relation(self, name: str, sorts: tuple[str, ...]) -> Any:
        if (name, sorts) not in self._relations:
            self._relations[name, sorts] = z3.Function(name, *(self.sort(s) for s in sorts), z3.BoolSort())
        return self._relations[name, sorts]

"""Z3's SAT solver for many small questions: literals are ints, clauses lists of them.

A literal is twice the number of a variable, plus one where it is negated; so `negated(x) == x ^ 1`.  What Z3's own
Python classes would do between two questions takes longer than the questions: its C interface is called instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import z3
from z3 import z3core

from hmmspec.checker.symbolic.formulas import Formula, Formulas

Lit = int


class Undecided(Exception):
    """Z3 did not answer a question in time."""


class Sat:
    """One solver.  seconds: for each question; then Undecided is raised.  easy: many easy questions, between which Z3
    had better not simplify what it knows."""

    def __init__(self, seconds: float = 10.0, easy: bool = False) -> None:
        self.context = z3.Context()
        self._ref = self.context.ref()
        self._solver: Any = z3.SimpleSolver(ctx=self.context) if easy else z3.SolverFor("QF_FD", ctx=self.context)
        if easy:
            self._solver.set("relevancy", 0)  # which serves quantifiers: there are none
        self.limit(seconds)
        self._bool = z3.BoolSort(self.context)
        self._asts: list[Any] = []  # of the literals
        self._declarations: list[Any] = []  # of the variables
        self._number: dict[int, Lit] = {}  # by the number that Z3 gives a term
        self._true = z3.BoolVal(True, self.context).as_ast()
        self._model: Any = None
        self.truth = self.literal()
        self.clause([self.truth])

    def limit(self, seconds: float) -> None:
        """How long questions may take from now on."""
        self._solver.set("timeout", max(1, round(1000 * seconds)))

    def _keep(self, ast: Any) -> Any:
        """Never given back: it lives as long as the context."""
        z3core.Z3_inc_ref(self._ref, ast)
        return ast

    def literal(self) -> Lit:
        """A new variable, as a literal."""
        number = len(self._asts)
        symbol = z3core.Z3_mk_int_symbol(self._ref, number)
        term = self._keep(z3core.Z3_mk_const(self._ref, symbol, self._bool.ast))
        for t in (term, self._keep(z3core.Z3_mk_not(self._ref, term))):
            self._number[z3core.Z3_get_ast_id(self._ref, t)] = len(self._asts)
            self._asts.append(t)
        declaration = z3core.Z3_get_app_decl(self._ref, z3core.Z3_to_app(self._ref, term))
        self._declarations.append(declaration)  # its term keeps it
        return number

    def clause(self, literals: Iterable[Lit]) -> None:
        """One of these must hold."""
        asts = [self._asts[x] for x in literals]
        self._assert(z3core.Z3_mk_or(self._ref, len(asts), (z3.Ast * len(asts))(*asts)))

    def _assert(self, ast: Any) -> None:
        z3core.Z3_inc_ref(self._ref, ast)
        z3core.Z3_solver_assert(self._ref, self._solver.solver, ast)
        z3core.Z3_dec_ref(self._ref, ast)

    def term(self, lit: Lit) -> Any:
        """The literal as Z3 knows it."""
        return self._asts[lit]

    def both(self, a: Any, b: Any) -> Any:
        """The conjunction of two terms."""
        return self._keep(z3core.Z3_mk_and(self._ref, 2, (z3.Ast * 2)(a, b)))

    def negation(self, a: Any) -> Any:
        """The negation of a term."""
        return self._keep(z3core.Z3_mk_not(self._ref, a))

    def named(self, term: Any) -> Lit:
        """A new variable that holds where the term does."""
        lit = self.literal()
        self._assert(z3core.Z3_mk_iff(self._ref, self._asts[lit], term))
        return lit

    def solve(self, assumptions: Sequence[Lit]) -> bool:
        """Whether all clauses and all these can hold together.  Raises Undecided."""
        self._model = None
        some = (z3.Ast * len(assumptions))(*(self._asts[x] for x in assumptions))
        answer = z3core.Z3_solver_check_assumptions(self._ref, self._solver.solver, len(assumptions), some)
        if answer == 0:
            raise Undecided
        return bool(answer == 1)

    def core(self) -> set[Lit]:
        """After a no: assumptions that suffice for it."""
        return {self._number[t.get_id()] for t in self._solver.unsat_core()}

    def values(self, literals: Iterable[Lit]) -> list[bool]:
        """After a yes: whether each of these holds."""
        if self._model is None:
            self._model = self._solver.model()
        out = []
        for x in literals:
            found = z3core.Z3_model_get_const_interp(self._ref, self._model.model, self._declarations[x >> 1])
            holds = bool(found) and z3core.Z3_is_eq_ast(self._ref, found, self._true)
            out.append(holds ^ bool(x & 1))
        return out


class Circuit:
    """One copy of the formulas of an encoding in a solver.  given: atoms that are literals already."""

    def __init__(self, sat: Sat, formulas: Formulas, given: Mapping[Formula, Lit] | None = None) -> None:
        self.sat, self.formulas = sat, formulas
        self._terms: dict[int, Any] = {0: sat.term(sat.truth)}
        self._named: dict[Formula, Lit] = {0: sat.truth, 1: sat.truth ^ 1}
        for atom, lit in (given or {}).items():
            self._terms[atom >> 1] = sat.term(lit)
            self._named[atom], self._named[atom ^ 1] = lit, lit ^ 1

    def literal(self, f: Formula) -> Lit:
        """The literal that holds where the formula does."""
        found = self._named.get(f)
        if found is None:
            node = f >> 1
            term = self._term(2 * node)
            if 2 * node not in self._named:  # of an atom it is known by now
                lit = self.sat.named(term)
                self._named[2 * node], self._named[2 * node + 1] = lit, lit ^ 1
            found = self._named[f]
        return found

    def knows(self, f: Formula) -> bool:
        """Whether the formula occurs in what was asked so far."""
        return f >> 1 in self._terms

    def _term(self, f: Formula) -> Any:
        if f >> 1 not in self._terms:
            for node in self.formulas.below([f]):
                if node in self._terms:
                    continue
                parts = self.formulas.parts[node]
                if parts is None:
                    lit = self.sat.literal()
                    self._named[2 * node], self._named[2 * node + 1] = lit, lit ^ 1
                    self._terms[node] = self.sat.term(lit)
                else:
                    self._terms[node] = self.sat.both(*(self._signed(p) for p in parts))
        return self._signed(f)

    def _signed(self, f: Formula) -> Any:
        here = self._terms[f >> 1]
        return self.sat.negation(here) if f & 1 else here

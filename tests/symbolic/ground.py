"""The encoding without bounds, read in one state of one instance: which steps it says there are, without a solver.

Quantifiers are spelled out over the identities of the instance.  What the state does not decide (arguments, choices) is
tried out: where a formula asks for it the evaluation starts again, once for each answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from hmmspec.checker.symbolic.formulas import Formula
from hmmspec.checker.symbolic.open_encoding import OpenEncoding
from hmmspec.checker.symbolic.samples import Sizes
from hmmspec.checker.symbolic.steps import Step
from hmmspec.checker.symbolic.terms import Every, Holds, Same, Term, The
from hmmspec.checker.symbolic.translate import Translation
from hmmspec.system.faults import members_of
from hmmspec.system.system import System
from hmmspec.system.types import (
    Array,
    Bool,
    Queue,
    Record,
    Set,
    Symmetric,
    ThreadId,
    Type,
    Union,
    cardinality,
    from_ordinal,
    is_scalar,
    project,
    values,
)
from tests.symbolic.finite import Elements, Model

MOST = 1000  # ways through one step that are tried

T = TypeVar("T")


class Need(Exception):
    """Something that the state does not decide."""

    def __init__(self, what: object, answers: tuple[object, ...]) -> None:
        super().__init__()
        self.what, self.answers = what, answers


class TooMany(Exception):
    """More ways than are tried."""


@dataclass(frozen=True)
class Outcome:
    args: tuple[object, ...]
    after: tuple[tuple[str, object], ...]


class Ground(Model):
    """One state.  `the_all`: which way "the one that .." is read; where it is used rightly both are the same."""

    def __init__(self, encoding: OpenEncoding, system: System, every: frozenset[str], seed: int = 0) -> None:
        translation = Translation(encoding.f)
        sizes = {t.name: t.size for t in system.symmetric if t.name in every}
        super().__init__(encoding, translation, Elements(translation, Sizes(tuple(sizes.items()))), None)
        self.system, self.every, self.logic = system, every, encoding.v.logic
        self.random = Random(seed)
        self.the_all = True
        self.atoms: dict[object, bool] = {}
        self.assigned: dict[object, Any] = {}
        self._fixed: dict[object, bool] = {}
        self._tried: dict[object, bool] = {}
        self._asks: dict[int, bool] = {}

    # ------------------------------------------------------------ states

    def stand(self, state: Mapping[str, object]) -> None:
        """Go to a state."""
        self.atoms.clear()
        self._fixed.clear()
        for v in self.system.variables:
            self._put(v.type, state[v.name], v.name, ())

    def _put(self, t: Type, value: Any, name: str, terms: tuple[Term, ...]) -> None:
        match t:
            case Array(index, element):
                for i, part in enumerate(value):
                    self._put(element, part, *self._part(index, i, name, terms))
            case Set(element) if self._open(element):
                for i in range(cardinality(element)):
                    inner, at = self._part(element, i, f"{name}<>", terms)
                    self.atoms[Holds(inner, at)] = bool(value >> i & 1)
            case Set(element):
                for i in range(cardinality(element)):
                    self.atoms[Holds(f"{name}<{from_ordinal(element, i)}>", terms)] = bool(value >> i & 1)
            case Record(_, fields):
                for (f, inner_type), part in zip(fields, value, strict=True):
                    self._put(inner_type, part, f"{name}.{f}", terms)
            case Queue(capacity, element):
                self._bits(len(value), capacity + 1, f"{name}.size", terms)
                for i in range(capacity):
                    part = value[i] if i < len(value) else self.any_value(element)
                    self._put(element, part, f"{name}@{i}", terms)
            case Bool():
                self.atoms[Holds(name, terms)] = bool(value)
            case Union(members) if not is_scalar(t):
                number, inner_value = project(t, value)
                self._bits(number, len(members), f"{name}.kind", terms)
                for i, m in enumerate(members):
                    self._put(m, inner_value if i == number else self.any_value(m), f"{name}|{i}", terms)
            case _:
                self._scalar(t, value, name, terms)

    def _scalar(self, t: Type, value: int, name: str, terms: tuple[Term, ...]) -> None:
        if not self._open(t):
            places = [from_ordinal(t, i) for i in range(cardinality(t))]
            self._bits(places.index(value), len(places), name, terms)
            return
        number, inner = project(t, value) if isinstance(t, Union) else (0, value)
        plain: list[tuple[int, object]] = []
        for n, m in enumerate(members_of(t)):
            if self._sorted(m):
                for x in range(cardinality(m)):
                    self.atoms[Holds(f"{name}->{n}", (*terms, *self._terms(m, x)))] = (n, x) == (number, inner)
            else:
                plain += [(n, x) for x in values(m)]
        if plain:
            here = (number, inner)
            at = plain.index(here) if here in plain else self.random.randrange(len(plain))
            self._bits(at, len(plain), name, terms)

    def _bits(self, number: int, of: int, name: str, terms: tuple[Term, ...]) -> None:
        for i in range((of - 1).bit_length()):
            self.atoms[Holds(f"{name}:{i}", terms)] = bool(number >> i & 1)

    def _part(self, index: Type, i: int, name: str, terms: tuple[Term, ...]) -> tuple[str, tuple[Term, ...]]:
        if not self._open(index):
            return f"{name}[{from_ordinal(index, i)}]", terms
        number, inner = project(index, i) if isinstance(index, Union) else (0, i)
        assert isinstance(inner, int)
        if isinstance(index, Union):
            name += f"#{number}"
        m = members_of(index)[number]
        return (name, (*terms, *self._terms(m, inner))) if self._sorted(m) else (f"{name}[{inner}]", terms)

    def _sorted(self, t: Type) -> bool:
        return self.encoding.v.sorts_of(t) is not None

    def _open(self, t: Type) -> bool:
        return is_scalar(t) and any(self._sorted(m) for m in members_of(t))

    def _terms(self, t: Type, value: int) -> tuple[Term, ...]:
        if isinstance(t, Symmetric):
            return (self.elements.of[t.name][value],)
        assert isinstance(t, ThreadId)
        out: list[Term] = []
        for i in reversed(t.index):
            value, rest = divmod(value, cardinality(i))
            out[:0] = self._terms(i, rest)
        return tuple(out)

    def any_value(self, t: Type) -> Any:
        """Some value of a type."""
        match t:
            case Array(index, element):
                return tuple(self.any_value(element) for _ in range(cardinality(index)))
            case Record(_, fields):
                return tuple(self.any_value(f) for _, f in fields)
            case Queue(capacity, element):
                return tuple(self.any_value(element) for _ in range(self.random.randint(0, capacity)))
            case Set(element):
                return self.random.getrandbits(cardinality(element))
            case Union(members) if not is_scalar(t):
                number = self.random.randrange(len(members))
                return (number, self.any_value(members[number]))
            case Bool():
                return self.random.random() < 0.5
            case _:
                return from_ordinal(t, self.random.randrange(cardinality(t)))

    # ------------------------------------------------------------ formulas

    def holds(self, f: Formula, given: Mapping[Term, Term] | None = None) -> bool:
        return self._holds(f >> 1, given or {}) ^ bool(f & 1)

    def _holds(self, node: int, given: Mapping[Term, Term]) -> bool:
        if node == 0:
            return True
        names = self.logic.free(2 * node)
        key = (node, self.the_all, tuple(sorted((n, given[n]) for n in names if n in given)) if names else ())
        memo = self._tried if self._depends(node) else self._fixed
        found = memo.get(key)
        if found is None:
            parts = self.encoding.f.parts[node]
            if parts is None:
                found = self._atom(self.encoding.f.atoms[node], given)
            else:
                found = all(self._holds(p >> 1, given) ^ bool(p & 1) for p in parts)
            memo[key] = found
        return found

    def _depends(self, node: int) -> bool:
        """Whether it speaks of more than the state."""
        known = self._asks
        for n in self.encoding.f.below([2 * node]) if node not in known else ():
            parts = self.encoding.f.parts[n]
            if parts is not None:
                known[n] = known[parts[0] >> 1] or known[parts[1] >> 1]
            else:
                known[n] = n > 0 and self._is_asked(self.encoding.f.atoms[n])
        return known[node]

    def _is_asked(self, atom: object) -> bool:
        match atom:
            case Holds(relation, terms):
                return relation.startswith("rule ") or any(self._constant(t) for t in terms)
            case Same(a, b):
                return self._constant(a) or self._constant(b)
            case Every(_, body):
                return self._depends(body >> 1)
            case The(_, which, body):
                return self._depends(which >> 1) or self._depends(body >> 1)
            case _:
                return True

    def _constant(self, t: Term) -> bool:
        return not t.bound and t not in self.elements.of[t.sort]

    def _atom(self, atom: object, given: Mapping[Term, Term]) -> bool:
        if isinstance(atom, The) and not self.the_all:
            return any(
                self.holds(atom.which, inner) and self.holds(atom.body, inner)
                for e in self._tuples(atom.names)
                for inner in ({**given, **dict(zip(atom.names, e, strict=True))},)
            )
        if isinstance(atom, The):
            return all(
                not self.holds(atom.which, inner) or self.holds(atom.body, inner)
                for e in self._tuples(atom.names)
                for inner in ({**given, **dict(zip(atom.names, e, strict=True))},)
            )
        return super()._atom(atom, given)

    def _element(self, t: Term) -> Term:
        if not self._constant(t):
            return t
        if t not in self.assigned:
            raise Need(t, self.elements.of[t.sort])
        found: Term = self.assigned[t]
        return found

    def _ask(self, atom: object) -> bool:
        if isinstance(atom, Holds) and not atom.relation.startswith("rule "):
            return self.atoms[atom]
        if atom not in self.assigned:
            raise Need(atom, (False, True))
        return bool(self.assigned[atom])

    # ------------------------------------------------------------ steps

    def ways(self, of: Callable[[], T]) -> Iterator[T]:
        """What comes out for each answer to what is asked on the way."""
        todo: list[dict[object, object]] = [{}]
        tried = 0
        while todo:
            tried += 1
            if tried > MOST:
                raise TooMany
            self.assigned = todo.pop()
            self._tried.clear()
            try:
                found = of()
            except Need as need:
                todo += [{**self.assigned, need.what: a} for a in need.answers]
                continue
            yield found

    def both_ways(self, f: Formula) -> bool:
        """Whether a formula holds, however "the one that .." is read."""
        self.the_all = False
        some = self.holds(f)
        self.the_all = True
        found = self.holds(f)
        assert found == some, "`the` is said of what is not"
        return found

    def axioms_hold(self) -> bool:
        return self.both_ways(self.encoding.axioms)

    def outcomes(self, step: Step) -> set[Outcome]:
        """The steps of a rule out of this state."""

        def one() -> Outcome | None:
            if not self.both_ways(step.enabled):
                return None
            after = tuple(self.values(step.after, self.system).items())
            return Outcome(self._args(step), after)

        return {o for o in self.ways(one) if o is not None}

    def findings(self, step: Step) -> set[tuple[tuple[object, ...], str]]:
        """Arguments and names of the findings that the rule can end in."""
        out: set[tuple[tuple[object, ...], str]] = set()
        for x in step.findings:

            def one(condition: Formula = x.condition) -> tuple[object, ...] | None:
                return self._args(step) if self.both_ways(condition) else None

            out |= {(args, x.name) for args in self.ways(one) if args is not None}
        return out

    def _args(self, step: Step) -> tuple[object, ...]:
        rule = self.system.rules[step.rule.number]
        return tuple(self.plain(p.type, v) for p, v in zip(rule.params, step.arguments, strict=True))

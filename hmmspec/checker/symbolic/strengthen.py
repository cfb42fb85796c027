"""Invariants that make a claim provable, found by the tool itself.

Where a step out of a state breaks the claim although everything claimed so far holds in that state, the state should
better not be reachable.  So facts (see `literals`) are looked for that hold together in it, for some choice of
identities, and in no reachable state of small instances: that they never hold together is a candidate.  Candidates are
claims like any other: they must be kept by all steps themselves.  One that is not, and whose counterexample no further
candidate excludes, is dropped, and never tried again; what is left at the end is inductive together with the claims.

After P. Garg et al., "ICE: a robust framework for learning invariants", 2014, and O. Padon et al., "Ivy: safety
verification by interactive generalization", 2016 (diagrams); reachable states of small instances say what may be
generalised.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import combinations, permutations, product

from hmmspec.checker.symbolic.induction import Claim, Gap, Induction
from hmmspec.checker.symbolic.literals import EACH, Fact, facts, names_of
from hmmspec.checker.symbolic.samples import Instances, Sizes
from hmmspec.diagnostics import Limit
from hmmspec.system import expr as E
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import System
from hmmspec.system.types import BOOL

Clause = tuple[tuple[int, bool], ...]  # facts by number that never have these values together

STATES = 4000  # of a small instance that are looked at
POINTS = 40_000  # states times choices of identities
AT_ONCE = 6  # candidates that one counterexample gives


class Samples:
    """Reachable states of small instances, as the facts see them: for each fact one number, bit k of which says
    whether it holds at point k (a state and a choice of identities)."""

    def __init__(self, instances: Instances, system: System, largest: int = 2) -> None:
        self.instances, self.every = instances, instances.every
        self.facts = facts(system, self.every)
        self.names = [name for name, _ in names_of(system, self.every)]
        self.masks = [0] * len(self.facts)
        self.points = 0
        for sizes in list(instances.sizes(largest))[::-1]:
            if self.points < POINTS:
                self._add(sizes)

    def _add(self, sizes: Sizes) -> None:
        interp = self.instances.interpreter(sizes)
        states = self.instances.reached(sizes, STATES)
        for binding in bindings(sizes):
            if self.points >= POINTS:
                return
            columns = columns_of(interp, facts(interp.system, self.every), self.names, binding, states)
            for i, column in enumerate(columns):
                self.masks[i] |= column << self.points
            self.points += len(states)

    def never(self, holding: Sequence[tuple[int, bool]]) -> bool:
        """Whether these facts never have these values together."""
        together = (1 << self.points) - 1
        for i, value in holding:
            together &= self.masks[i] if value else ~self.masks[i]
        return not together


def bindings(sizes: Sizes) -> Iterator[tuple[int, ...]]:
    """Choices of identities for the names of facts: different ones, while there are enough."""
    of_each = [list(permutations(range(n), EACH)) if n >= EACH else [(0,) * EACH] for _, n in sizes.of]
    for chosen in product(*of_each):
        yield tuple(x for some in chosen for x in some)


def columns_of(
    interp: Interpreter, known: Sequence[Fact], names: Sequence[str], binding: tuple[int, ...], states: Sequence[State]
) -> list[int]:
    """Of each fact a number: bit k says whether it holds in state k; where it cannot be evaluated it does not."""
    out: list[int] = []
    for fact in known:
        used = [n for n in names if n in fact.names]
        values = [binding[names.index(n)] for n in used]
        holds = interp.truth(fact.expr, names=tuple(used))
        bits = 0
        for k, s in enumerate(states):
            try:
                if holds(s, *values):
                    bits |= 1 << k
            except SpecFault:
                continue
        out.append(bits)
    return out


@dataclass
class Strengthened:
    """What came of it.  lemmas: what was found, besides the claims; open_: claims that are not shown, each with a
    counterexample to induction (None: not decided in time)."""

    lemmas: list[Claim] = field(default_factory=list)
    open_: dict[Claim, Gap | None] = field(default_factory=dict)


class Strengthener:
    """Looks for what is missing.  seconds: for all of it."""

    def __init__(self, induction: Induction, instances: Instances, claims: Sequence[Claim], seconds: float) -> None:
        self.induction, self.instances, self.claims = induction, instances, list(claims)
        self.until = time.monotonic() + seconds
        self.system = induction.encoding.system
        self._samples: Samples | None = None
        self.lemmas: dict[Clause, Claim] = {}
        self.refused: set[Clause] = set()

    @property
    def samples(self) -> Samples:
        """Made when the first counterexample asks for them."""
        if self._samples is None:
            self._samples = Samples(self.instances, self.system)
        return self._samples

    def run(self, tell: Callable[[str], None] = lambda _: None) -> Strengthened:
        """Strengthen until nothing is broken, or nothing helps, or the time is up."""
        out = Strengthened()
        todo: list[Claim] = list(self.claims)
        while todo:
            if time.monotonic() > self.until:
                raise Limit("time")
            claim = todo.pop(0)
            if claim not in self.claims and claim not in self.lemmas.values():
                continue
            gap = next(self.induction.gaps([*self.claims, *self.lemmas.values()], [claim]), None)
            if gap is None:
                continue
            new = self._blocking(gap) if isinstance(gap, Gap) else []
            if new:
                tell(f"{len(self.lemmas)} lemmas, {len(todo)} to check")
                # What was just found is looked at first: what is wrong with it shows soonest.
                todo = [*new, claim, *(c for c in todo if c != claim)]
            elif claim in self.claims:
                out.open_[claim] = gap if isinstance(gap, Gap) else None
            else:
                self._drop(claim)
                # Whatever was shown with its help has to be shown again.
                todo = [*self.claims, *self.lemmas.values()]
                out.open_.clear()
        out.lemmas = list(self.lemmas.values())
        return out

    def _drop(self, claim: Claim) -> None:
        clause = next(k for k, c in self.lemmas.items() if c == claim)
        del self.lemmas[clause]
        self.refused.add(clause)

    # ------------------------------------------------------------ candidates

    def _blocking(self, gap: Gap) -> list[Claim]:
        """New candidates that exclude the state of a counterexample."""
        interp = self.instances.interpreter(gap.sizes)
        state = interp.build(gap.model.values(self.induction.encoding.state, interp.system))
        known = facts(interp.system, self.instances.every)
        found: list[Clause] = []
        for size in (1, 2, 3):
            for binding in bindings(gap.sizes):
                columns = columns_of(interp, known, self.samples.names, binding, [state])
                found += self._impossible([(i, bool(c)) for i, c in enumerate(columns)], size)
            found = [c for c in dict.fromkeys(found) if c not in self.refused and c not in self.lemmas]
            if found:
                break
        made: list[Claim] = []
        for clause in sorted(found, key=self._cost)[:AT_ONCE]:
            self.lemmas[clause] = claim = self._claim(clause)
            made.append(claim)
        return made

    def _impossible(self, holding: list[tuple[int, bool]], size: int) -> list[Clause]:
        """So many of these facts that never have these values together in the samples, though fewer of them do."""
        s = self.samples
        everything = (1 << s.points) - 1
        columns = [(i, value, s.masks[i] if value else s.masks[i] ^ everything) for i, value in holding]
        if size == 1:
            return [((i, value),) for i, value, column in columns if not column]
        # Facts that tell nothing apart in the samples say nothing here.
        columns = [c for c in columns if c[2] and c[2] != everything]
        if size == 2:
            return [((i, v), (j, w)) for (i, v, a), (j, w, b) in combinations(columns, 2) if not a & b]
        out: list[Clause] = []
        for (i, v, a), (j, w, b) in combinations(columns, 2):
            both = a & b
            if both and len(out) < 400:
                out += [((i, v), (j, w), (k, x)) for k, x, c in columns if k > j and not both & c and b & c and a & c]
        return out

    def _cost(self, clause: Clause) -> tuple[int, int, int]:
        """The most general first: few facts, few names, and facts that hold rarely tell little."""
        names = frozenset[str]().union(*(self.samples.facts[i].names for i, _ in clause))
        covered = 0
        for i, value in clause:
            n = self.samples.masks[i].bit_count()
            covered += n if value else self.samples.points - n
        return len(clause), len(names), -covered

    def _claim(self, clause: Clause) -> Claim:
        """That these facts never have these values together, for any (different) identities."""
        parts: list[E.Expr] = []
        used: set[str] = set()
        for i, value in clause:
            fact = facts_of(self.system, self.instances.every)[i]
            used |= fact.names
            parts.append(E.Not(fact.expr) if value else fact.expr)
        body = reduce(lambda a, b: E.Logic("||", a, b), parts)
        typed = [(n, t) for n, t in names_of(self.system, self.instances.every) if n in used]
        for (a, t), (b, u) in combinations(typed, 2):
            if t == u:
                body = E.Logic("||", E.Compare("==", E.Local(a, t), E.Local(b, u)), body)
        if typed:
            binders = tuple(E.Binder(n, t, E.OverType(t)) for n, t in typed)
            body = E.Quant("forall", binders, None, body, BOOL)
        return Claim(f"lemma {len(self.lemmas) + len(self.refused) + 1}", body)


_FACTS: dict[tuple[int, tuple[str, ...]], tuple[System, list[Fact]]] = {}


def facts_of(system: System, every: tuple[str, ...]) -> list[Fact]:
    """`facts`, made once for a system."""
    key = id(system), every
    if key not in _FACTS:
        _FACTS[key] = system, facts(system, every)
    return _FACTS[key][1]

"""Lemmas that make claims inductive, found by the tool itself.

In small instances every step is asked whether it keeps every claim.  Where one does not, out of a state in which all
that is claimed holds, that state should better not be reachable: a lemma that excludes it (see `candidates`) becomes a
claim like any other.  One that turns out to be false is dropped and never tried again.  What is left at the end is
inductive in these instances, and it is known which claim needs which.

After P. Garg et al., "ICE: a robust framework for learning invariants", 2014; O. Padon et al., "Ivy: safety
verification by interactive generalization", 2016 (generalising what is to be excluded); A. Bradley, "SAT-based model
checking without unrolling", 2011 (only the part of a state that leads to the bad one; lemmas that are inductive
relative to the others first); H. Ma et al., "I4: incremental inference of inductive invariants", 2019 (small
instances).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice

from hmmspec.checker.symbolic.candidates import Cube
from hmmspec.checker.symbolic.cells import Id, Slot, abstract, ids, ids_of
from hmmspec.checker.symbolic.grounded import Grounded, Hole, Known
from hmmspec.checker.symbolic.lemmas import Lemma
from hmmspec.checker.symbolic.samples import Reached, Sizes, raw
from hmmspec.checker.symbolic.seen import alone, contradicted
from hmmspec.system import expr as E
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import State

WITNESSES = 3  # states that are looked at where a hole is reached
BEYOND = 200  # states that are looked at where a lemma turns out to be wrong: there are more of the kind
TRIED = 8  # candidates of one hole that are asked whether they are inductive by themselves


@dataclass
class Strengthener:
    """Looks for what is missing.

    open: claims that were given up, each with what stands in the way; violated: those of them that a real step breaks.
    support: what the steps need to keep a claim; sure: what was proved for every size, with all that it rests on, and
    is not asked again.  widened: lemmas say as much as the samples allow, else only what excludes a hole.  samples:
    reachable states of small instances; claims: what is to be shown; helpers: invariants of the spec that may be
    claimed, too; tell: is told how far it is.
    """

    samples: Sequence[Reached]
    claims: list[Known]
    helpers: Sequence[Known]
    tell: Callable[[str], None] = lambda _: None
    lemmas: dict[Lemma, Known] = field(default_factory=dict)
    refused: set[Lemma] = field(default_factory=set)
    open: dict[Known, Hole] = field(default_factory=dict)
    violated: set[Known] = field(default_factory=set)
    support: dict[Known, tuple[Known, ...]] = field(default_factory=dict)
    sure: set[Known] = field(default_factory=set)
    widened: bool = True
    _named: dict[Lemma, Known] = field(default_factory=dict)
    _truths: dict[tuple[Known, Sizes], Callable[..., object]] = field(default_factory=dict)

    def active(self) -> list[Known]:
        """Everything that is claimed now."""
        return [*self.claims, *self.lemmas.values()]

    def enter(self) -> None:
        """From now on it is another instance: all has to be shown again."""
        self.support = {k: by for k, by in self.support.items() if k in self.sure}

    def begin_anew(self, widened: bool) -> None:
        """Forget the lemmas, but for what was proved with them, and try once more, with others."""
        self.widened = widened
        self.claims = [k for k in self.claims if k in self.sure]
        self.lemmas = {lemma: k for lemma, k in self.lemmas.items() if k in self.sure}
        self.enter()
        self.reopen()

    def reopen(self) -> None:
        """There are more samples: what was given up is worth another try."""
        self.open = {c: hole for c, hole in self.open.items() if c in self.violated}
        self.refused.clear()

    def together(self, g: Grounded, some: Iterable[Known]) -> None:
        """Claim all of these that need nothing else than one another (M. Leino and C. Flanagan, "Houdini, an annotation
        assistant for ESC/Java", 2001).  Those that are not claimed yet and need more stay so.  Raises TimeoutError."""
        kept = [k for k in dict.fromkeys([*self.active(), *some]) if k not in self.open and k not in self.violated]
        found: dict[Known, tuple[Known, ...]] = {k: self.support[k] for k in self.sure}
        todo = [k for k in kept if k not in found]
        while todo:
            for k in todo:
                # A core may name what is not needed: so it is asked alone, first.
                support = g.needed([k], k) if k not in found else None
                if support is None:
                    support = g.needed(kept, k)
                if support is None:
                    kept = [x for x in kept if x != k]
                    found.pop(k, None)
                else:
                    found[k] = support
            todo = [k for k in kept if not set(found[k]).issubset(kept)]
        self.support.update(found)
        self.claims += [k for k in kept if k.lemma is None and k not in self.claims]

    def add(self, g: Grounded, claim: Known, holes: int) -> bool:
        """Claim this, too, and make it inductive in the instance.  False: that took more than so many holes (or more
        time than there is: TimeoutError); then only what was shown is kept.  A claim that cannot be made inductive is
        put into `open`."""
        before = list(self.claims)
        if claim not in self.claims:
            self.claims.append(claim)
        try:
            if self._close(g, [claim], holes):
                return True
        except TimeoutError:
            self._keep_shown(before)
            raise
        self._keep_shown(before)
        return False

    def _keep_shown(self, claims: Sequence[Known]) -> None:
        """What was added without being shown is claimed no longer."""
        shown = {c for c in self.support if all(x in self.support for x in self.needed([c]))}
        self.support = {c: self.support[c] for c in self.support if c in shown}
        self.claims = [c for c in self.claims if c in claims or c in shown]
        self.lemmas = {lemma: c for lemma, c in self.lemmas.items() if c in shown}

    def _close(self, g: Grounded, todo: list[Known], holes: int) -> bool:
        """Make these inductive, and whatever that needs; False: not with so many holes.  Raises TimeoutError."""
        while todo:
            c = todo.pop()
            if c in self.support or (c not in self.claims if c.lemma is None else c.lemma not in self.lemmas):
                continue
            needed = g.needed(self.active(), c)
            if needed is not None:
                self.support[c] = needed
                todo += [x for x in needed if x not in self.support]
                continue
            if not holes:
                return False
            holes -= 1
            hole = g.hole(c)
            hole = g.lifted(hole)
            cube = Cube(hole.state, [g.slots[i] for i in hole.cells], self.samples)
            real = cube.reached and self._breaks_some(c, hole, cube)
            if cube.reached and not real:
                # With other identities besides the step is another: more must be said of these.
                cube = Cube(hole.state, _around(g, hole), self.samples, base=len(hole.cells))
            if cube.reached:
                todo += self._refute(c, hole, cube, real or self._breaks_some(c, hole, cube))
                continue
            new = self._blocking(g, hole, cube)
            if new is not None:
                todo += [c, new]  # the new one comes first: what is wrong with it shows soonest
                self.tell(f"{len(self.lemmas)} lemmas")
            else:
                self.open[c] = hole
                todo += self._drop(c)
        return True

    def _breaks_some(self, c: Known, hole: Hole, cube: Cube) -> bool:
        """Whether the step breaks the claim in one of some sampled states that agree with the hole."""
        return any(self._breaks(c, hole.rule, r, s) for r, s in islice(cube.witnesses(), WITNESSES))

    def _breaks(self, c: Known, rule: int, reached: Reached, state: State) -> bool:
        """Whether a step of the rule out of this state breaks the claim."""
        steps, failures = reached.interp.expand(state)
        e = c.expr(reached.interp.system)
        if e is None:
            return any(number == rule and f.name == c.name for number, _, f in failures)
        after = [t for number, _, t in steps if number == rule]
        if not c.is_step(reached.interp.system):
            return any(not self._true(c, reached, t) for t in after)
        holds = reached.interp.truth(e, step=True)
        try:
            return not all(holds(state, t) for t in after)
        except SpecFault:
            return True

    def _refute(self, c: Known, hole: Hole, cube: Cube, real: bool) -> list[Known]:
        """A reached state has a step that breaks the claim (real), or agrees with one that has in all that can be said.
        What follows it is reached, too, and shows which other claims are wrong."""
        wrong = {c: hole}
        for reached, s in islice(cube.witnesses(), WITNESSES):
            new = alone(reached.sizes, reached.interp, reached.add_after(s, BEYOND))
            for k in self.active():
                if k not in wrong and not k.is_step(reached.interp.system) and not self.true_in_all(k, new):
                    wrong[k] = hole
        again: list[Known] = []
        for k in wrong:
            if k.lemma is None:
                self.open[k] = hole
                if real or k != c:
                    self.violated.add(k)
            again += self._drop(k)
        return again

    def refuted(self, k: Known) -> None:
        """A reached state is one in which this does not hold."""
        self.violated.add(k)
        if k in self.claims:
            self._drop(k)

    def true_in_all(self, k: Known, reached: Reached) -> bool:
        """Whether it holds in all these states."""
        if k.lemma is not None:
            return not contradicted(k.lemma, reached)
        return all(self._true(k, reached, s) for s in reached.states)

    def wrong_in(self, some: Sequence[Known], reached: Reached) -> list[Known]:
        """Those of these invariants that do not hold in all these states."""
        exprs = [e for e in (k.expr(reached.interp.system) for k in some) if e is not None]
        if not exprs:
            return []
        # As a rule all hold: so all are asked at once.
        together = reached.interp.truth(reduce(lambda a, b: E.Logic("&&", a, b), exprs))
        with suppress(SpecFault):
            if all(map(together, reached.states)):
                return []
        return [k for k in some if not self.true_in_all(k, reached)]

    def _true(self, k: Known, reached: Reached, state: State) -> bool:
        key = k, reached.sizes
        if key not in self._truths:
            e = k.expr(reached.interp.system)
            assert e is not None
            self._truths[key] = reached.interp.truth(e)
        try:
            return bool(self._truths[key](state))
        except SpecFault:
            return False

    def _drop(self, c: Known) -> list[Known]:
        """No longer claim this; what rested on it has to be shown again."""
        if c.lemma is None:
            self.claims.remove(c)
        else:
            del self.lemmas[c.lemma]
            self.refused.add(c.lemma)
        again = [k for k, by in self.support.items() if c in by and k != c]
        for k in [*again, c]:
            self.support.pop(k, None)
        return again

    def _blocking(self, g: Grounded, hole: Hole, cube: Cube) -> Known | None:
        """A new claim that excludes the hole; None: there is none."""
        found = [c for c in cube.candidates(self.widened) if c.lemma not in self.refused]
        best: Known | None = None
        for candidate in found[:TRIED]:
            known = self.called(candidate.lemma)
            best = best or known
            support = g.needed([known, *self.active()], known)
            if support is not None:
                self.lemmas[candidate.lemma] = known
                return known
        helper = self._helper(g, hole)
        if helper is not None:
            self.claims.append(helper)
            return helper
        if best is not None:
            assert best.lemma is not None
            self.lemmas[best.lemma] = best
        return best

    def called(self, lemma: Lemma) -> Known:
        """With a name that no other has."""
        return self._named.setdefault(lemma, Known(f"lemma {len(self._named) + 1}", lemma))

    def _helper(self, g: Grounded, hole: Hole) -> Known | None:
        """Another invariant of the spec that does not hold in the state of the hole."""
        for h in self.helpers:
            if h in self.claims or h in self.open or h in self.violated:
                continue
            e = h.expr(g.interp.system)
            try:
                if e is not None and g.interp.truth(e)(hole.state):
                    continue
            except SpecFault:
                pass
            return h
        return None

    def needed(self, for_: Iterable[Known]) -> list[Known]:
        """These claims and all that they rest on."""
        out = dict.fromkeys(for_)
        todo = list(out)
        while todo:
            for x in self.support.get(todo.pop(), ()):
                if x not in out:
                    out[x] = None
                    todo.append(x)
        return list(out)


def _around(g: Grounded, hole: Hole) -> list[Slot]:
    """All cells of the state that belong to no other identities than those of the hole."""
    named: set[Id] = set()
    for i in hole.cells:
        s = g.slots[i]
        named |= {*ids_of(s.cell), *ids(abstract(s.type, raw(hole.state[s.slot], s)))}
    more = (s for i, s in enumerate(g.slots) if i not in hole.cells and named.issuperset(ids_of(s.cell)))
    return [*(g.slots[i] for i in hole.cells), *more]

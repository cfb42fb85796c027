"""Proofs for every number of identities: what is claimed, what is found to make it inductive, what stands in the way.

What is missing is looked for in small instances (`strengthen`), where Z3 answers at once; then each step is shown to
keep each claim, for every number of identities (`induction`).  A step that does not, with more identities than were
looked at, sends the search to an instance of that size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from hmmspec.checker.symbolic.everysize import EverySize
from hmmspec.checker.symbolic.falsify import FIRST, Runs, Search, look, with_fewer
from hmmspec.checker.symbolic.gaps import smallest
from hmmspec.checker.symbolic.grounded import Grounded, Known, judged
from hmmspec.checker.symbolic.induction import Claim, Induction
from hmmspec.checker.symbolic.judging import described, judging_errors
from hmmspec.checker.symbolic.open_encoding import OpenEncoding
from hmmspec.checker.symbolic.ranks import NoRank, Rank, empty_hands, rank
from hmmspec.checker.symbolic.samples import Instances, Reached, Sampler, Sizes
from hmmspec.checker.symbolic.seen import alone
from hmmspec.checker.symbolic.strengthen import Strengthener
from hmmspec.checker.verdict import Level, Progress, Proof, Status, Verdict
from hmmspec.diagnostics import Limit
from hmmspec.lang import syntax as S
from hmmspec.system.spelling import in_words
from hmmspec.system.system import Invariant, System
from hmmspec.system.types import show_value

WANDER = (40, 200)  # random runs of an instance, at first and when more is tried
FALSIFY = 0.1  # of the time, at least, for finding real runs that violate what is not proved
ROUNDS = 6  # sizes of instances in which lemmas are looked for
HOLES = (60, 400)  # that may be looked at for one property, in the first round and in the second
RETRIES = 2  # with more samples
LOOKED = 4  # with fewer identities of each type an instance gives samples


@dataclass(frozen=True)
class ProveOptions:
    """seconds: of one core, for all properties of one goal together; query: for one question to Z3, in what a machine
    of 2020 does in a second (`induction.WORK`); falsify: look for real runs that violate what is not proved in
    instances with up to so many identities of each type."""

    seconds: float = 120.0
    query: float = 10.0
    falsify: int = 4


@dataclass(frozen=True)
class Goal:
    """Properties of one System to prove for any number of identities of the types `every`."""

    properties: tuple[str, ...]
    every: tuple[str, ...]


@dataclass(frozen=True)
class Proved:
    """What came of a goal.

    verdicts: one for each property, in the order of the goal, with `Verdict.proof`.
    claims: those that were proved, and whatever else of the spec the proof needs; lemmas: invariants that were found.
    Claims and lemmas together hold at the start and are kept by every step.  Their expressions are of `system`.
    """

    goal: Goal
    system: System
    verdicts: tuple[Verdict, ...]
    claims: tuple[Claim, ...] = ()
    lemmas: tuple[Claim, ...] = ()
    left_out: tuple[str, ...] = ()


def goals_of(system: System) -> list[Goal]:
    """The prove clauses of a System: one goal for all properties that speak of the same types."""
    found: dict[tuple[str, ...], list[str]] = {}
    for g in system.proofs:
        found.setdefault(tuple(sorted(g.every)), []).extend(g.properties)
    return [Goal(tuple(dict.fromkeys(names)), every) for every, names in found.items()]


def prove(
    spec: S.Spec,
    system: System,
    goal: Goal,
    options: ProveOptions,
    progress: Callable[[Progress], None] | None = None,
) -> Proved:
    """Prove a goal, or say why not.  Never raises Limit: what is refused or not decided is a verdict that says so."""
    return _Prover(spec, system, goal, options, progress).run()


@dataclass
class _Prover:
    spec: S.Spec
    system: System
    goal: Goal
    options: ProveOptions
    progress: Callable[[Progress], None] | None
    refused: dict[str, str] = field(default_factory=dict)  # by property: why
    undecided: dict[Known, str] = field(default_factory=dict)
    runs: Runs = field(default_factory=dict)  # found before anything was tried
    late: str = ""  # the limit that was reached

    def run(self) -> Proved:
        self.begin = time.monotonic()
        self.until = time.process_time() + self.options.seconds
        try:
            self.instances = Instances(self.spec, self.system, self.goal.every)
            self.instances.check_sizes()
            self.encoding = OpenEncoding(self.system, frozenset(self.goal.every))
        except Limit as limit:
            return self._all_refused(str(limit))
        self.searched = Search(self.instances, self.options.falsify)
        self.induction = Induction(self.encoding, self.instances, self.options.query)
        names = [n for n in self.goal.properties if self._sayable(n)]
        helpers = [p.name for p in self.system.properties if isinstance(p, Invariant) and p.name not in names]
        helpers = [n for n in helpers if n not in self.refused and self._sayable(n, quietly=True)]
        self.known = {n: Known(n) for n in names if n != "lock_cycle"}
        # What is judged must be no error; what a thread holds at a label is what an order of locks rests on.
        self.implied: list[Known] = []
        if "spec_error" in names:
            self.implied += [Known(f"{p.name} without an error", judged=p.name) for p in judged(self.system)]
        if "lock_cycle" in names:
            hands = enumerate(empty_hands(self.system))
            self.implied += [Known(f"empty hands {i + 1}", hands=i) for i, _ in hands]
        self.samples: list[Reached] = []
        may_help = [Known(n) for n in (*names, *helpers) if not Known(n).is_step(self.system)]
        self.search = Strengthener(self.samples, [], may_help, tell=self._tell)
        self.every_size = EverySize(self.induction, self.search, self._claim, self.undecided, self.until, self._tell)
        try:
            self._search()
        except TimeoutError:
            self.late = f"time limit ({self.options.seconds:g} s)"
        except Limit as limit:
            self.late = str(limit)
        return self._result(names)

    def _all_refused(self, why: str) -> Proved:
        self.refused = dict.fromkeys(self.goal.properties, why)
        runs = {}
        if hasattr(self, "instances"):
            seconds = FALSIFY * self.options.seconds
            runs = Search(self.instances, self.options.falsify).search(set(self.goal.properties), set(), seconds)
        verdicts = (self._violated(n, runs) if n in runs else self._refused(n) for n in self.goal.properties)
        return Proved(self.goal, self.system, tuple(verdicts))

    # ------------------------------------------------------------ what can be said

    def _sayable(self, name: str, quietly: bool = False) -> bool:
        """Whether a property can be said for every size."""
        claim = self._claim(Known(name))
        try:
            for p in self.system.properties:
                if p.name == name:
                    self.instances.check_property(p)
            if claim.expr is not None and not claim.step:
                self.encoding.before(claim.expr)
            elif claim.expr is not None:
                for step in self.encoding.steps:
                    self.encoding.across(claim.expr, step)
        except Limit as limit:
            if not quietly:
                self.refused[name] = str(limit)
            return False
        return True

    def _claim(self, k: Known) -> Claim:
        if k not in self._claims:
            self._claims[k] = Claim(k.name, k.expr(self.system), k.is_step(self.system))
        return self._claims[k]

    _claims: dict[Known, Claim] = field(default_factory=dict)

    # ------------------------------------------------------------ the search

    def _search(self) -> None:
        for n in range(1, self.options.falsify + 1):
            self._look(self.instances.same(n), FIRST if n < LOOKED else FIRST // 4, keep=n < LOOKED)
        self._attempt()
        if self._unproved():
            # A lemma that says as much as small instances allow may be true and yet not inductive in larger ones.
            self.search.begin_anew(False)
            self._attempt()

    def _attempt(self) -> None:
        """Look for what makes the properties inductive, in an instance with two of each type, then in those that show
        why it is not enough."""
        two = self.instances.same(2)
        self._enter(two)
        self._close(HOLES[:1])
        found = self.every_size.confirm(self._wanted())
        self._look_further()
        if self._given_up():
            self._close(HOLES[1:])
            self._with_more_samples()
            found += self.every_size.confirm(self._wanted())
        done = {two}
        for _ in range(ROUNDS):
            todo = [s for s in dict.fromkeys(found) if s not in done]
            if not todo:
                return
            for sizes in todo:
                self._look(sizes, FIRST)
                self._enter(sizes)
                self._close(HOLES[-1:])
                done.add(sizes)
            found = self.every_size.confirm(self._wanted())

    def _with_more_samples(self) -> None:
        """A guess is as good as the states that it was made from."""
        for seed in range(1, RETRIES + 1 if self.search.widened else 1):
            if not self._given_up():
                return
            for reached in self.samples:
                self._wander(reached, WANDER[1], seed)
            self.search.reopen()
            self._close(HOLES[-1:])

    def _look_further(self) -> None:
        """What the first attempt did not prove may be false, which shows in a larger search: before more is tried, and
        for as long as the attempt took."""
        names = [n for n in self.goal.properties if n not in self.runs and self.known.get(n) not in self.search.sure]
        if any(self.known.get(n) in self._unproved() for n in names) and not self.searched.begun:
            self._tell("runs of larger instances")
            seconds = min(FALSIFY * self.options.seconds / 4, time.monotonic() - self.begin)
            self.runs.update(self.searched.search(set(names), set(), seconds))
            for k in self._unproved():
                if k.name in self.runs:
                    self.search.refuted(k)

    def _enter(self, sizes: Sizes) -> None:
        """All that is claimed has to be shown in this instance.  What is inductive as it is needs no lemmas."""
        self._tell(f"instance with {sizes}")
        self.search.enter()
        self.grounded = Grounded(self.instances.interpreter(sizes), sizes, self.until)
        self.search.together(self.grounded, [*self._wanted(), *self.search.helpers])

    def _close(self, rounds: Iterable[int]) -> None:
        """Look for what makes the properties inductive in an instance: in each round for all of them, of which each may
        have so many holes.  What needs few comes first that way, and helps the others."""
        for holes in rounds:
            wanted = [k for k in self._wanted() if k not in self.search.violated | set(self.search.open)]
            for k in wanted:
                if k in self.search.support:
                    continue
                self.undecided[k] = f"time limit ({self.options.seconds:g} s)"
                if self.search.add(self.grounded, k, holes):
                    del self.undecided[k]
                else:
                    self.undecided[k] = f"no invariant that makes it inductive was found in {holes} attempts"

    def _unproved(self) -> list[Known]:
        """What may still hold, but was not proved."""
        return [k for k in self._wanted() if k not in self.search.sure and k not in self.search.violated]

    def _given_up(self) -> list[Known]:
        """What may still hold, but was not made inductive."""
        return [k for k in self._wanted() if k not in self.search.support and k not in self.search.violated]

    def _look(self, sizes: Sizes, states: int, keep: bool = True) -> None:
        """Search a small instance: what a run violates needs no proof.  keep: its states are samples."""
        if any(r.sizes == sizes for r in self.samples):
            return
        self._tell(f"runs with {sizes}")
        wanted = [n for n in self.goal.properties if n not in self.runs]
        looked = look(self.instances, sizes, wanted, states)
        self.runs.update(with_fewer(self.instances, looked.runs))
        for k in [*self._wanted(), *self.search.helpers]:
            wrong = k.judged in looked.erred if k.judged else k.name in looked.wrong | looked.erred
            if wrong and k not in self.search.violated:
                self.search.refuted(k)
        if keep:
            self.samples.append(looked.reached)
            if not looked.reached.complete:
                self._wander(looked.reached, WANDER[0], 0)

    def _wander(self, reached: Reached, runs: int, seed: int) -> None:
        """More states of an instance, farther from the start."""
        if reached.complete:
            return
        sampler = Sampler(reached.interp, starts=self.instances.starts(reached.sizes))
        more = alone(reached.sizes, reached.interp, sampler.wander(reached, runs, seed))
        for k in self.search.wrong_in([k for k in self.search.helpers if k not in self.search.violated], more):
            self.search.refuted(k)
        reached.add(more.states)

    def _wanted(self) -> list[Known]:
        return [*self.known.values(), *self.implied]

    def _tell(self, what: str) -> None:
        if self.progress is not None:
            seconds = time.monotonic() - self.begin
            phase = f"proof: {what}"
            self.progress(Progress(self.system.name, self.system.instance, phase, 0, 0, 0, 0, seconds))

    # ------------------------------------------------------------ the result

    def _result(self, names: list[str]) -> Proved:
        shown = self._shown()
        claims = [self._claim(k) for k in shown if k.lemma is None]
        lemmas = [self._claim(k) for k in shown if k.lemma is not None]
        verdicts = []
        if isinstance(self.ranked, Rank):
            claims.append(Claim("lock_cycle", None))
        runs = self._real_runs([n for n in self.goal.properties if not self._is_shown(n, shown)])
        for n in self.goal.properties:
            if n in self.refused and n in runs:
                verdicts.append(self._violated(n, runs))
            elif n in self.refused:
                verdicts.append(self._refused(n))
            elif n == "lock_cycle":
                verdicts.append(self._cyclic_waits(shown, runs))
            elif self.known[n] in shown:
                verdicts.append(self._proved(n))
            else:
                verdicts.append(self._open(n, runs))
        return Proved(self.goal, self.system, tuple(verdicts), tuple(claims), tuple(lemmas), self._left_out())

    def _shown(self) -> list[Known]:
        """What is proved, with all that it rests on."""
        good = [k for k in self._wanted() if k in self.search.sure]
        judging = [k for k in good if k.judged]
        error = self.known.get("spec_error")
        if error in good and not self._judged_without_error(self.search.needed(good)):
            good.remove(error)
        self.ranked = None
        if "lock_cycle" in self.goal.properties and "lock_cycle" not in self.refused:
            self.ranked = self._rank(self.search.needed(good))
        # What was looked at only for the sake of others is told only where they need it.
        if error not in good:
            judging = []
        kept = [k for k in good if not k.judged and (k.hands < 0 or isinstance(self.ranked, Rank))]
        shown = self.every_size.closed(k for k in self.search.needed([*kept, *judging]) if k not in judging)
        return [k for k in shown if not k.judged]

    def _judged_without_error(self, shown: list[Known]) -> bool:
        """Whether no property is an error where it is judged."""
        error = self.known["spec_error"]
        facts = [self.induction.holds(self._claim(k)) for k in shown if not self._claim(k).step and self._claim(k).expr]
        try:
            for name, wrong in judging_errors(self.encoding):
                if self.induction.satisfiable([*facts, wrong]) is not False:
                    self.undecided[error] = f"judging {name} may be an error"
                    return False
        except Limit as limit:
            self.undecided[error] = str(limit)
            return False
        return True

    def _rank(self, shown: list[Known]) -> Rank | NoRank:
        """An order in which locks are taken."""
        facts = [self.induction.holds(self._claim(k)) for k in shown if not self._claim(k).step and self._claim(k).expr]
        return rank(self.encoding, facts, self.induction.satisfiable)

    def _left_out(self) -> tuple[str, ...]:
        return tuple(getattr(self.encoding, "left_out", ()))

    def _proved(self, name: str) -> Verdict:
        used = [k for k in self.search.needed([self.known[name]]) if k.name != name]
        proof = self._proof(
            lemmas=tuple(in_words(self.system, self._claim(k).expr) for k in used if k.lemma is not None),  # type: ignore[arg-type]
            uses=tuple(k.name for k in used if k.lemma is None),
        )
        return self._verdict(name, Status.HOLDS, Level.INDUCTIVE, proof)

    def _is_shown(self, name: str, shown: list[Known]) -> bool:
        return isinstance(self.ranked, Rank) if name == "lock_cycle" else self.known.get(name) in shown

    def _cyclic_waits(self, shown: list[Known], runs: Runs) -> Verdict:
        """lock_cycle: proved by an order of the locks."""
        if isinstance(self.ranked, Rank):
            used = [k for k in shown if not k.is_step(self.system)]
            proof = self._proof(
                lemmas=tuple(self._in_words(k) for k in used if k.lemma or k.hands >= 0),
                uses=tuple(k.name for k in used if k.lemma is None and k.hands < 0),
                reason=f"locks are taken in this order: {', '.join(self.ranked.order)}" if self.ranked.order else "",
            )
            return self._verdict("lock_cycle", Status.HOLDS, Level.INDUCTIVE, proof)
        if "lock_cycle" in runs:
            return self._violated("lock_cycle", runs)
        reason = self.ranked.reason if self.ranked is not None else self.late
        return self._verdict("lock_cycle", Status.UNKNOWN, Level.INCOMPLETE, self._proof(reason=reason))

    def _violated(self, name: str, runs: Runs) -> Verdict:
        trace, level, sizes = runs[name]
        found = self._verdict(name, Status.VIOLATED, level, self._proof(sizes=self._params(sizes)))
        return replace(found, trace=trace)

    def _real_runs(self, names: list[str]) -> Runs:
        names = [n for n in names if n not in self.runs]
        left = self.until - time.process_time()
        sure = {n for n in names if self.known.get(n) in self.search.violated}
        left = max(left, FALSIFY * self.options.seconds)
        return {**self.runs, **self.searched.search(set(names), sure, left)}

    def _open(self, name: str, runs: Runs) -> Verdict:
        """Not proved: violated, or nobody knows."""
        known = self.known[name]
        if name in runs:
            return self._violated(name, runs)
        reason = self.late or self.undecided.get(known, "")
        queues = self.search.open[known].queues if known in self.search.open else ()
        if queues:
            reason = (
                f"it depends on what is in {' and '.join(queues)}: no invariants about the elements of queues are found"
            )
        if not reason and known in self.search.claims:
            on = [k for k in self.search.needed([known]) if k in self.undecided]
            reason = f"it rests on {self._called(on[0])}: {self.undecided[on[0]]}" if on else ""
        if self.encoding.cycle:
            cycle = f"{', '.join(self.encoding.cycle)} lead from identities to identities in a cycle, without bounds"
            reason = f"{reason}; {cycle}" if reason else cycle
        reason = f"{reason}; {self.searched}" if reason else str(self.searched)
        proof = self._proof(reason=reason)
        obstacle = smallest(self.instances, self.search, known, self._grounded_until(5.0), self.undecided)
        if obstacle is not None:
            proof = replace(
                proof, gap=obstacle.trace, blocked_by=obstacle.blocked_by, sizes=self._params(obstacle.sizes)
            )
        return self._verdict(name, Status.UNKNOWN, Level.INCOMPLETE, proof)

    def _in_words(self, k: Known) -> str:
        expr = self._claim(k).expr
        return "" if expr is None else in_words(self.system, expr)

    def _called(self, k: Known) -> str:
        expr = self._claim(k).expr
        return f"`{in_words(self.system, expr)}`" if k.lemma is not None and expr is not None else k.name

    def _grounded_until(self, seconds: float) -> Callable[[Sizes], Grounded]:
        until = time.process_time() + seconds
        return lambda sizes: Grounded(self.instances.interpreter(sizes), sizes, until)

    def _params(self, sizes: Sizes) -> tuple[tuple[str, str], ...]:
        return tuple((self.instances.param(name), str(n)) for name, n in sizes.of)

    def _refused(self, name: str) -> Verdict:
        return self._verdict(name, Status.UNKNOWN, Level.INCOMPLETE, self._proof(reason=self.refused[name]))

    def _proof(self, **more: object) -> Proof:
        fixed = tuple(
            (name, show_value(t, value))
            for name, value, t in self.system.params
            if not hasattr(self, "instances") or name not in self.instances.params
        )
        left_out = self._left_out() if hasattr(self, "encoding") else ()
        return Proof(self.goal.every, fixed, left_out=left_out, **more)  # type: ignore[arg-type]

    def _verdict(self, name: str, status: Status, level: Level, proof: Proof) -> Verdict:
        kind, text, span = described(self.system, name)
        return Verdict(name, kind, text, status, level, span=span, proof=proof)

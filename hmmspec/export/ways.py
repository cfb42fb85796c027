"""The ways through a step: each choice made, all conditions gathered into one guard over the state before the step.

A way has no faults: where one occurs, the guard is false, and a `Failure` says what is wrong and when.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from hmmspec.export.context import Context, Spread, Trouble
from hmmspec.export.evaluate import Evaluator
from hmmspec.export.names import refuse, within
from hmmspec.export.places import Memory, Write
from hmmspec.export.terms import Bounds, Truth, Value
from hmmspec.system.analyse import branches
from hmmspec.system.expr import Binder, Expr
from hmmspec.system.system import (
    Assign,
    Block,
    Check,
    Choose,
    Either,
    For,
    Guard,
    IfElse,
    Let,
    Rule,
    StepProperty,
    System,
)
from hmmspec.system.types import Type

MOST_WAYS = 20_000


@dataclass(frozen=True)
class Way:
    """One guarded atomic assignment of many places at once: all values are read before anything is written."""

    rule: Rule
    bounds: Bounds
    when: Truth
    memory: Memory


@dataclass(frozen=True)
class Failure:
    """A step that ends in a finding: the name of the finding, for a spec error of what kind, and when."""

    rule: Rule
    bounds: Bounds
    when: Truth
    finding: str
    kind: str = ""


class Chooser(ABC):
    """How a language takes the parameters of a step: one step for each value, or a parameter of its own."""

    @abstractmethod
    def options(self, t: Type, name: str) -> Sequence[tuple[Value, Bounds]]:
        """Every value of a type."""


@dataclass(frozen=True)
class Spot:
    """How far a way has come: what has been assumed, and what names and variables stand for."""

    context: Context
    conditions: tuple[Truth, ...] = ()
    bounds: Bounds = ()

    def on(self, condition: Truth) -> Spot:
        return self if condition.known else replace(self, conditions=(*self.conditions, condition))


@dataclass
class Walker:
    """Gathers the ways and failures of every rule of a System."""

    system: System
    evaluator: Evaluator
    chooser: Chooser
    unrolled: Spread
    ways: list[Way] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    dropped: list[Way] = field(default_factory=list)
    """Ways to states that an assume excludes: they are no steps."""

    def walk(self) -> None:
        """Raises SpecError where there are too many ways, or an expression grows too long."""
        for rule in self.system.rules:
            self._rule = rule
            with within(rule.span):
                self._one(rule)

    def _one(self, rule: Rule) -> None:
        for start in self._arguments(rule, 0, Spot(Context())):
            guard, at = self._truth(rule.guard, start)
            if (after := self._live(at.on(guard))) is not None:
                for end in self._run(rule.body, after):
                    self._end(end)
                    if len(self.ways) > MOST_WAYS:
                        raise refuse(f"steps that can go in more than {MOST_WAYS} ways")

    def _arguments(self, rule: Rule, number: int, at: Spot) -> Iterator[Spot]:
        if number == len(rule.params):
            yield at
            return
        p = rule.params[number]
        for value, bounds in self.chooser.options(p.type, p.name):
            context = at.context.with_names(**{p.name: value})
            yield from self._arguments(rule, number + 1, replace(at, context=context, bounds=at.bounds + bounds))

    # ------------------------------------------------------------ conditions and faults

    def _when(self, at: Spot, *more: Truth) -> Truth:
        return self.evaluator.syntax.both(*at.conditions, *more)

    def _live(self, at: Spot) -> Spot | None:
        return None if self._when(at).known is False else at

    def _fail(self, at: Spot, when: Truth, finding: str, kind: str = "") -> None:
        condition = self._when(at, when)
        if condition.known is not False:
            self.failures.append(Failure(self._rule, at.bounds, condition, finding, kind))

    def _past(self, at: Spot, troubles: list[Trouble]) -> Spot:
        """Note the faults of what was evaluated; go on where there is none."""
        if not troubles:
            return at
        syntax, earlier = self.evaluator.syntax, [t.when for t in troubles]
        for kind in dict.fromkeys(t.kind for t in troubles):
            # A later fault is safe to look at only where no earlier one occurs.
            parts = [
                syntax.both(*(syntax.no(w) for w in earlier[:n]), t.when) if _mixed(troubles[:n], kind) else t.when
                for n, t in enumerate(troubles)
                if t.kind == kind
            ]
            self._fail(at, syntax.either(*parts), "spec_error", kind)
        return at.on(syntax.no(syntax.either(*earlier)))

    def _truth(self, e: Expr, at: Spot) -> tuple[Truth, Spot]:
        with self.evaluator.collecting() as troubles:
            found = self.evaluator.truth(e, at.context)
        return found, self._past(at, troubles)

    # ------------------------------------------------------------ statements

    def _run(self, block: Block, at: Spot) -> Iterator[Spot]:
        """Every way through the block, with its choices made."""
        if not block:
            yield at
            return
        first, rest, ev = block[0], block[1:], self.evaluator
        match first:
            case Assign(target, value):
                with ev.collecting() as troubles:
                    variable, path = ev.path(target, at.context)
                    new = ev.value(value, at.context)
                write = Write(variable, path, ev.syntax.true, target.type, new)
                after = self._past(at, troubles)
                context = replace(at.context, memory=(*at.context.memory, write))
                ends = [replace(after, context=context)]
            case Let(name, value):
                with ev.collecting() as troubles:
                    new = ev.value(value, at.context)
                ends = [replace(self._past(at, troubles), context=at.context.with_names(**{name: new}))]
            case Guard(condition):
                holds, after = self._truth(condition, at)
                ends = [after.on(holds)]
            case Check(finding, name, _, condition):
                holds, after = self._truth(condition, at)
                wrong = ev.syntax.no(holds)
                self._fail(after, wrong, name if finding == "assert" else finding)
                ends = [after.on(holds)]
            case IfElse(condition, then, otherwise):
                test, after = self._truth(condition, at)
                ends = self._fork(test, then, otherwise, after)
            case Either(branches_):
                ends = [end for b in branches_ for end in self._run(b, at)]
            case Choose(binders, filter_):
                ends = self._choose(binders, filter_, at)
            case For(binders, filter_, body):
                ends = list(self._passes(binders, filter_, body, at))
        for end in ends:
            if (alive := self._live(end)) is not None:
                yield from self._run(rest, alive)

    def _fork(self, test: Truth, then: Block, otherwise: Block, at: Spot) -> list[Spot]:
        """Both branches; joined again to one way if neither makes a choice."""
        syntax = self.evaluator.syntax
        if test.known is not None:
            return list(self._run(then if test.known else otherwise, at))
        yes, no = at.on(test), at.on(syntax.no(test))
        ends = [list(self._run(then, yes)), list(self._run(otherwise, no))]
        if branches(then) or branches(otherwise) or not (ends[0] and ends[1]):
            return [*ends[0], *ends[1]]
        (a,), (b,) = ends
        known = len(at.context.memory)
        writes = [replace(w, when=syntax.both(test, w.when)) for w in a.context.memory[known:]]
        writes += [replace(w, when=syntax.both(syntax.no(test), w.when)) for w in b.context.memory[known:]]
        out = replace(at, context=replace(at.context, memory=(*at.context.memory, *writes)))
        out = out.on(syntax.implies(test, syntax.both(*a.conditions[len(yes.conditions) :])))
        return [out.on(syntax.either(test, syntax.both(*b.conditions[len(no.conditions) :])))]

    def _choose(self, binders: tuple[Binder, ...], filter_: Expr | None, at: Spot) -> list[Spot]:
        """A way for each value that passes the filter.  A fault for any value is a fault of the whole."""
        syntax = self.evaluator.syntax
        with self.evaluator.collecting() as troubles:
            self.evaluator.bindings(binders, filter_, at.context)
        sound = self._past(at, troubles)
        out: list[Spot] = []

        def go(rest: tuple[Binder, ...], here: Spot) -> None:
            if self._live(here) is None:
                return
            if rest:
                for value, bounds, there in self.evaluator.domain(rest[0], here.context):
                    context = here.context.with_names(**{rest[0].name: value})
                    go(rest[1:], replace(here, context=context, bounds=here.bounds + bounds).on(there))
            else:
                wanted = self.evaluator.truth(filter_, here.context) if filter_ is not None else syntax.true
                out.append(here.on(wanted))

        with self.evaluator.collecting():
            go(binders, sound)
        return out

    def _passes(self, binders: tuple[Binder, ...], filter_: Expr | None, body: Block, at: Spot) -> Iterator[Spot]:
        """A `for`, written out.  A domain is looked at when its binder is entered, the filter before each pass."""
        if not binders:
            wanted, after = self._truth(filter_, at) if filter_ is not None else (self.evaluator.syntax.true, at)
            yield from self._fork(wanted, body, (), after)
            return
        with self.evaluator.collecting() as troubles:
            todo = self.evaluator.domain(binders[0], at.context, self.unrolled)
        ways = [self._past(at, troubles)]
        for value, _, there in todo:
            ways = [end for way in ways for end in self._pass(binders, filter_, body, way, value, there)]
        yield from ways

    def _pass(
        self, binders: tuple[Binder, ...], filter_: Expr | None, body: Block, at: Spot, value: Value, there: Truth
    ) -> list[Spot]:
        inner = replace(at, context=at.context.with_names(**{binders[0].name: value}))
        if there.known:
            return list(self._passes(binders[1:], filter_, body, inner))
        # The rest of the loop for this value, as a branch of its own.
        rest = For(binders[1:], filter_, body)
        return self._fork(there, (rest,), (), inner)

    # ------------------------------------------------------------ the end of a way

    def _end(self, at: Spot) -> None:
        """After the last statement: assumes decide whether this is a step, step properties whether it is right."""
        ev, final = self.evaluator, at.context.memory
        before = at
        for a in self.system.assumes:
            with ev.collecting() as troubles:
                fine = ev.truth(a.body, Context(memory=final))
            at = self._past(at, troubles).on(fine)
        if at is not before:
            outside = ev.syntax.no(ev.syntax.both(*at.conditions[len(before.conditions) :]))
            self.dropped.append(Way(self._rule, at.bounds, self._when(before, outside), ()))
        if self._live(at) is None:
            return
        for p in self.system.properties:
            if isinstance(p, StepProperty):
                with ev.collecting() as troubles:
                    fine = ev.truth(p.body, Context(after=final))
                judged = self._past(at, troubles)
                self._fail(judged, ev.syntax.no(fine), p.name)
        self.ways.append(Way(self._rule, at.bounds, self._when(at), final))


def _mixed(troubles: list[Trouble], kind: str) -> bool:
    return any(t.kind != kind for t in troubles)

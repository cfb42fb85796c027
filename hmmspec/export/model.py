"""What is exported of a System, the same for every language: starts, ways, failures, properties; what is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from hmmspec.export.actions import Actions, actions_of
from hmmspec.export.context import Context, Spread
from hmmspec.export.evaluate import Evaluator
from hmmspec.export.names import identifier, refuse, within
from hmmspec.export.places import Path, Places, Step, scalar
from hmmspec.export.terms import Truth
from hmmspec.export.ways import Chooser, Failure, Walker, Way
from hmmspec.system.initial import elements
from hmmspec.system.run import Interpreter, SpecFault, State, at_most
from hmmspec.system.system import InitAny, Invariant, LeadsTo, Predicate, Reachable, Recoverable, System
from hmmspec.system.types import Array, Enum, Type, cardinality, show_type, values

MOST_STARTS = 1024
MOST_CANDIDATES = 1_000_000  # for these, under an assume


@dataclass(frozen=True)
class Language:
    """One language's part: places, quantifiers, parameters, and how a `for` is written out."""

    places: Places
    spread: Spread
    chooser: Chooser
    unrolled: Spread


@dataclass(frozen=True)
class Claim:
    """A condition that must hold in every state (or, of a `reachable`, in some)."""

    name: str
    sound: Truth  # evaluating it is no spec error
    holds: Truth


@dataclass(frozen=True)
class Open:
    """An element of a variable that starts with any of these values."""

    variable: str
    index: tuple[int, ...]
    type: Type
    values: tuple[object, ...]


@dataclass(frozen=True)
class Model:
    """starts: for each start state the values of all variables; open: what each start may hold instead, one by one, so
    that every combination is a start state too; erred: a first value is a spec error.
    rest: where it is right that nothing moves; left_out: what the other checker is not told."""

    starts: tuple[dict[str, object], ...]
    open: tuple[Open, ...]
    erred: bool
    ways: tuple[tuple[Way, Actions], ...]
    failures: tuple[Failure, ...]
    dropped: tuple[Way, ...]
    invariants: tuple[Claim, ...]
    reachable: tuple[Claim, ...]
    rest: Claim
    left_out: tuple[str, ...]


def model_of(system: System, language: Language) -> Model:
    """Raises SpecError, which names the construct, where the language cannot say something."""
    places = language.places
    evaluator = Evaluator(system, places, language.spread)
    starts, open_, erred = _starts(system)
    walker = Walker(system, evaluator, language.chooser, language.unrolled)
    walker.walk()
    properties = system.properties
    return Model(
        starts,
        open_,
        erred,
        tuple((way, _actions(places, way)) for way in walker.ways),
        tuple(walker.failures),
        tuple(walker.dropped),
        tuple(_claim(evaluator, p) for p in properties if isinstance(p, Invariant)),
        tuple(_claim(evaluator, p) for p in properties if isinstance(p, Reachable)),
        _rest(system, evaluator),
        tuple(_left_out(system)),
    )


def _actions(places: Places, way: Way) -> Actions:
    with within(way.rule.span):
        return actions_of(places, way.memory)


def _claim(evaluator: Evaluator, p: Invariant | Reachable | Predicate) -> Claim:
    syntax = evaluator.syntax
    with within(p.span), evaluator.collecting() as troubles:
        holds = evaluator.truth(p.body, Context())
    return Claim(identifier(p.name), syntax.no(syntax.either(*(t.when for t in troubles))), holds)


def _rest(system: System, evaluator: Evaluator) -> Claim:
    """A terminal holds; without any: every thread has stopped."""
    syntax = evaluator.syntax
    if system.terminal:
        claims = [_claim(evaluator, t) for t in system.terminal]
        sound = syntax.both(*(c.sound for c in claims))
        return Claim("terminal", sound, syntax.either(*(c.holds for c in claims)))
    parts: list[Truth] = []
    for t in system.threads:
        place, stopped = system.variable(t.place), syntax.num(len(t.labels) - 1)
        for path, leaf in evaluator.places.cells(place.type):
            parts.append(syntax.same(scalar(evaluator.places.load(place.name, path, leaf, ())), stopped))
    return Claim("stopped", syntax.true, syntax.both(*parts) if parts else syntax.false)


def _starts(system: System) -> tuple[tuple[dict[str, object], ...], tuple[Open, ...], bool]:
    interpreter = Interpreter(system)
    if interpreter.initial_fault is not None:
        return (), (), True

    def read(state: State) -> dict[str, object]:
        return {v.name: interpreter.read(state, v.name) for v in system.variables}

    try:
        hidden = f"an assume that leaves few start states of more than {MOST_CANDIDATES} combinations of first values"
        tick = at_most(MOST_CANDIDATES, refuse(hidden, fix="a smaller instance may have fewer"))
        found = [read(state) for state in islice(interpreter.initial(tick), MOST_STARTS + 1 if system.assumes else 1)]
    except SpecFault as fault:
        raise refuse("an assume that is a spec error in a start state", fault.fault.span) from None
    if not found:
        raise refuse("a spec without a start state: an assume excludes every one")
    if len(found) > MOST_STARTS:
        raise refuse(f"more than {MOST_STARTS} start states under an assume", fix="a smaller instance may have fewer")
    return tuple(found), () if system.assumes else tuple(_open(system)), False


def _open(system: System) -> Iterator[Open]:
    """The elements that start with `any` value."""
    for v in system.variables:
        if isinstance(v.init, InitAny):
            for index, t in elements(v):
                if v.init.allowed is None and cardinality(t) > MOST_STARTS:
                    raise refuse(
                        f"{identifier(v.name)}, which starts with any of more than {MOST_STARTS} values", v.span
                    )
                allowed = tuple(values(t) if v.init.allowed is None else dict.fromkeys(v.init.allowed))
                if len(allowed) > 1:
                    yield Open(v.name, index, t, allowed)


def path_to(places: Places, system: System, place: Open) -> Path:
    """The way to the element of its variable."""
    t, path = system.variable(place.variable).type, []
    for i in place.index:
        assert isinstance(t, Array)
        path.append(Step("at", scalar(places.constant(t.index, i)), t))
        t = t.element
    return tuple(path)


def _left_out(system: System) -> list[str]:
    out = []
    for p in system.properties:
        match p:
            case LeadsTo():
                out.append(f"leads_to {identifier(p.name)} (needs fairness)")
            case Recoverable():
                out.append(f"recoverable {identifier(p.name)} (a branching-time property)")
            case _:
                pass
    if system.locks:
        out.append("lock_cycle and lock_order (found from what threads hold and wait for, not from single states)")
    if system.refinement is not None:
        out.append("refines (needs the abstract spec)")
    return out


def described(system: System) -> list[str]:
    """The instance, its parameters and types, in names and numbers only."""
    out = [f"spec {identifier(system.name)}, instance {identifier(system.instance)}"]
    for name, value, t in system.params:
        shown = str(int(value)) if isinstance(value, int) else "?"
        out.append(
            f"  {identifier(name)} = {identifier(show_type(t)) + ' number ' if isinstance(t, Enum) else ''}{shown}"
        )
    return out

"""Does the encoding without bounds say the same of an instance as the interpreter?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from random import Random

from hmmspec.checker.explicit.engine import explore
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.open_encoding import OpenEncoding
from hmmspec.checker.symbolic.open_kinds import NotFirstOrder
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import Invariant, StepProperty, System
from tests.symbolic.ground import Ground, Outcome, TooMany


def compare(
    system: System, instance: System, every: frozenset[str], states: int, seed: int = 0
) -> tuple[list[str], list[str]]:
    """The encoding of `system` against the interpreter of an instance of the same spec: what differs, and what was
    passed over."""
    encoding = OpenEncoding(system, every)
    interp = Interpreter(instance)
    ground = Ground(encoding, instance, every, seed)
    wrong: list[str] = []
    passed: list[str] = []
    for s in chosen(interp, ground, states, seed):
        values = {v.name: interp.read(s, v.name) for v in instance.variables}
        ground.stand(values)
        if not ground.axioms_hold():
            wrong.append(f"a state that is none: {values}")
        back = ground.values(encoding.state, instance)
        if interp.build(back) != s:
            wrong.append(f"a state reads {back} and is {values}")
        _compare_start(encoding, interp, ground, s, wrong)
        _compare_steps(encoding, interp, ground, s, wrong, passed)
        _compare_properties(encoding, interp, ground, s, wrong, passed)
        if len(wrong) > 3:
            break
    return wrong, passed


def chosen(interp: Interpreter, ground: Ground, states: int, seed: int) -> Iterator[State]:
    """Some states that are reached, and some that are not."""
    random = Random(seed)
    options = CheckOptions(symmetry=False, states=300, expectations=False, witness=False)
    try:
        reached = list(explore(interp.system, options).states)
    except SpecFault:
        reached = []
    reached = random.sample(reached, min(len(reached), states))
    yield from reached
    variables = interp.system.variables
    for s in reached or [interp.build({v.name: ground.any_value(v.type) for v in variables})]:
        values: dict[str, object] = {v.name: interp.read(s, v.name) for v in variables}
        for v in random.sample(variables, min(len(variables), random.choice((1, 2, len(variables))))):
            values[v.name] = ground.any_value(v.type)
        yield interp.build(values)


def _compare_start(encoding: OpenEncoding, interp: Interpreter, ground: Ground, s: State, wrong: list[str]) -> None:
    if encoding.left_out or interp.initial_fault is not None:
        return
    try:
        starts = list(islice(interp.initial(), 200))
    except SpecFault:
        return
    if len(starts) < 200 and ground.both_ways(encoding.start()) != (s in starts):
        wrong.append(f"a start that is none, or none that is one: {interp.cells(s)}")


def _compare_steps(
    encoding: OpenEncoding, interp: Interpreter, ground: Ground, s: State, wrong: list[str], passed: list[str]
) -> None:
    steps, faults = interp.expand(s)
    for step in encoding.steps:
        number, name = step.rule.number, step.rule.name
        real = {(args, t) for r, args, t in steps if r == number}
        failed = {(args, f.name) for r, args, f in faults if r == number}
        try:
            said = {(o.args, _state(interp, o)) for o in ground.outcomes(step)}
            ends = ground.findings(step)
        except TooMany:
            passed.append(f"{name}: too many ways")
            continue
        more = any(text.startswith((f"{name}: ", "assume ")) for text in encoding.left_out)
        if not real <= said or not (more or said <= real):
            wrong.append(_say("steps", name, interp, s, real, said))
        if not failed <= ends or not (more or ends <= failed):
            wrong.append(_say("findings", name, interp, s, failed, ends))


def _state(interp: Interpreter, o: Outcome) -> State:
    return interp.build(dict(o.after))


def _say(what: str, name: str, interp: Interpreter, s: State, real: set[object], said: set[object]) -> str:  # type: ignore[type-arg]
    def shown(some: Iterator[object]) -> list[object]:
        return [(a, _changed(interp, s, t) if not isinstance(t, str) else t) for a, t in islice(some, 3)]  # type: ignore[misc]

    return (
        f"{what} of {name}: really {shown(iter(real - said))}, said {shown(iter(said - real))}\n   in {interp.cells(s)}"
    )


def _changed(interp: Interpreter, s: State, t: State) -> Mapping[str, str]:
    before = interp.cells(s)
    return {k: v for k, v in interp.cells(t).items() if before[k] != v}


def _compare_properties(
    encoding: OpenEncoding, interp: Interpreter, ground: Ground, s: State, wrong: list[str], passed: list[str]
) -> None:
    steps = interp.expand(s)[0]
    for p, q in zip(encoding.system.properties, interp.system.properties, strict=True):
        try:
            if isinstance(p, Invariant):
                assert isinstance(q, Invariant)
                claim = encoding.before(p.body)
                try:
                    real: bool | None = interp.predicate(q.body)(s)
                except SpecFault:
                    real = None
                said = None if ground.both_ways(claim.wrong) else ground.both_ways(claim.holds)
                if said != real:
                    wrong.append(f"{p.name}: really {real}, said {said}\n   in {interp.cells(s)}")
            elif isinstance(p, StepProperty):
                assert isinstance(q, StepProperty)
                for number, args, t in steps[:: max(1, len(steps) // 3)]:
                    _compare_step_property(encoding, interp, ground, (s, number, args, t), (p, q), wrong)
        except NotFirstOrder as e:
            passed.append(f"{p.name}: {e}")
        except TooMany:
            passed.append(f"{p.name}: too many ways")


def _compare_step_property(
    encoding: OpenEncoding,
    interp: Interpreter,
    ground: Ground,
    taken: tuple[State, int, tuple[object, ...], State],
    properties: tuple[StepProperty, StepProperty],
    wrong: list[str],
) -> None:
    s, number, args, t = taken
    step = encoding.steps[number]
    claim = encoding.across(properties[0].body, step)
    try:
        real: bool | None = interp.step_predicate(properties[1].body)(s, t)
    except SpecFault:
        real = None

    def one() -> tuple[bool | None] | None:
        if not ground.both_ways(step.enabled) or ground._args(step) != args:
            return None
        if interp.build(ground.values(step.after, interp.system)) != t:
            return None
        return (None if ground.both_ways(claim.wrong) else ground.both_ways(claim.holds),)

    said = {x[0] for x in ground.ways(one) if x is not None}
    if said != {real}:
        wrong.append(f"{properties[0].name}: really {real}, said {said}\n   in {interp.cells(s)}")

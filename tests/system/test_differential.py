"""The interpreter and the oracle agree on random Systems: starts, steps, faults, properties; and every reader of a
System handles every class of node."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings

from hmmspec.system import expr as E
from hmmspec.system import system as S
from hmmspec.system import types as T
from hmmspec.system.analyse import blocks, expressions
from hmmspec.system.explain import explain
from hmmspec.system.run import Interpreter, SpecFault, State
from hmmspec.system.show import show_system
from tests.system.oracle import Bad, Oracle
from tests.system.systems import random_system, systems

STARTS, STATES = 10, 25


def result(work: Any) -> Any:
    """What it returns, or the finding, name and kind of its fault."""
    try:
        return work()
    except SpecFault as f:
        return f.fault.finding, f.fault.name, f.fault.kind
    except Bad as bad:
        return bad.problem


def agree(system: S.System) -> None:
    """Both interpreters do the same in the first states that are reached."""
    it, oracle = Interpreter(system), Oracle(system)

    def seen(s: State) -> dict[str, Any]:
        return {v.name: it.read(s, v.name) for v in system.variables}

    expected = result(lambda: list(islice(oracle.initial(), STARTS)))
    if it.initial_fault is not None:
        assert ("spec_error", "spec_error", it.initial_fault.kind) == expected
        return
    starts = result(lambda: list(islice(it.initial(), STARTS)))
    if isinstance(starts, tuple):
        assert starts == expected
        return
    assert [seen(s) for s in starts] == expected
    todo: dict[State, None] = dict.fromkeys(starts)
    for number in range(STATES):
        if number == len(todo):
            break
        s = next(islice(todo, number, None))
        now = seen(s)
        assert it.build(now) == s
        out, bad = it.expand(s)
        steps, problems = oracle.expand(now)
        assert [(rule, args, seen(after)) for rule, args, after in out] == steps
        found = [(rule, args, (f.finding, f.name, f.kind)) for rule, args, f in bad]
        assert sorted(found, key=repr) == sorted(problems, key=repr)
        for p in system.properties:
            same_verdict(it, oracle, p, s, now, [after for _, _, after in out])
        todo.update((after, None) for _, _, after in out)


def same_verdict(
    it: Interpreter, oracle: Oracle, p: S.Property, s: State, now: dict[str, Any], afters: list[State]
) -> None:
    if isinstance(p, S.Invariant):
        verdict = result(lambda: it.predicate(p.body)(s))
        assert verdict == result(lambda: bool(oracle.value(p.body, now, None, {})))
        if isinstance(verdict, bool):
            explanation = explain(it, p.body, s)
            assert (explanation is None) == verdict
            assert explanation is None or explanation.conjunct
    elif isinstance(p, S.StepProperty):
        for after in afters[:5]:
            then = {v.name: it.read(after, v.name) for v in it.system.variables}
            verdict = result(lambda a=after: it.step_predicate(p.body)(s, a))
            assert verdict == result(lambda t=then: bool(oracle.value(p.body, now, t, {})))
            if isinstance(verdict, bool):
                assert (explain(it, p.body, s, after) is None) == verdict


@pytest.mark.parametrize("block", range(8))
def test_the_interpreter_agrees_with_the_oracle(block: int) -> None:
    for seed in range(block * 30, block * 30 + 30):
        agree(random_system(random.Random(seed)))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(systems())
def test_the_interpreter_agrees_with_the_oracle_on_shrinkable_systems(system: S.System) -> None:
    agree(system)


# ------------------------------------------------------------ every class of node


def nodes(system: S.System) -> Iterator[object]:
    """Every statement, expression, binder domain and initial value."""

    def of(e: E.Expr) -> Iterator[object]:
        for x in E.walk(e):
            yield x
            if isinstance(x, E.Quant):
                yield from (b.domain for b in x.binders)

    def in_block(block: S.Block) -> Iterator[object]:
        for s in block:
            yield s
            for e in expressions(s):
                yield from of(e)
            for b in blocks(s):
                yield from in_block(b)

    for v in system.variables:
        yield v.init
        if isinstance(v.init, S.InitExpr):
            yield from of(v.init.value)
    for d in system.defines:
        yield from of(d.body)
    for r in system.rules:
        yield from of(r.guard)
        yield from in_block(r.body)
    for p in system.properties:
        if isinstance(p, (S.Invariant, S.StepProperty)):
            yield from of(p.body)


@cache
def sample() -> tuple[S.System, ...]:
    return tuple(random_system(random.Random(seed)) for seed in range(240))


EVERY_NODE = (*get_args(E.Expr), *get_args(S.Stmt), E.OverType, E.OverRange, E.OverSet, S.InitExpr, S.InitAny)


@pytest.mark.parametrize("node", EVERY_NODE, ids=lambda n: n.__name__)
def test_the_generator_makes_every_class_of_node(node: type) -> None:
    # What the interpreter, the printer and explanations are run on below and above.
    assert any(isinstance(x, node) for system in sample() for x in nodes(system))


def test_the_generator_makes_every_kind_and_operator() -> None:
    found: dict[str, set[str]] = {}
    for system in sample():
        for x in nodes(system):
            for name in ("op", "kind", "finding"):
                if hasattr(x, name):
                    found.setdefault(type(x).__name__, set()).add(getattr(x, name))
    assert found["Quant"] == {"forall", "exists", "count", "sum", "min", "max", "set"}
    assert found["Arith"] == {"+", "-", "*", "/", "%"}
    assert found["Compare"] == {"==", "!=", "<", "<=", ">", ">="}
    assert found["Logic"] == {"&&", "||", "=>", "<=>"}
    assert found["Check"] == {"assert", "double_acquire", "foreign_release", "held_at_stop"}


def test_no_constant_names_an_identity() -> None:
    for system in sample():
        for x in nodes(system):
            if isinstance(x, E.Const):
                assert not isinstance(x.type, T.Symmetric)
            if isinstance(x, S.For):
                assert not any(isinstance(b.type, T.Symmetric) for b in x.binders)


def test_every_system_can_be_shown() -> None:
    for system in sample():
        text = show_system(system)
        for r in system.rules:
            assert f"transition {r.name}" in text
        assert " at 0x" not in text  # no object shown by its default repr

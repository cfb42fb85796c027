"""The start states, one after another: there may be more than can ever be stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

from hmmspec.system.expr import Expr
from hmmspec.system.slots import Layout, State, flat, width
from hmmspec.system.system import InitAny, InitExpr, System, Variable
from hmmspec.system.types import Array, Type, cardinality, from_ordinal, value_at, values

Evaluate = Callable[[Expr, Mapping[str, object]], object]


def elements(v: Variable) -> Iterator[tuple[tuple[int, ...], Type]]:
    """The declared elements of a variable: index values, outermost first, and the type below them."""

    def below(t: Type, depth: int, index: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Type]]:
        if depth == 0:
            yield index, t
            return
        assert isinstance(t, Array)
        for i in range(cardinality(t.index)):
            yield from below(t.element, depth - 1, (*index, from_ordinal(t.index, i)))

    yield from below(v.type, v.depth, ())


def start_slots(system: System, layout: Layout, evaluate: Evaluate) -> list[object]:
    """The slots that have one start value; those of `= any` hold None.  Raises SpecFault where a value errs."""
    slots: list[object] = [None] * layout.size
    for v in system.variables:
        if not isinstance(v.init, InitExpr):
            continue
        at = layout.base[v.name]
        for index, t in elements(v):
            value = evaluate(v.init.value, dict(zip(v.init.binders, index, strict=False)))
            slots[at : at + width(t)] = flat(t, value)
            at += width(t)
    return slots


def initial_slots(
    system: System, layout: Layout, start: list[object], fits: Callable[[int, list[object]], bool] | None = None
) -> Iterator[list[object]]:
    """The start with every combination of values for `= any`, the last element changing fastest.

    fits: of a value's first slot and its slots: whether it is one of those that are wanted.
    """
    open_: list[tuple[int, int, Callable[[], Iterator[object]], Type]] = []
    for init, at, t in _open(system, layout):
        choices = _choices(init, t)
        open_.append((at, width(t), choices if fits is None else _fitting(choices, at, t, fits), t))
    slots = list(start)
    # An odometer by hand: itertools.product would store every value of every element first.
    wheels: list[Iterator[object]] = []
    while True:
        while len(wheels) < len(open_):
            wheels.append(open_[len(wheels)][2]())
            if not _turn(wheels, open_, slots):
                break
        else:
            yield list(slots)
            if not wheels or not _turn(wheels, open_, slots):
                return
            continue
        if not wheels:
            return


def drawn_slots(system: System, layout: Layout, start: list[object], choose: Callable[[int], int]) -> list[object]:
    """The start with one value for each `= any`; `choose(n)` says which of n."""
    slots = list(start)
    for init, at, t in _open(system, layout):
        allowed = None if init.allowed is None else tuple(dict.fromkeys(init.allowed))
        value = value_at(t, choose(cardinality(t))) if allowed is None else allowed[choose(len(allowed))]
        slots[at : at + width(t)] = flat(t, value)
    return slots


def has_start_values(system: System, layout: Layout, start: list[object], state: State) -> bool:
    """Whether a state is among those that `initial_slots` makes, without making them."""
    if any(first is not None and first != slot for first, slot in zip(start, state, strict=True)):
        return False
    return all(
        init.allowed is None or any(list(flat(t, x)) == list(state[at : at + width(t)]) for x in init.allowed)
        for init, at, t in _open(system, layout)
    )


def _open(system: System, layout: Layout) -> Iterator[tuple[InitAny, int, Type]]:
    """The elements that have more than one start value: with their first slots and their types."""
    for v in system.variables:
        if isinstance(v.init, InitAny):
            at = layout.base[v.name]
            for _, t in elements(v):
                yield v.init, at, t
                at += width(t)


def _turn(
    wheels: list[Iterator[object]],
    open_: list[tuple[int, int, Callable[[], Iterator[object]], Type]],
    slots: list[object],
) -> bool:
    """Move the last wheel on, or those before it where it is through.  False: all are through."""
    while wheels:
        base, size, _, t = open_[len(wheels) - 1]
        for value in wheels[-1]:
            slots[base : base + size] = flat(t, value)
            return True
        wheels.pop()
    return False


def _choices(init: InitAny, t: Type) -> Callable[[], Iterator[object]]:
    if init.allowed is None:
        return lambda: values(t)
    distinct = tuple(dict.fromkeys(init.allowed))
    return lambda: iter(distinct)


def _fitting(
    choices: Callable[[], Iterator[object]], at: int, t: Type, fits: Callable[[int, list[object]], bool]
) -> Callable[[], Iterator[object]]:
    """Those values of the element at slot `at` that fit, looked for once."""
    found = cache(lambda: tuple(x for x in choices() if fits(at, list(flat(t, x)))))
    return lambda: iter(found())

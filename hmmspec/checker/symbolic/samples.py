"""Instances of a spec with other sizes of the types without bounds, and the states that they reach.

What holds in all reachable states of small instances is what an invariant may say.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from itertools import permutations, product
from math import prod
from typing import Any

import numpy as np

from hmmspec.checker.explicit.chance import Starts
from hmmspec.checker.symbolic.begin import THIN, starts_of, thinned
from hmmspec.checker.symbolic.cells import Cell, Id, Slot, Value, abstract, renamed, renamed_cell, slots
from hmmspec.diagnostics import Limit, SpecError
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system.build import Overrides, build
from hmmspec.system.run import Interpreter, State
from hmmspec.system.spelling import has_identities
from hmmspec.system.system import Property, System
from hmmspec.system.types import (
    Array,
    Queue,
    Record,
    Set,
    Symmetric,
    Type,
    cardinality,
    from_ordinal,
    is_scalar,
)

WALK = 60  # steps of a random run
WALKED = 3  # steps of all random runs, for each state that is wanted
_TABLE = 1 << 22


@dataclass(frozen=True)
class Sizes:
    """How many identities each type without bounds has."""

    of: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return ", ".join(f"{n} {name}" for name, n in self.of)


class Instances:
    """Instances of a spec for sizes of some of its symmetric types.

    Raises Limit where a size is not a param of its own.
    """

    def __init__(self, spec: S.Spec, system: System, every: tuple[str, ...]) -> None:
        self.spec, self.system, self.every = spec, system, every
        self._params = {name: self._param(name) for name in every}
        self._made: dict[Sizes, System] = {}
        self._interpreters: dict[Sizes, Interpreter] = {}
        self._starts: dict[Sizes, Starts] = {}

    def _param(self, name: str) -> str:
        for d in self.spec.declarations:
            match d:
                case S.TypeDecl(S.Ident(declared), S.SymmetricType(S.Name(param))) if declared == name:
                    return param
        raise Limit(f"the size of {name} is not a param: there is no proof for every size of it")

    @property
    def params(self) -> frozenset[str]:
        """The params that are sizes of types without bounds."""
        return frozenset(self._params.values())

    def param(self, name: str) -> str:
        """The param that is the size of a type."""
        return self._params[name]

    def check_sizes(self) -> None:
        """Raises Limit where a size is used for something else besides: then instances differ in more than how many
        identities there are."""
        for name in self.every:
            for a, b in zip(*(_parts(self.of(s)) for s in self._two(name)), strict=True):
                if sizeless(a) != sizeless(b):
                    raise Limit(self._elsewhere(name, a))

    def check_property(self, p: Property) -> None:
        """The same for one property."""
        for name in self.every:
            shapes = {sizeless(next(q for q in self.of(s).properties if q.name == p.name)) for s in self._two(name)}
            if len(shapes) > 1:
                raise Limit(self._elsewhere(name, p))

    def _two(self, name: str) -> list[Sizes]:
        """Sizes that differ in one type."""
        return [Sizes(tuple((n, 2 + (n == name) * more) for n in self.every)) for more in (0, 1)]

    def _elsewhere(self, name: str, where: object) -> str:
        called = getattr(where, "name", "")
        return (
            f"{called + ' depends on' if called else 'something depends on'} {self._params[name]}, which has no value "
            f"where there is any number of {name}: give it a param of its own, or say it with identities"
        )

    def of(self, sizes: Sizes) -> System:
        """The instance with these sizes, the other params as in this one."""
        if sizes not in self._made:
            self._made[sizes] = self._build(sizes, self._set)
        return self._made[sizes]

    @cached_property
    def _set(self) -> Overrides:
        """Params that this System has otherwise than its instance: set on the command line."""
        own = Sizes(tuple((name, size_of(self.system, name)) for name in self.every))
        plain = {name: value for name, value, _ in self._build(own, {}).params}
        return {name: E.Const(value, t) for name, value, t in self.system.params if plain.get(name) != value}

    def _build(self, sizes: Sizes, more: Overrides) -> System:
        overrides: Overrides = {**more, **{self._params[name]: n for name, n in sizes.of}}
        try:
            return build(self.spec, overrides, self.system.instance)
        except SpecError as e:
            raise Limit(f"no instance with {sizes}: {e.diagnostics[0].message}") from None

    def starts(self, sizes: Sizes) -> Starts:
        """Start states of that instance: all, or many.  Raises Limit where there is none of that size."""
        if sizes not in self._starts:
            self._starts[sizes] = starts_of(self.interpreter(sizes))
        return self._starts[sizes]

    def interpreter(self, sizes: Sizes) -> Interpreter:
        """What runs it."""
        if sizes not in self._interpreters:
            self._interpreters[sizes] = Interpreter(self.of(sizes))
        return self._interpreters[sizes]

    def sizes(self, largest: int) -> Iterator[Sizes]:
        """All sizes up to so many identities each, the smallest together first."""
        found: list[Mapping[str, int]] = [{}]
        for name in self.every:
            found = [{**f, name: n} for f in found for n in range(1, largest + 1)]
        for f in sorted(found, key=lambda f: (sum(f.values()), tuple(f.values()))):
            yield Sizes(tuple(f.items()))

    def same(self, n: int) -> Sizes:
        """So many identities of each."""
        return Sizes(tuple((name, n) for name in self.every))


@dataclass
class Reached:
    """States that an instance reaches, all (`complete`) or some of them.

    matrix: a row for each state, a column for each of `slots`.
    """

    sizes: Sizes
    interp: Interpreter
    states: list[State]
    complete: bool
    slots: list[Slot] = field(init=False)

    def __post_init__(self) -> None:
        self.slots = slots(self.interp.system)
        self._places = {s.cell: i for i, s in enumerate(self.slots)}
        self._values: dict[int, tuple[list[Value], Any]] = {}
        self._known: set[State] | None = None

    def add_after(self, state: State, most: int) -> list[State]:
        """States that follow a reached one are reached, too: up to so many that were not known, the nearest first."""
        if self._known is None:
            self._known = set(self.states)
        new: list[State] = []
        todo = [state]
        for s in todo:  # it grows
            for _, _, t in self.interp.expand(s)[0]:
                if t not in self._known:
                    self._known.add(t)
                    new.append(t)
                    todo.append(t)
            if len(new) >= most:
                break
        self._add(new)
        return new

    def add(self, more: Iterable[State]) -> None:
        """Other states that are reached."""
        if self._known is None:
            self._known = set(self.states)
        new = [s for s in more if s not in self._known]
        self._known.update(new)
        self._add(new)

    def _add(self, new: Sequence[State]) -> None:
        self.states += new
        self._values.clear()
        self.__dict__.pop("matrix", None)

    @cached_property
    def matrix(self) -> Any:
        """Raw values, as they are in the packed states: a column for each cell."""
        if self.states and isinstance(self.states[0], bytes):
            packed = np.frombuffer(b"".join(self.states), dtype=np.uint8)  # type: ignore[arg-type]
            packed = packed.reshape(len(self.states), -1)
            columns = [packed[:, s.slot] if s.bit < 0 else packed[:, s.slot] >> s.bit & 1 for s in self.slots]
        else:
            columns = [np.array([raw(state[s.slot], s) for state in self.states], dtype=np.int32) for s in self.slots]
        return columns

    def column(self, place: int) -> tuple[list[Value], Any]:
        """The different values of a cell, and for each state which of them."""
        if place not in self._values:
            different, which = np.unique(self.matrix[place], return_inverse=True)
            t = self.slots[place].type
            self._values[place] = [abstract(t, int(x)) for x in different], which.astype(np.int16)
        return self._values[place]

    def place(self, cell: Cell) -> int | None:
        """The column of a cell of this instance."""
        return self._places.get(cell)

    def symmetric(self) -> Mapping[str, Symmetric]:
        """The types with identities, by name."""
        return {t.name: t for t in self.interp.system.symmetric}


def raw(value: object, s: Slot) -> int:
    """What a column holds of the value of a slot."""
    if s.length:
        return len(value)  # type: ignore[arg-type]
    assert isinstance(value, int)
    return value >> s.bit & 1 if s.bit >= 0 else int(value)


def namings(reached: Reached, names: Sequence[Id]) -> Iterator[Mapping[Id, Id]]:
    """All ways to give the names to different identities of an instance: name -> identity."""
    sorts = list(dict.fromkeys(n.sort for n in names))
    choices = []
    for sort in sorts:
        of_it = [n for n in names if n.sort == sort]
        size = reached.symmetric()[sort].size
        choices.append(
            [dict(zip(of_it, (Id(sort, i) for i in p), strict=True)) for p in permutations(range(size), len(of_it))]
        )
    for some in product(*choices):
        yield {name: i for d in some for name, i in d.items()}


class Columns:
    """What cells hold, in terms of names, in all sampled states and for all namings: a row for each different case.

    values: of each cell, what its codes stand for; rows: the codes.
    """

    def __init__(self, samples: Sequence[Reached], cells: Sequence[Cell], names: Sequence[Id]) -> None:
        self.cells, self.names = list(cells), list(names)
        self.values: list[list[Value]] = [[] for _ in cells]
        self._codes: list[dict[Value, int]] = [{} for _ in cells]
        blocks = []
        for reached in samples:
            tables = [self._tables(reached, naming) for naming in namings(reached, names)]
            blocks += self._blocks(reached, [t for t in tables if t is not None])
        rows = np.concatenate(blocks) if blocks else np.zeros((0, len(cells)), dtype=np.int16)
        self.rows = different_rows(rows)

    def _tables(self, reached: Reached, naming: Mapping[Id, Id]) -> list[tuple[int, Any]] | None:
        """Of each cell its column in the sample, and the codes of what is found there; None: a cell is not there."""
        back = {i: name for name, i in naming.items()}
        out = []
        for k, cell in enumerate(self.cells):
            place = reached.place(renamed_cell(cell, dict(naming)))
            if place is None:
                return None
            known, _ = reached.column(place)
            if has_identities(reached.slots[place].type):
                known = [renamed(v, back) for v in known]
            out.append((place, np.array([self._code(k, v) for v in known], dtype=np.int64)))
        return out

    def _blocks(self, reached: Reached, namings: Sequence[list[tuple[int, Any]]]) -> list[Any]:
        """The different rows of all namings."""
        if not self.cells:
            return [np.zeros((1 if reached.states else 0, 0), dtype=np.int16)]
        spans = [len(values) for values in self.values]
        # A row is one number, as long as that is small: then a table says which there are.
        if prod(spans) <= _TABLE:
            seen = np.zeros(prod(spans), dtype=bool)
            for naming in namings:
                keys: Any = 0
                for span, (place, codes) in zip(spans, naming, strict=True):
                    keys = keys * span + codes[reached.column(place)[1]]
                seen[keys] = True
            found = np.unravel_index(np.flatnonzero(seen), spans)
            return [np.stack(found, axis=1).astype(np.int16)]
        return [
            different_rows(np.stack([codes[reached.column(place)[1]] for place, codes in naming], axis=1))
            for naming in namings
        ]

    def _code(self, k: int, value: Value) -> int:
        found = self._codes[k].get(value)
        if found is None:
            found = self._codes[k][value] = len(self.values[k])
            self.values[k].append(value)
        return found

    def code(self, k: int, value: Value) -> int:
        """The code of a value of cell k, one that no row has where no state had it."""
        return self._code(k, value)


def different_rows(rows: Any) -> Any:
    """Each row once."""
    if rows.shape[0] < 2 or rows.shape[1] == 0:
        return rows[:1] if rows.shape[1] == 0 else rows
    # Rows as single numbers, as long as they fit, sort far quicker than rows.
    spans = [int(x) + 1 for x in rows.max(axis=0)]
    total = 1
    for s in spans:
        total *= s
    if total < 1 << 62:
        keys = np.zeros(rows.shape[0], dtype=np.int64)
        for k, s in enumerate(spans):
            keys = keys * s + rows[:, k]
        _, first = np.unique(keys, return_index=True)
        return rows[first]
    return np.unique(rows, axis=0)


def _parts(system: System) -> list[object]:
    """What the steps of an instance are made of."""
    return [*system.variables, *system.rules, *system.assumes]


def sizeless(x: object) -> object:
    """Without the sizes of symmetric types."""
    match x:
        case E.Const(value, t):
            return "const", sizeless(t), _sizeless_value(t, value)
        case Symmetric(name, _):
            return name
        case tuple() | list():
            return tuple(sizeless(y) for y in x)
        case _ if is_dataclass(x):
            return type(x).__name__, *(sizeless(getattr(x, f.name)) for f in fields(x) if f.compare)
        case _:
            return x


def _sizeless_value(t: Type, value: object) -> object:
    """Values are numbered through; what a number means depends on the sizes of what comes before it."""
    match t:
        case Array(_, element) | Queue(_, element) if isinstance(value, tuple):
            parts = tuple(_sizeless_value(element, v) for v in value)
            return parts if len(set(parts)) > 1 else parts[:1]
        case Record(_, named) if isinstance(value, tuple):
            return tuple(_sizeless_value(f, v) for (_, f), v in zip(named, value, strict=True))
        case Set(element) if isinstance(value, int):
            if value == (1 << cardinality(element)) - 1:
                return "all"
            there = [from_ordinal(element, i) for i in range(cardinality(element)) if value >> i & 1]
            return tuple(abstract(element, v) for v in there)
        case _ if is_scalar(t) and isinstance(value, int):
            return abstract(t, value)
        case _:
            return value


class Sampler:
    """Looks for reachable states.  look: is shown every new state and the steps out of it, and may stop the search by
    raising; starts: of the instance, if they are known."""

    def __init__(
        self,
        interp: Interpreter,
        look: Callable[[State, list[Any], list[Any]], None] | None = None,
        starts: Starts | None = None,
    ) -> None:
        self.interp, self.look = interp, look
        self.starts = starts_of(interp) if starts is None else starts

    def sample(self, sizes: Sizes, states: int, seed: int = 0) -> Reached:
        """About so many states, the same ones every time: breadth first up to half of them, then random runs, of which
        most states are new where there are many; then breadth first again."""
        starts = self.starts if THIN * len(self.starts.states) <= states else thinned(self.starts, states // THIN)
        found: dict[State, None] = dict.fromkeys(starts.states)
        queue = list(found)
        at = self._breadth_first(found, queue, 0, states // 2)
        if at < len(queue):
            self._walk(found, queue, states, random.Random(seed))
            at = self._breadth_first(found, queue, at, states)
        return Reached(sizes, self.interp, list(found), at == len(queue) and starts.whole)

    def _breadth_first(self, found: dict[State, None], queue: list[State], at: int, states: int) -> int:
        """Up to so many states; the place in the queue of the first state that was not looked at."""
        queued = dict.fromkeys(queue) if len(found) > len(queue) else found
        while at < len(queue) and (len(found) <= states or not at):
            for t in self._successors(queue[at]):
                if t not in queued:
                    queued[t] = None
                    found[t] = None
                    queue.append(t)
            at += 1
        return at

    def _successors(self, s: State) -> list[State]:
        steps, failures = self.interp.expand(s)
        if self.look is not None:
            self.look(s, steps, failures)
        return [t for _, _, t in steps]

    def wander(self, reached: Reached, runs: int, seed: int) -> list[State]:
        """States of so many random runs from known states, and those beside the runs, that are not known."""
        known, found = set(reached.states), dict[State, None]()
        starts, rng = self.starts.states, random.Random(seed)
        for _ in range(runs if starts else 0):
            s = rng.choice(starts if rng.random() < 0.5 else reached.states)
            for _ in range(WALK):
                after = self._successors(s)
                if not after:
                    break
                found.update((t, None) for t in after if t not in known)
                s = rng.choice(after)
        return list(found)

    def _walk(self, found: dict[State, None], queue: list[State], states: int, rng: random.Random) -> None:
        starts = self.starts.states
        for _ in range(WALKED * states // WALK):
            if len(found) >= states:
                break
            s = rng.choice(starts if rng.random() < 0.5 else queue)
            for _ in range(WALK):
                after = self._successors(s)
                if not after:
                    break
                s = rng.choice(after)
                found[s] = None


def size_of(system: System, name: str) -> int:
    """How many identities the type has in an instance."""
    found = next(t for t in system.symmetric if t.name == name)
    assert isinstance(found, Symmetric)
    return found.size

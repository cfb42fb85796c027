"""Random variables over several symmetric types, and random states: what canonical forms are tried on."""

from __future__ import annotations

from random import Random

from hmmspec.system import system as S
from hmmspec.system.layout import bits
from hmmspec.system.types import (
    BOOL,
    NULL,
    Array,
    Queue,
    Range,
    Record,
    Set,
    Symmetric,
    ThreadId,
    Type,
    Union,
    cardinality,
    from_ordinal,
    is_scalar,
)

MOST_BITS = 1500  # of one variable: also values of many words


class Few(Random):
    """A source that, while `few`, mostly gives the first: so that identities tie."""

    few = False

    def below(self, n: int) -> int:
        return 0 if self.few and self.random() < 0.8 else self.randrange(n)


def without_rules(symmetric: tuple[Symmetric, ...], types: list[Type]) -> S.System:
    """A system of variables alone."""
    variables = tuple(S.Variable(f"v{i}", t, 0, S.InitAny()) for i, t in enumerate(types))
    return S.System(
        "random", "", "random.hmm", "default", (), symmetric, variables, (), (), (), (), (), (), (), (), (), (), (), (),
        S.Expectation(),
    )  # fmt: skip


def random_variables(r: Random) -> S.System:
    """Some variables of random types."""
    symmetric = tuple(Symmetric(name, r.randint(2, most)) for name, most in (("A", 4), ("B", 3), ("C", 2)))
    symmetric = symmetric[: r.randint(1, 3)]
    types: list[Type] = []
    wanted = r.randint(1, 5)
    while len(types) < wanted:
        t = random_type(r, symmetric, r.randint(1, 3))
        if bits(t) <= MOST_BITS:
            types.append(t)
    return without_rules(symmetric, types)


def random_scalar(r: Random, symmetric: tuple[Symmetric, ...], depth: int = 2) -> Type:
    """A type whose values are numbers; more than a third are symmetric."""
    kind = r.randrange(8 if depth else 5)
    if kind < 3:
        return r.choice(symmetric)
    if kind == 3:
        return BOOL
    if kind == 4:
        return Range(-1, r.randint(0, 3))
    if kind == 5:
        return ThreadId(f"t{r.randrange(9)}", tuple(random_scalar(r, symmetric, 0) for _ in range(r.randint(0, 2))))
    members: list[Type] = [NULL] if r.random() < 0.5 else []
    while len(members) < 2 or r.random() < 0.3:
        m = random_scalar(r, symmetric, 0)
        if m not in members and not (isinstance(m, Range) and any(isinstance(x, Range) for x in members)):
            members.append(m)
    return Union(tuple(members))


def random_type(r: Random, symmetric: tuple[Symmetric, ...], depth: int) -> Type:
    """A type of any kind."""
    kind = r.randrange(10)
    if depth == 0 or kind < 3:
        return random_scalar(r, symmetric)

    def inner() -> Type:
        return random_type(r, symmetric, depth - 1)

    if kind < 6:
        index = random_scalar(r, symmetric, 1)
        return Array(index, inner()) if cardinality(index) <= 14 else inner()
    if kind == 6:
        return Record("R", tuple((f"f{i}", inner()) for i in range(r.randint(1, 3))))
    if kind == 7:
        return Set(random_scalar(r, symmetric))
    if kind == 8:
        return Queue(r.randint(1, 3), inner())
    members: list[Type] = [NULL] if r.random() < 0.4 else []
    while len(members) < 2:
        m = inner()
        if m not in members and not isinstance(m, Union):
            members.append(m)
    return Union(tuple(members))


def random_value(t: Type, r: Few) -> object:
    """A value of a type, as in NOTE(values)."""
    match t:
        case Record(_, fields):
            return tuple(random_value(f, r) for _, f in fields)
        case Array(index, element):
            return tuple(random_value(element, r) for _ in range(cardinality(index)))
        case Queue(capacity, element):
            return tuple(random_value(element, r) for _ in range(r.randint(0, capacity)))
        case Union(members) if not is_scalar(t):
            number = r.below(len(members))
            return number, random_value(members[number], r)
        case Set(element):
            return sum(r.below(2) << i for i in range(cardinality(element)))
        case _:
            return from_ordinal(t, r.below(cardinality(t)))

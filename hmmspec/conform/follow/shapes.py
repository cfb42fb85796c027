"""What can happen in a spec during one command, as a tree of ways; and the same with its values filled in.

A *shape* is a tree: at each place there are ways on, each an atom (an event of the spec, or an observation) and the
place it leads to; a call is over at places that accept.  A *program* is one or more shapes (where the result does not
decide which clause holds, all that may) with the values of one event in them.  Equal programs are one object.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from hmmspec.conform.follow import syntax as s
from hmmspec.conform.follow.values import Convert, Eval
from hmmspec.records import dataclass

MOST_PLACES = 200  # of one clause: no command has that many ways to go

WILD: Final = -(1 << 62)  # as an argument: every value; no number of a spec or a log is as small


@dataclass(frozen=True)
class Slot:
    """An argument: how its value comes from an event, and how that is a value of the spec.

    named: the type whose members it names, and what the number of a member is shifted by, where every name and number
    is one; None: `convert` tells.  Equal arguments of one command share a slot.
    """

    value: Eval
    convert: Convert
    named: tuple[str, int] | None


@dataclass(frozen=True)
class Atom:
    """One step of a shape.  kind 'does': the event `name` of the spec; 'sees': the observation `name` has the value
    of the last argument.  args: numbers of slots."""

    kind: Literal["does", "sees"]
    name: str
    args: tuple[int, ...]


Ways = tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True)
class Shape:
    """ways[place]: (number of an atom, place it leads to).  Place 0 is the start.

    folded, folded_accept: the same with places that have the same ways on made one, which is what is followed; `ways`
    tells the ways apart, for people.
    """

    atoms: tuple[Atom, ...]
    ways: Ways
    accept: frozenset[int]
    folded: Ways
    folded_accept: frozenset[int]


NO_WAY = Shape((), ((),), frozenset(), ((),), frozenset())
"""Nothing explains it."""


def shape_of(body: s.Body, atoms: dict[s.Body, Atom]) -> Shape | None:
    """The shape of a body; `atoms` holds those of its events and observations.  None: it has too many places."""
    used: list[Atom] = []
    numbers: dict[int, int] = {}
    ways: list[list[tuple[int, int]]] = [[]]

    def number_of(part: s.Happens | s.Sees) -> int:
        if id(part) not in numbers:
            numbers[id(part)] = len(used)
            used.append(atoms[part])
        return numbers[id(part)]

    def grow(place: int, part: s.Body) -> list[int]:
        """The places where the part ends that begins at `place`."""
        if len(ways) > MOST_PLACES:
            return []
        match part:
            case s.Happens() | s.Sees():
                ways.append([])
                ways[place].append((number_of(part), len(ways) - 1))
                return [len(ways) - 1]
            case s.Repeat(events):
                # Round and round at a place of its own: ways that part from `place` must not be open after a round.
                ways.append([])
                again = len(ways) - 1
                for e in events:
                    ways[place].append((number_of(e), again))
                    ways[again].append((number_of(e), again))
                return [place, again]
            case s.Nothing():
                return [place]
            case s.Never() | s.Forget():
                return []
            case s.Or(parts):
                return [end for p in parts for end in grow(place, p)]
            case s.Then(parts):
                ends = [place]
                for p in parts:
                    ends = [end for e in dict.fromkeys(ends) for end in grow(e, p)]
                return ends

    accept = frozenset(grow(0, body))
    if len(ways) > MOST_PLACES:
        return None
    return Shape(tuple(used), tuple(map(tuple, ways)), accept, *_folded(ways, accept))


def _folded(ways: list[list[tuple[int, int]]], accept: frozenset[int]) -> tuple[Ways, frozenset[int]]:
    """Places that accept alike and have the same ways on to places that are alike, made one."""
    alike = [int(place in accept) for place in range(len(ways))]
    while True:
        signs = [(alike[p], frozenset((atom, alike[to]) for atom, to in ways[p])) for p in range(len(ways))]
        known: dict[object, int] = {}
        finer = [known.setdefault(sign, len(known)) for sign in signs]
        if len(known) == len(set(alike)):
            break
        alike = finer
    # Numbered as they are first met, so that the start is 0.
    out: list[tuple[tuple[int, int], ...]] = [()] * len(known)
    for place, sign in enumerate(signs):
        out[finer[place]] = tuple(sorted({(atom, finer[to]) for atom, to in ways[place]}))
        assert sign in known
    return tuple(out), frozenset(finer[p] for p in accept)


def atoms_in(body: s.Body) -> Iterable[s.Happens | s.Sees]:
    """The events and observations of a body."""
    match body:
        case s.Happens() | s.Sees():
            yield body
        case s.Repeat(events):
            yield from events
        case s.Or(parts) | s.Then(parts):
            for p in parts:
                yield from atoms_in(p)
        case _:
            return


Label = tuple[str, str, tuple[int, ...]]  # ('does', event, arguments) or ('sees', observation, arguments and value)


class Program:
    """What one command may do to one group.  `ways[place]` gives (label, place); a call begins at any of `starts` and
    may return at `accept`; from `last` no way leads on.  at_call, at_return: what happens just then, as ways from
    place 0 and the places that end them; None: nothing does."""

    __slots__ = ("accept", "at_call", "at_return", "last", "mentions", "starts", "ways")

    def __init__(self, shapes: Labelled, at_call: Labelled, at_return: Labelled) -> None:
        self.mentions: tuple[int, ...] | None = None  # of its arguments, once somebody has asked `Sets`
        ways: list[tuple[tuple[Label, int], ...]] = []
        starts: list[int] = []
        accept: set[int] = set()
        for shape, labels in shapes:
            base = len(ways)
            starts.append(base)
            ways += moved(shape, labels, base)
            accept |= {base + a for a in shape.folded_accept}
        self.ways = tuple(ways)
        self.starts = tuple(starts)
        self.accept = frozenset(accept)
        self.last = frozenset(a for a in accept if not ways[a])
        self.at_call, self.at_return = (
            None if not told else (moved(*told[0], 0), told[0][0].folded_accept) for told in (at_call, at_return)
        )

    @property
    def content(self) -> object:
        """What makes it the program that it is."""
        return self.ways, tuple(self.starts), self.accept, self.at_call, self.at_return


Labelled = tuple[tuple[Shape, tuple[Label | None, ...]], ...]


def moved(shape: Shape, labels: tuple[Label | None, ...], base: int) -> tuple[tuple[tuple[Label, int], ...], ...]:
    """The ways of a shape with places counted from `base`; atoms that no value fits are left out."""
    return tuple(
        tuple((label, base + to) for atom, to in ways if (label := labels[atom]) is not None) for ways in shape.folded
    )

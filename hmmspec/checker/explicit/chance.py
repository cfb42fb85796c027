"""What random runs choose.

NOTE(random-runs): choice number i of run k, out of n, is `floor(r * n / 2^64)`, where r is a number of 64 bits that
depends on the seed, k and i alone (SplitMix64 of Steele, Lea and Flood, 2014: a counter, scattered).  Choice 0 is the
start state, choice i > 0 the i-th step, out of all that are enabled (rule, arguments, next state) in the order of the
interpreter.  Both engines do it so, in any number of threads: run k of a spec is one and the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hmmspec.system.faults import Fault, SpecFault
from hmmspec.system.run import BETWEEN_TICKS, Interpreter, State

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
MOST_STARTS = 4096
_OF_STARTS = _MASK  # the number of the run whose choices draw start states
TRIES = 16  # candidates, for each start state that is wanted


def _scatter(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _MASK
    return x ^ x >> 31


class Chance:
    """The choices of all runs of a seed, which may be any number."""

    def __init__(self, seed: int) -> None:
        self.seed = seed & _MASK
        self._base = _scatter(self.seed + _GOLDEN & _MASK)

    def stream(self, run: int) -> int:
        """What `choice` needs to know of a run."""
        return _scatter(self._base + run * _GOLDEN & _MASK)


def choice(stream: int, number: int, n: int) -> int:
    """Choice `number` of a run: one of 0..n-1."""
    return _scatter(stream + (number + 1) * _GOLDEN & _MASK) * n >> 64


@dataclass(frozen=True)
class Starts:
    """Start states; whole: all that there are; fault: an assume errs in one of them, and no run counts."""

    states: Sequence[State]
    whole: bool
    fault: Fault | None = None


def some_starts(
    interp: Interpreter,
    chance: Chance,
    most: int = MOST_STARTS,
    tick: Callable[[], None] | None = None,
    tries: int = TRIES,
) -> Starts:
    """All start states, or where there are more than so many, so many of them, drawn at random (each element by itself;
    those that an assume excludes are drawn again).  None, and not all, where an assume excludes nearly everything.

    tick: called now and then, and may raise to end this; tries: candidates that are looked at for each one wanted, of
    the first ones, and then of those that are drawn.
    """
    try:
        return _some_starts(interp, chance, most, tick, tries)
    except SpecFault as e:
        return Starts((), False, e.fault)


def _some_starts(interp: Interpreter, chance: Chance, most: int, tick: Callable[[], None] | None, tries: int) -> Starts:
    first, whole = _first(interp, most, tick, tries)
    if whole:
        return Starts(first, True)
    stream, number = chance.stream(_OF_STARTS), -1

    def choose(n: int) -> int:
        nonlocal number
        number += 1
        return choice(stream, number, n)

    found: dict[State, None] = {}
    for tried in range(tries * most):
        if tick is not None and tried % BETWEEN_TICKS == 0:
            tick()
        s = interp.drawn(choose)
        if s is not None:
            found[s] = None
            if len(found) == most:
                break
    # Where nearly everything is excluded it is the first ones that make up the number.
    for s in first:
        if len(found) == most:
            break
        found[s] = None
    return Starts(list(found), False)


def start_pool(interp: Interpreter, chance: Chance, tick: Callable[[], None] | None = None) -> list[State]:
    """The start states that runs begin in: all of them, or where there are more than 4096, so many drawn at random.  It
    is empty only where there is none.

    tick: as of `some_starts`.  Raises SpecFault where an assume errs in one of them.
    """
    found = some_starts(interp, chance, MOST_STARTS, tick)
    if found.fault is not None:
        raise SpecFault(found.fault)
    if found.states or found.whole:
        return list(found.states)
    # However long it takes: that there is none must be known.
    one = next(interp.initial(tick), None)
    return [] if one is None else [one]


class _Enough(Exception):
    """So many candidates were looked at."""


def _first(interp: Interpreter, most: int, tick: Callable[[], None] | None, tries: int) -> tuple[list[State], bool]:
    """The first start states, and whether that is all of them: `most` at most."""
    looked = -BETWEEN_TICKS

    def look() -> None:
        nonlocal looked
        looked += BETWEEN_TICKS
        if looked >= tries * most:
            raise _Enough
        if tick is not None:
            tick()

    out: list[State] = []
    try:
        for s in interp.initial(look):
            if len(out) == most:
                return out, False
            out.append(s)
    except _Enough:
        return out, False
    return out, True

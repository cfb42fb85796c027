"""What random runs choose.

NOTE(random-runs): choice number i of run k, out of n, is `floor(r * n / 2^64)`, where r is a number of 64 bits that
depends on the seed, k and i alone (SplitMix64 of Steele, Lea and Flood, 2014: a counter, scattered).  Choice 0 is the
start state, choice i > 0 the i-th step, out of all that are enabled (rule, arguments, next state) in the order of the
interpreter.  Both engines do it so, in any number of threads: run k of a spec is one and the same.
"""

from __future__ import annotations

from itertools import islice

from hmmspec.system.run import Interpreter, State

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
MOST_STARTS = 4096
_OF_STARTS = _MASK  # the number of the run whose choices draw start states
_TRIES = 16 * MOST_STARTS


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


def start_pool(interp: Interpreter, chance: Chance) -> list[State]:
    """The start states that runs begin in: all of them, or where there are more than 4096, so many drawn at random
    (each element by itself; those that an assume excludes are drawn again).

    Raises SpecFault where an assume errs in one of them.
    """
    first = list(islice(interp.initial(), MOST_STARTS + 1))
    if len(first) <= MOST_STARTS:
        return first
    stream, number = chance.stream(_OF_STARTS), -1

    def choose(n: int) -> int:
        nonlocal number
        number += 1
        return choice(stream, number, n)

    found: dict[State, None] = {}
    for _ in range(_TRIES):
        s = interp.drawn(choose)
        if s is not None:
            found[s] = None
            if len(found) == MOST_STARTS:
                break
    # Where nearly everything is excluded it is the first ones that make up the number.
    for s in first:
        if len(found) == MOST_STARTS:
            break
        found[s] = None
    return list(found)

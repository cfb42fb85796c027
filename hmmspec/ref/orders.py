"""Orders in which a race may go, beside one that is all chance.

Most mistakes of locking show only while one task stands still at one certain point, and others do much meanwhile.  A
scheduler that tosses a coin at each step hardly ever gives them the time.  So there are orders that are unfair on
purpose, each by a seed: who is held at a point, of which kind is for the seed (`Held`); whoever has the highest
priority runs, and priorities change a few times (`Priorities`); all go in step (`Rotation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final
from zlib import crc32

from hmmspec.ref.schedule import Job, Order

KINDS: Final = 29  # classes of points: each name is in one, by its letters
STUBBORN: Final = 400  # steps that one task may do in a row while others could run


@cache
def kind_of(point: str) -> int:
    """The class of a point.  Names that are rare and names that are common have equal chances to be chosen by it."""
    return crc32(point.encode()) % KINDS


@dataclass
class Hold:
    """One task is held when it comes to a point of this kind for the `nth` time, for so many steps of the others."""

    job: int
    kind: int
    nth: int
    span: int


class Held:
    """Chance, but for tasks that are held; one that nobody else can run beside goes on all the same."""

    def __init__(self, random: Random, holds: Sequence[Hold], stay: float = 0.0) -> None:
        self._random, self._stay = random, stay
        self._waiting = list(holds)
        self._until: dict[int, int] = {}
        self._now = 0

    def next(self, ready: Sequence[Job], last: Job | None) -> Job:
        self._now += 1
        free: Sequence[Job] = ready
        if self._until:
            self._until = {number: end for number, end in self._until.items() if end > self._now}
            free = [job for job in ready if job.number not in self._until] or ready
        if last is not None and self._stay and last in free and self._random.random() < self._stay:
            return last
        return free[int(self._random.random() * len(free))]

    def passed(self, job: Job, point: str) -> None:
        for hold in self._waiting:
            if hold.job == job.number and hold.kind == kind_of(point):
                hold.nth -= 1
                if not hold.nth:
                    self._waiting.remove(hold)
                    self._until[job.number] = self._now + hold.span
                    return


class Priorities:
    """The one with the highest priority runs; at some steps, and when it has run long enough, it becomes the last."""

    def __init__(self, random: Random, changes: int, length: int) -> None:
        self._random = random
        self._changes = {random.randrange(1, length) for _ in range(changes)}
        self._priority: dict[int, float] = {}
        self._lowest = 0.0
        self._now = self._row = 0
        self._last: Job | None = None

    def next(self, ready: Sequence[Job], last: Job | None) -> Job:
        self._now += 1
        for job in ready:
            if job.number not in self._priority:
                self._priority[job.number] = self._random.random()
        first = max(ready, key=self._of)
        self._row = self._row + 1 if first is self._last else 0
        if self._now in self._changes or self._row > STUBBORN:
            self._lowest -= 1.0
            self._priority[first.number] = self._lowest
            self._row = 0
            first = max(ready, key=self._of)
        self._last = first
        return first

    def _of(self, job: Job) -> float:
        return self._priority[job.number]

    def passed(self, job: Job, point: str) -> None:
        pass


class Rotation:
    """All in turn, each so many steps."""

    def __init__(self, steps: int) -> None:
        self._steps, self._left = steps, steps
        self._last = -1

    def next(self, ready: Sequence[Job], last: Job | None) -> Job:
        self._left -= 1
        if last is not None and self._left > 0:
            return last
        self._left = self._steps
        above = [job for job in ready if job.number > self._last]
        chosen = min(above or ready, key=lambda job: job.number)
        self._last = chosen.number
        return chosen

    def passed(self, job: Job, point: str) -> None:
        pass


_ORDERS: Final = ("chance", "held", "rotation", "priorities", "held", "chance", "held", "chance")


def order_from(random: Random, tasks: int, number: int) -> Order | None:
    """One of the orders above for a race of so many tasks; None: all chance.  Few numbers in a row give all kinds."""
    match _ORDERS[number % len(_ORDERS)]:
        case "held":
            nth, spans = (1, 1, 2, 3), (15, 60, 250, 1000)
            holds = [
                Hold(random.randrange(tasks), random.randrange(KINDS), random.choice(nth), random.choice(spans))
                for _ in range(random.choice((4, 8, 16)))
            ]
            return Held(random, holds, random.choice((0.0, 0.9)))
        case "priorities":
            return Priorities(random, random.randrange(1, 5), random.choice((60, 250, 800)))
        case "rotation":
            return Rotation(random.choice((1, 1, 2, 3)))
        case _:
            return None

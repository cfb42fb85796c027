"""Workload x policy x machine: what it takes, and when migrating pays.

Runs are made on the reference kernel.  What happens does not depend on prices, so each run is made once and priced for
every machine whose memory is of the same kind (coherent or not).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from hmmspec.diagnostics import InternalError
from hmmspec.ref.cost.machine import Machine
from hmmspec.ref.cost.timeline import LANES, Entry, Kind, Lane, Prices, TimeLine, Total
from hmmspec.ref.cost.units import PAGE, PMD, Impossible, rate_of
from hmmspec.ref.simulate.kernel import OnKernel
from hmmspec.ref.simulate.policies import MIGRATING, POLICIES, Setting
from hmmspec.ref.simulate.workloads import WORKLOADS, Shape

Events = dict[tuple[Kind, int, int], int]

_MOST_ROUNDS = 1 << 20
_TO_DEVICE = (Kind.COPY_TO_DEVICE, Kind.DEVICE_READ, Kind.CPU_WRITE)
_TO_SYSTEM = (Kind.COPY_TO_SYSTEM, Kind.DEVICE_WRITE, Kind.CPU_READ)


@dataclass(frozen=True)
class Case:
    """One run.  size, memory: bytes of the array and of device memory; around: bytes that a device fault brings.

    huge: the array is of PMD-size pages.
    """

    workload: str
    policy: str
    size: int
    rounds: int = 4
    memory: int | None = None
    around: int = 16 * PAGE
    seed: int = 0
    huge: bool = False

    def __post_init__(self) -> None:
        if self.size < PAGE or self.size % PAGE:
            raise Impossible("HMM141", f"an array must be of whole pages of {PAGE} bytes, not {self.size}")
        if self.rounds < 1:
            raise Impossible("HMM141", f"a workload has at least one round, not {self.rounds}")
        pages = self.around // PAGE
        if self.around % PAGE or pages < 1 or pages & (pages - 1) or pages > 512:
            told = f"a fault brings a power of two of pages, from 4K to 2M, not {self.around} bytes"
            raise Impossible("HMM141", told)
        if self.memory is not None and self.device_pages < pages:
            told = f"device memory of {self.memory} bytes does not hold the {self.around} that one fault brings"
            raise Impossible("HMM141", told, "give it at least 2M")

    @property
    def pages(self) -> int:
        """Pages of the array."""
        return self.size // PAGE

    @property
    def device_pages(self) -> int:
        """Pages of device memory."""
        if self.memory is not None:
            return self.memory // PAGE
        return max(self.around // PAGE, int(self.pages * WORKLOADS[self.workload].memory))


@dataclass(frozen=True)
class Made:
    """What a run did: the events up to the end of each round, and the useful bytes of all.

    entries: every charge in the order in which it was made (times not yet known), where that was asked for.
    """

    rounds: tuple[Events, ...]
    useful: int
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A case on one machine."""

    case: Case
    machine: Machine
    made: Made

    @cached_property
    def totals(self) -> dict[Kind, Total]:
        """What was charged, by kind."""
        return self._charged(self.made.rounds[-1]).totals

    @cached_property
    def _times(self) -> list[int]:
        """Picoseconds up to the end of each round."""
        return [self._charged(events).now for events in self.made.rounds]

    def _charged(self, events: Events) -> TimeLine:
        line = TimeLine(self.machine)
        for (kind, count, size), times in events.items():
            line.charge(kind, count, size, times)
        return line

    def entries(self) -> tuple[Entry, ...]:
        """The time line: every charge with its moment, where the run kept them."""
        line = TimeLine(self.machine, keep=True)
        for e in self.made.entries:
            line.charge(e.kind, e.count, e.size, e.times)
        return tuple(line.entries)

    def ps_after(self, rounds: int) -> int:
        """Picoseconds of so many rounds; those that were not run are like the last one that was."""
        times = self._times
        if rounds <= len(times):
            return times[rounds - 1]
        last = times[-1] - (times[-2] if len(times) > 1 else 0)
        return times[-1] + (rounds - len(times)) * last

    @property
    def ps(self) -> int:
        """Picoseconds if one thing is done after the other."""
        return self._times[-1]

    @cached_property
    def lanes(self) -> dict[Lane, int]:
        """Picoseconds that CPU, bus and device are busy."""
        busy = dict.fromkeys(Lane, 0)
        for kind, total in self.totals.items():
            busy[LANES.get(kind, Lane.CPU)] += total.ps
        return busy

    @property
    def best_ps(self) -> int:
        """Picoseconds if everything overlaps as far as it can: the busiest lane."""
        return max(self.lanes.values())

    @property
    def to_device(self) -> int:
        """Bytes over the link to the device."""
        return sum(self.totals[kind].size for kind in _TO_DEVICE if kind in self.totals)

    @property
    def to_system(self) -> int:
        """Bytes over the link to the system."""
        return sum(self.totals[kind].size for kind in _TO_SYSTEM if kind in self.totals)

    @property
    def device_faults(self) -> int:
        """Fault records."""
        return self.totals.get(Kind.DEVICE_FAULT, Total()).count

    @property
    def cpu_faults(self) -> int:
        """Faults of CPUs."""
        return self.totals.get(Kind.CPU_FAULT, Total()).events

    @property
    def migrated(self) -> int:
        """Bytes of pages that were moved, either way."""
        small, large = (self.totals.get(kind, Total()).count for kind in (Kind.MIGRATE_PAGE, Kind.MIGRATE_HUGE))
        return small * PAGE + large * PMD

    @property
    def rate(self) -> Fraction:
        """Useful bytes a second."""
        return rate_of(self.made.useful, self.ps)


class _Counting:
    """Prices of a run that is priced later."""

    def price(self, kind: Kind, count: int, size: int) -> int:
        """Nothing yet."""
        return 0


def make(case: Case, *, coherent: bool, batch: int = 256, keep: bool = False) -> Made:
    """Run a case on the reference kernel.

    Raises InternalError if a page has lost its data: then nothing else about the run is worth telling.
    """
    _, policy = POLICIES[case.policy]
    prices: Prices = _Counting()
    line = TimeLine(prices, keep=keep)
    place = OnKernel(line, case.pages, case.device_pages, coherent=coherent, huge=case.huge)
    setting = Setting(place, case.pages, case.around // PAGE, batch, coherent)
    useful = 0
    rounds: list[Events] = []
    policy.begin(setting)
    for phases in WORKLOADS[case.workload].rounds(Shape(case.pages, case.rounds, case.seed)):
        for phase in phases:
            useful += phase.size * (1 + phase.write)
            if phase.by_device:
                policy.device(setting, phase)
            else:
                policy.cpu(setting, phase)
        rounds.append(line.events())
    wrong = [f"page {page} has lost its data" for page in place.lost()]
    wrong += [finding.text for finding in place.kernel.findings]
    if wrong:
        raise InternalError(f"{case.workload}, {case.policy}: {wrong[0]}; {len(wrong)} findings")
    return Made(tuple(rounds), useful, tuple(line.entries))


def simulate(cases: Sequence[Case], machines: Sequence[Machine], *, keep: bool = False) -> Iterator[Outcome]:
    """Every case on every machine, in that order; keep: with all entries of their time lines.

    Raises InternalError as `make` does.
    """
    for case in cases:
        made: dict[tuple[bool, int], Made] = {}
        for machine in machines:
            key = machine.link.coherent, machine.faults.batch
            if key not in made:
                made[key] = make(case, coherent=key[0], batch=key[1], keep=keep)
            yield Outcome(case, machine, made[key])


@dataclass(frozen=True)
class Answer:
    """Of one workload on one machine: whether migrating pays.

    best: the fastest case of all; moving, staying: the fastest that migrates and the fastest that does not.
    rounds: from how many rounds on the one is faster than the other, or None if that never comes.
    """

    moving: Outcome
    staying: Outcome
    rounds: int | None

    @property
    def pays(self) -> bool:
        """With as many rounds as were asked for."""
        return self.moving.ps < self.staying.ps

    @property
    def gain(self) -> Fraction:
        """How many times as fast migrating is as not migrating."""
        return Fraction(self.staying.ps, self.moving.ps)


def answer(outcomes: Sequence[Outcome]) -> Answer | None:
    """What the outcomes of one workload on one machine say; None if they do not hold both kinds of policy.

    Rounds beyond those that were run are taken to be like the last one.
    """
    moving = [o for o in outcomes if o.case.policy in MIGRATING]
    staying = [o for o in outcomes if o.case.policy not in MIGRATING]
    if not moving or not staying:
        return None

    def faster(rounds: int) -> bool:
        return min(o.ps_after(rounds) for o in moving) < min(o.ps_after(rounds) for o in staying)

    # Doubling, then halving: what is faster after so many rounds is so after more, once set-up has been paid.
    rounds = next((1 << k for k in range(_MOST_ROUNDS.bit_length()) if faster(1 << k)), None)
    low = (rounds or 0) // 2
    while rounds is not None and rounds - low > 1:
        middle = (low + rounds) // 2
        low, rounds = (low, middle) if faster(middle) else (middle, rounds)
    return Answer(min(moving, key=_time), min(staying, key=_time), rounds)


def _time(outcome: Outcome) -> int:
    return outcome.ps

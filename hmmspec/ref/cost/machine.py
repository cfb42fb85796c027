"""A machine as the cost model sees it: a link, a copy engine, what Linux does, faults, memories.

`Machine.price` is what a `TimeLine` asks.  A machine can be written as JSON and read again, so that constants fitted to
one's own hardware are used by everything else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from hmmspec.ref.cost.dma import DmaEngine
from hmmspec.ref.cost.faults import FaultCosts
from hmmspec.ref.cost.link import Link, PcieLink, RateLink
from hmmspec.ref.cost.memory import Memory
from hmmspec.ref.cost.migration import Migration
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.cost.units import PAGE, PMD, chunks, ps_for, up, wanted


@dataclass(frozen=True)
class Requests:
    """How memory at the other end of the link is reached: by `outstanding` requests of `grain` bytes at once."""

    outstanding: int = 1
    grain: int = 64

    def __post_init__(self) -> None:
        wanted("outstanding requests", self.outstanding, 1)
        wanted("the grain of a request", self.grain, 1)

    def ps(self, link: Link, size: int, count: int, *, to_device: bool, posted: bool) -> int:
        """`count` requests of together `size` bytes, issued at once.

        posted: nobody waits for an answer (writes over PCIe); otherwise the first waits a round trip and the rest flow
        as fast as the wire and the outstanding requests allow.
        """
        if not size or not count:
            return 0
        moved, count = max(size, count * self.grain), max(count, chunks(size, self.grain))
        wire = link.to_device_ps(moved, count) if to_device else link.to_system_ps(moved, count)
        if posted:
            return wire
        waits = up(Fraction((count - 1) * link.round_trip_ps, self.outstanding))
        return link.round_trip_ps + max(wire, waits)


@dataclass(frozen=True)
class Machine:
    """The costs of one machine.

    walk_ps: each page of a page-table walk; notify_ps: each mmu notifier callback with the invalidation on the device;
    swap_ps, swap_rate: each page that goes to or comes from swap, and its bytes a second.
    device_requests, cpu_requests: how device and CPU reach memory that is not theirs; local memories say it themselves.
    sources: where the numbers are from, a line each.
    """

    name: str
    link: PcieLink | RateLink
    dma: DmaEngine = field(default_factory=DmaEngine)
    migration: Migration = field(default_factory=Migration)
    faults: FaultCosts = field(default_factory=FaultCosts)
    device: Memory = field(default_factory=lambda: Memory(1_000_000_000_000))
    system: Memory = field(default_factory=lambda: Memory(100_000_000_000))
    device_requests: Requests = field(default_factory=Requests)
    cpu_requests: Requests = field(default_factory=Requests)
    walk_ps: int = 0
    notify_ps: int = 0
    swap_ps: int = 0
    swap_rate: int = 3_000_000_000
    sources: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        for name in ("walk_ps", "notify_ps", "swap_ps"):
            wanted(name, getattr(self, name))
        wanted("swap_rate", self.swap_rate, 1)

    def price(self, kind: Kind, count: int, size: int) -> int:
        """Picoseconds of one event of `kind` (see `Kind` for what count and size say)."""
        wanted("count", count)
        wanted("size", size)
        match kind:
            case Kind.CPU_FAULT:
                return self.faults.cpu_ps
            case Kind.DEVICE_FAULT:
                return self.faults.batch_ps(count, chunks(size, PMD), chunks(size, PAGE))
            case Kind.WALK:
                return count * self.walk_ps
            case Kind.NOTIFY:
                return self.notify_ps
            case Kind.TLB_FLUSH:
                return self.migration.flush.ps(count)
            case Kind.MIGRATE_CALL:
                return self.migration.bookkeeping_ps(0, 0, count)
            case Kind.MIGRATE_PAGE:
                return self.migration.bookkeeping_ps(count, 0, 0)
            case Kind.MIGRATE_HUGE:
                return self.migration.bookkeeping_ps(0, count, 0)
            case Kind.COPY_TO_DEVICE:
                return self.dma.copy_ps(self.link, size, count, to_device=True)
            case Kind.COPY_TO_SYSTEM:
                return self.dma.copy_ps(self.link, size, count, to_device=False)
            case Kind.COPY_ON_DEVICE:
                return self.device.copy_ps(size)
            case Kind.COPY_BY_CPU:
                return self.migration.copy_ps(size)
            case Kind.SWAP_OUT | Kind.SWAP_IN:
                return count * self.swap_ps + ps_for(size, self.swap_rate)
            case Kind.DEVICE_LOCAL:
                return self.device.access_ps(size, count)
            case Kind.CPU_LOCAL:
                return self.system.access_ps(size, count)
            case Kind.DEVICE_READ:
                return self.device_requests.ps(self.link, size, count, to_device=True, posted=False)
            case Kind.DEVICE_WRITE:
                posted = not self.link.coherent
                return self.device_requests.ps(self.link, size, count, to_device=False, posted=posted)
            case Kind.CPU_READ:
                return self.cpu_requests.ps(self.link, size, count, to_device=False, posted=False)
            case Kind.CPU_WRITE:
                posted = not self.link.coherent
                return self.cpu_requests.ps(self.link, size, count, to_device=True, posted=posted)

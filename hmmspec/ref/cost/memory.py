"""Memory of a device or of the system, as an accessor beside it sees it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from hmmspec.ref.cost.units import ps_for, up, wanted


@dataclass(frozen=True)
class Memory:
    """rate: bytes a second, reads and writes together; latency_ps: one access; outstanding: how many wait at once.

    grain: bytes that the smallest access moves.
    """

    rate: int
    latency_ps: int = 0
    outstanding: int = 1
    grain: int = 1

    def __post_init__(self) -> None:
        wanted("the rate of a memory", self.rate, 1)
        wanted("the latency of a memory", self.latency_ps)
        wanted("outstanding", self.outstanding, 1)
        wanted("the grain of a memory", self.grain, 1)

    def access_ps(self, size: int, count: int = 1) -> int:
        """`count` accesses of `size` bytes together, issued at once: one latency, then what rate and waits allow."""
        if not wanted("the size of an access", size) or not wanted("the number of accesses", count):
            return 0
        moved = max(size, count * self.grain)
        waits = up(Fraction((count - 1) * self.latency_ps, self.outstanding))
        return self.latency_ps + max(ps_for(moved, self.rate), waits)

    def copy_ps(self, size: int) -> int:
        """A copy inside the memory: read once, written once."""
        return self.latency_ps + ps_for(2 * size, self.rate) if wanted("the size of a copy", size) else 0

"""Copy engines, and how pages become transfers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hmmspec.ref.cost.link import Link
from hmmspec.ref.cost.units import PMD, chunks, wanted


@dataclass(frozen=True)
class DmaEngine:
    """One engine for each direction.

    submit_ps: software on the CPU for each copy that is submitted (a doorbell, an ioctl); setup_ps: the engine's start;
    setup_back_ps: the start of copies to the system, if it differs.
    descriptor_ps: each descriptor; descriptor_bytes: the most that one moves.
    coalesce: contiguous pages share a descriptor; without it each piece of `piece` bytes has its own.
    duplex: both directions at once; without it one waits for the other.
    """

    submit_ps: int = 0
    setup_ps: int = 0
    descriptor_ps: int = 0
    descriptor_bytes: int = PMD
    coalesce: bool = True
    piece: int = 4096
    duplex: bool = True
    setup_back_ps: int | None = None

    def __post_init__(self) -> None:
        for field in ("submit_ps", "setup_ps", "descriptor_ps"):
            wanted(field, getattr(self, field))
        if self.setup_back_ps is not None:
            wanted("setup_back_ps", self.setup_back_ps)
        for field in ("descriptor_bytes", "piece"):
            wanted(field, getattr(self, field), 1)

    def descriptors(self, size: int, runs: int) -> int:
        """How many descriptors `size` bytes in `runs` contiguous runs take: the longest run is at most as long as fits.

        Where the lengths of the runs are known, `descriptors_of` is exact.
        """
        if not size:
            return 0
        each = self.descriptor_bytes if self.coalesce else min(self.piece, self.descriptor_bytes)
        return max(runs, chunks(size, each))

    def copy_ps(self, link: Link, size: int, runs: int = 1, *, to_device: bool) -> int:
        """One copy of `size` bytes in `runs` contiguous runs over the link.

        The engine reads descriptors while it moves data only within one run, so their times add up.
        """
        wanted("the size of a copy", size)
        wanted("the runs of a copy", runs)
        count = self.descriptors(size, runs)
        if not count:
            return 0
        wire = link.to_device_ps(size, count) if to_device else link.to_system_ps(size, count)
        start = self.setup_ps if to_device or self.setup_back_ps is None else self.setup_back_ps
        return self.submit_ps + start + count * self.descriptor_ps + wire

    def both_ps(self, link: Link, to_device: int, to_system: int) -> int:
        """A copy each way, submitted together, until both are done; each is one run."""
        one = self.copy_ps(link, to_device, to_device=True)
        other = self.copy_ps(link, to_system, to_device=False)
        if not self.duplex:
            return one + other
        if not to_device or not to_system:
            return max(one, other)
        ahead = 2 * self.submit_ps + self.setup_ps
        count = max(self.descriptors(to_device, 1), self.descriptors(to_system, 1))
        return max(one, other, ahead + count * self.descriptor_ps + link.both_ps(to_device, to_system))


def runs_of(source: Sequence[int], target: Sequence[int]) -> list[int]:
    """Lengths, in pages, of the runs in which both the source's and the target's pages follow one another.

    `source[k]` is copied to `target[k]`; a descriptor can hold a whole run.  Raises ValueError if the lengths differ.
    """
    runs: list[int] = []
    before: tuple[int, int] | None = None
    for pair in zip(source, target, strict=True):
        if before is not None and pair == (before[0] + 1, before[1] + 1):
            runs[-1] += 1
        else:
            runs.append(1)
        before = pair
    return runs

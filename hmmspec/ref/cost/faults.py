"""Page faults of a device, which the driver fetches and handles in batches, and those of CPUs.

`batch = interrupt + records x (fetch + dedupe) + blocks x block + pages x (unmap + map for DMA) + replay`, and the
copies: only the interrupt and the replay are paid once for a whole batch.  A constant measured on a single fault must
therefore never be multiplied by the number of faults.
"""

from __future__ import annotations

from dataclasses import dataclass

from hmmspec.ref.cost.units import wanted


@dataclass(frozen=True)
class FaultCosts:
    """Constants, in picoseconds.

    irq_ps, replay_ps: each batch; fetch_ps, dedupe_ps: each fault record; block_ps: each block of 2 MiB that a batch
    touches; page_ps: each page that is mapped for DMA and unmapped on the CPU; batch: the most records of a batch.
    cpu_ps: one fault of a CPU: entry, walk and exit, without what is done to the page.
    """

    irq_ps: int = 0
    fetch_ps: int = 0
    dedupe_ps: int = 0
    block_ps: int = 0
    page_ps: int = 0
    replay_ps: int = 0
    batch: int = 256
    cpu_ps: int = 0

    def __post_init__(self) -> None:
        for field in ("irq_ps", "fetch_ps", "dedupe_ps", "block_ps", "page_ps", "replay_ps", "cpu_ps"):
            wanted(field, getattr(self, field))
        wanted("batch", self.batch, 1)

    @property
    def fixed_ps(self) -> int:
        """What a batch costs however small it is."""
        return self.irq_ps + self.replay_ps

    @property
    def record_ps(self) -> int:
        """What each record adds."""
        return self.fetch_ps + self.dedupe_ps

    def batches(self, records: int) -> int:
        """How many batches so many records take."""
        return -(-wanted("the number of fault records", records) // self.batch)

    def batch_ps(self, records: int, blocks: int = 0, pages: int = 0) -> int:
        """So many records, in as few batches as they fit in, without copies.

        blocks: blocks of 2 MiB touched, counted once for each batch that touches them; pages: pages mapped for DMA.
        """
        wanted("the number of blocks", blocks)
        wanted("the number of pages", pages)
        each = records * self.record_ps + blocks * self.block_ps + pages * self.page_ps
        return self.batches(records) * self.fixed_ps + each

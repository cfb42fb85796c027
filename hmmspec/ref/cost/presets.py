"""Machines by name, each number with its source.

NOTE(assumed): a source that begins with "assumed" is an assumption, made where nothing measured was found; nothing in
docs/cost.md is compared with it.  Calibrate with `hmmspec cost fit`.
"""

from __future__ import annotations

from dataclasses import replace

from hmmspec.ref.cost.dma import DmaEngine
from hmmspec.ref.cost.faults import FaultCosts
from hmmspec.ref.cost.link import PcieLink, RateLink
from hmmspec.ref.cost.machine import Machine, Requests
from hmmspec.ref.cost.memory import Memory
from hmmspec.ref.cost.migration import Flush, Migration
from hmmspec.ref.cost.units import GB, KIB, MIB, NS, PMD, US, chunks, ps_for

# Sets of constants for parts of a machine.

GARG_2026 = Migration(folio_ps=658_333, huge_ps=658_333, copy_rate=7_180_000_000, huge_copy_rate=11_076_000_000)
"""move_pages() of Linux v7.1-rc1 on Zen 3; flushes are in folio_ps."""
YAN_2017 = Migration(
    call_ps=58_700 * NS, folio_ps=2_600 * NS, huge_ps=2_600 * NS, copy_rate=3_500_000_000, huge_copy_rate=3_500_000_000
)
"""move_pages() across the sockets of a Xeon E5-2640 v3."""
XE_2025 = Migration(folio_ps=685_000, huge_ps=685_000)
"""migrate_vma_*() around the copies of Intel's xe, from 4.35 GB/s with copies of 2 MiB at 16 GB/s."""
XE_COPY_RATE = 16 * GB

LINUX = Migration(
    folio_ps=590 * NS,
    huge_ps=590 * NS,
    call_ps=5 * US,
    copy_rate=7_180_000_000,
    huge_copy_rate=11_076_000_000,
    flush=Flush(0, 100 * NS, 33),
)
"""What the presets take for a current kernel."""

FAULTS = FaultCosts(
    irq_ps=10 * US,
    fetch_ps=500 * NS,
    dedupe_ps=100 * NS,
    block_ps=2 * US,
    page_ps=100 * NS,
    replay_ps=20 * US,
    cpu_ps=1 * US,
)
"""An isolated device fault of one page comes to 32.7 us before its migration."""

PASCAL_FAULTS = FaultCosts(
    irq_ps=10 * US,
    fetch_ps=500 * NS,
    dedupe_ps=100 * NS,
    block_ps=2 * US,
    page_ps=290 * NS,
    replay_ps=21 * US,
    cpu_ps=1 * US,
)
"""A Pascal GPU under CUDA's unified memory: each record brings the 64 KiB around it."""
PASCAL_LEAF = 64 * KIB

PASCAL_COPY = RateLink("PCIe 3 x16, GTX 1080 Ti", 15_754_000_000, 11_400_000_000, 11_400_000_000, 1 * US)
PASCAL_ENGINE = DmaEngine(setup_ps=910 * NS)

COPY_ENGINE = DmaEngine(submit_ps=5 * US, setup_ps=1 * US, descriptor_ps=50 * NS)


def _memory(rate: int, latency_ps: int, grain: int = 32) -> Memory:
    """Memory that enough requests at once saturate."""
    outstanding = chunks(rate * latency_ps, grain * 10**12)
    return Memory(rate, latency_ps, max(1, outstanding), grain)


_COMMON = (
    "migration: 0.69 us a page, flush included, from xe (intel-xe 2025-June 085564); move_pages() has 0.66 us",
    "tlb flush: about 100 ns a page, all at once from 33 pages (lkml, I. Molnar; kernel commit a5102476a24b)",
    "tlb flush without interrupts: one CPU; a shootdown costs 3-6 us more (illumos, gist rzezeski 9629efcd)",
    "copy: 1 us to start an engine (fit of UVMSmart's transferBandwidth); 5-7 us to submit (arXiv 2602.21548)",
    "device fault: batches of 256 (nvidia-uvm); interrupt, fetch and replay within the 20-45 us of a single fault",
    "cpu fault: 1 us, median of a minor fault on Linux 6.6 (ddumbying, page fault latency measurement)",
    "device memory latency: 400 ns (mikamirai.com, H100)",
    "assumed: 5 us a migrate call, 50 ns a descriptor, 2 us a notifier callback, 20 ns a page walked, 10 us a swap",
    "assumed: a device keeps 1024 remote requests of 64 bytes under way, a CPU 16",
)
_ROUND_TRIP = "round trip: 1 us, within 0.5-1.5 us of PCIe memory pooling (nextplatform.com, 2022-12-05)"
_FORMULA = (
    "link: formula and overheads of pcie-bench/pcie-model (SIGCOMM 2018), MPS 256, MRRS 512, recommended DLLP rate"
)
_GUESS = (
    "generation 6 has no measured figures: 242/256 of 64 GT/s, DLLPs as in generation 5, both as that model guesses"
)


def _pcie(generation: int, device: Memory, *told: str) -> Machine:
    return Machine(
        name=f"pcie{generation}",
        link=PcieLink(generation, 16, round_trip_ps=1 * US),
        dma=COPY_ENGINE,
        migration=LINUX,
        faults=FAULTS,
        device=device,
        system=_memory(100 * GB, 90 * NS, 64),
        device_requests=Requests(1024, 64),
        cpu_requests=Requests(16, 64),
        walk_ps=20 * NS,
        notify_ps=2 * US,
        swap_ps=10 * US,
        sources=(_FORMULA, *told, _ROUND_TRIP, *_COMMON),
    )


_PCIE5 = _pcie(5, _memory(3_350 * GB, 400 * NS), "device memory: 3.35 TB/s (H100 SXM, acecloud.ai and others)")

PRESETS: dict[str, Machine] = {
    "pcie3": _pcie(3, _memory(444 * GB, 400 * NS), "device memory: 443.8 GB/s copied (P100, gearshifft PR 82)"),
    "pcie4": _pcie(4, _memory(2_039 * GB, 400 * NS), "device memory: 2.039 TB/s (A100 80 GB SXM, acecloud.ai)"),
    "pcie5": _PCIE5,
    "pcie6": _pcie(6, _memory(8_000 * GB, 400 * NS), _GUESS, "device memory: about 8 TB/s (B200)"),
    "c2c": replace(
        _PCIE5,
        name="c2c",
        link=RateLink("NVLink-C2C (GH200)", 450 * GB, 375 * GB, 297 * GB, 800 * NS, grain=64, coherent=True),
        device=_memory(3_400 * GB, 400 * NS),
        system=_memory(486 * GB, 90 * NS, 64),
        device_requests=Requests(8192, 64),
        sources=(
            "link: 375 GB/s to the device and 297 back, of 450 a direction (GH200, 4nownews.com on a KTH paper)",
            "device memory: 3.4 TB/s of 4, system memory: 486 GB/s (STREAM on GH200, same)",
            "assumed: a round trip of 800 ns, and 8192 requests under way",
            *_COMMON,
        ),
    ),
    "cxl": replace(
        _PCIE5,
        name="cxl",
        link=RateLink(
            "CXL 2.0 over PCIe 5 x16", 63_015_384_615, 59_308_597_285, 59_308_597_285, 250 * NS, grain=64, coherent=True
        ),
        sources=(
            "link: PCIe 5 x16 raw times 64/68, the payload of a flit: an upper bound, no measured figure was found",
            "round trip: about 250 ns, a breakdown by parts (sampooni.github.io, appendix F)",
            "assumed: device memory as in pcie5",
            *_COMMON,
        ),
    ),
}
"""By the name that `--link` takes."""


def isolated_fault_ps(faults: FaultCosts = PASCAL_FAULTS) -> int:
    """One device fault alone on Pascal: its batch, 64 KiB mapped for DMA, copied."""
    copy = PASCAL_ENGINE.copy_ps(PASCAL_COPY, PASCAL_LEAF, to_device=True)
    return faults.batch_ps(1, 1, PASCAL_LEAF // (4 * KIB)) + copy


def touched_on_demand_ps(records: int, faults: FaultCosts = PASCAL_FAULTS) -> int:
    """A whole array touched in order, on Pascal: each record brings 64 KiB, full batches, every block of 2 MiB once."""
    size = records * PASCAL_LEAF
    copies = records * PASCAL_ENGINE.copy_ps(PASCAL_COPY, PASCAL_LEAF, to_device=True)
    return faults.batch_ps(records, chunks(size, PMD), chunks(size, 4 * KIB)) + copies


def xe_range_ps(size: int, *, threads: int = 1, huge: bool = False) -> int:
    """`size` bytes prefetched by xe in ranges of 2 MiB: CPU work by `threads` threads, copies one after the other."""
    ranges = chunks(size, 2 * MIB)
    pages = chunks(size, 4 * KIB)
    work = XE_2025.bookkeeping_ps(0 if huge else pages, ranges if huge else 0, 0)
    copies = ps_for(size, XE_COPY_RATE)
    if threads == 1:
        return work + copies
    return max(copies, -(-work // threads) + ps_for(min(size, 2 * MIB), XE_COPY_RATE))

"""Translation caches, one per CPU: an entry stays until it is flushed, whatever the page table says.

A CPU that finds a translation uses it without looking at the table again, and writes through it once it is cached as
dirty; that is why a rule that takes a mapping away has to flush before anybody may rely on it (60bae7370896).  A cache
holds `TLB_SIZE` entries per address space and throws the oldest away.
"""

from __future__ import annotations

from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.spaces import Mm
from hmmspec.ref.state import TLB_SIZE, Cpu, Kernel


def flush_page(k: Kernel, mm: Mm, vpn: int) -> None:
    """Every CPU forgets the translation of one page (ptep_clear_flush and its like)."""
    for cpu in k.cpus:
        cached = cpu.tlb.get(mm.id)
        if cached:
            cached.pop(vpn, None)
    k.line.charge(Kind.TLB_FLUSH, count=1)


def flush_range(k: Kernel, mm: Mm, start: int, end: int) -> None:
    """Every CPU forgets the translations of `[start, end)`."""
    for cpu in k.cpus:
        cached = cpu.tlb.get(mm.id)
        if not cached:
            continue
        if len(cached) <= end - start:
            for vpn in [v for v in cached if start <= v < end]:
                del cached[vpn]
        else:
            for vpn in range(start, end):
                cached.pop(vpn, None)
    k.line.charge(Kind.TLB_FLUSH, count=end - start)


def flush_mm(k: Kernel, mm: Mm) -> None:
    """Every CPU forgets an address space (its end: no charge, nobody runs in it)."""
    for cpu in k.cpus:
        cpu.tlb.pop(mm.id, None)


def fill(cpu: Cpu, mm: Mm, vpn: int, word: int) -> None:
    """Remember a translation, as the hardware does after a walk."""
    cached = cpu.tlb.get(mm.id)
    if cached is None:
        cached = cpu.tlb[mm.id] = {}
    elif len(cached) >= TLB_SIZE and vpn not in cached:
        del cached[next(iter(cached))]
    cached[vpn] = word

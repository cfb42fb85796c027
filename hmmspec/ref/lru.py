"""The LRU as migration meets it: per-CPU batches that hold a reference, isolation, and draining.

A new folio goes into the batch of the CPU that added it, and the batch holds one more reference, until it is drained;
whoever compares reference counts has to drain first (`lru_add_drain`, `lru_add_drain_all` in `mm/swap.c`).
"""

from __future__ import annotations

from hmmspec.ref.frames import BATCHED, DEVICE, LRU
from hmmspec.ref.state import BATCH, Kernel
from hmmspec.ref.tasks import Steps, Task, Waitable


def lru_add(k: Kernel, t: Task, head: int) -> None:
    """Put a folio into this CPU's batch (folio_add_lru), which takes a reference; a large one does not stay there."""
    f = k.frames
    if f.flags[head] & (DEVICE | LRU | BATCHED):
        k.report("warning", f"frame {head} goes to the LRU, but it is device memory or already there")
        return
    if not f.memcg[head]:
        k.report("warning", f"frame {head} goes to the LRU without a memcg: it was migrated away (41cddf83d8b0)")
    f.flags[head] |= BATCHED
    k.get(head, "batch")
    batch = k.cpus[t.cpu].batch
    batch.append(head)
    if len(batch) >= BATCH or f.order[head]:
        drain_cpu(k, t.cpu)


def drain_cpu(k: Kernel, cpu: int) -> None:
    """Put what is in a CPU's batch on the LRU and give the batch's references up (lru_add_drain_cpu)."""
    f = k.frames
    batch, k.cpus[cpu].batch = k.cpus[cpu].batch, []
    for head in batch:
        f.flags[head] = f.flags[head] & ~BATCHED | LRU
        f.age[head] = k.lru_clock
        k.lru_clock += 1
        if "batch-leaks-reference" not in k.defects:
            k.put(head, "batch")


def drain_all(k: Kernel, _t: Task) -> Steps[None]:
    """Have every CPU drain its batch, and wait for that: a worker must run on each of them (lru_add_drain_all)."""
    full = [cpu.number for cpu in k.cpus if cpu.batch]
    if k.workers is None:
        for number in full:
            yield "drain"
            drain_cpu(k, number)
        return
    done = Waitable("lru drain workers")
    jobs = [k.workers.spawn(k.task(f"kworker/{n}", n), _worker(k, n), worker=True) for n in full]
    for job in jobs:
        job.on_end.append(done)
    while not all(job.done for job in jobs):
        yield done
    for job in jobs:
        del k.tasks[job.task.id]


def _worker(k: Kernel, cpu: int) -> Steps[None]:
    yield "drain work"
    drain_cpu(k, cpu)


def isolate(k: Kernel, head: int) -> bool:
    """Take a folio off the LRU with a reference `isolate` (folio_isolate_lru); False: it is not on it, or made to
    fail.
    """
    if not k.frames.flags[head] & LRU or k.fails("isolate"):
        return False
    k.frames.flags[head] &= ~LRU
    k.get(head, "isolate")
    return True


def putback(k: Kernel, t: Task, head: int) -> None:
    """Return an isolated folio to the LRU, by way of the batch, and give the reference up (folio_putback_lru)."""
    lru_add(k, t, head)
    k.put(head, "isolate")

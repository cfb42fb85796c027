"""What programs do to memory, as phases of accesses to the pages of one array.

The array begins in system memory, written by the CPU.  All sizes in bytes, all pages of 4 KiB, counted from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hmmspec.ref.cost.units import PAGE

Pages = npt.NDArray[np.int64]
LINE = 64
"""Bytes of the smallest access."""
_VERTEX, _LEVELS = 512, 24


@dataclass(frozen=True)
class Phase:
    """Accesses by one side, one after the other in the order of `pages`.

    each: bytes of each access; dependent: an access waits for the one before it (a pointer is read), and nothing can be
    done ahead; write: it also writes what it read.
    """

    by_device: bool
    pages: Pages
    each: int = PAGE
    write: bool = False
    dependent: bool = False

    @property
    def size(self) -> int:
        """Bytes accessed."""
        return len(self.pages) * self.each


Round = tuple[Phase, ...]


@dataclass(frozen=True)
class Shape:
    """How large a workload is: pages of the array, how often it is repeated, the seed of what is random."""

    pages: int
    rounds: int
    seed: int


def streaming(shape: Shape) -> Iterator[Round]:
    """The device reads the whole array in order, again in each round."""
    for _ in range(shape.rounds):
        yield (Phase(by_device=True, pages=_all(shape)),)


def random(shape: Shape) -> Iterator[Round]:
    """The device reads single lines at random places, as many as there are pages in each round."""
    rng = np.random.default_rng(shape.seed)
    for _ in range(shape.rounds):
        yield (Phase(by_device=True, pages=rng.integers(0, shape.pages, shape.pages), each=LINE),)


def ping_pong(shape: Shape) -> Iterator[Round]:
    """The device updates the whole array, then the CPU does, in each round."""
    for _ in range(shape.rounds):
        pages = _all(shape)
        yield Phase(by_device=True, pages=pages, write=True), Phase(by_device=False, pages=pages, write=True)


def linked_list(shape: Shape) -> Iterator[Round]:
    """The device walks a list whose nodes lie in random order, one on each page."""
    order = np.random.default_rng(shape.seed).permutation(shape.pages).astype(np.int64)
    for _ in range(shape.rounds):
        yield (Phase(by_device=True, pages=order, each=LINE, dependent=True),)


def graph(shape: Shape) -> Iterator[Round]:
    """The device searches a random graph, breadth first, from another vertex in each round.

    A vertex takes 512 bytes, its edges among them.  Degrees are skewed: low numbers are named far more often.
    """
    rng = np.random.default_rng(shape.seed)
    a_page = PAGE // _VERTEX
    vertices = shape.pages * a_page
    # The square of a uniform number prefers low ones; the first edges form a ring, so that nobody is out of reach.
    edges = (rng.random((vertices, 8)) ** 2 * vertices).astype(np.int64)
    edges[:, 0] = np.roll(np.arange(vertices), 1)
    for _ in range(shape.rounds):
        yield tuple(_search(edges, int(rng.integers(vertices))))


def _search(edges: Pages, start: int) -> Iterator[Phase]:
    """One phase for each level of a search from `start`.

    The last few vertices hang on the ring alone: a search of a thousand levels would say nothing more.
    """
    seen = np.zeros(len(edges), dtype=np.bool_)
    front = np.array([start], dtype=np.int64)
    seen[front] = True
    for _ in range(_LEVELS):
        yield Phase(by_device=True, pages=front // (PAGE // _VERTEX), each=_VERTEX)
        found = np.zeros(len(edges), dtype=np.bool_)
        found[edges[front]] = True
        front = np.flatnonzero(found & ~seen).astype(np.int64)
        seen[front] = True
        if not len(front):
            break


def stencil(shape: Shape) -> Iterator[Round]:
    """The device updates the whole array; then the CPU reads and writes its rim, an eighth, in each round."""
    rim = max(1, shape.pages // 16)
    pages = _all(shape)
    edge = np.unique(np.concatenate([pages[:rim], pages[-rim:]]))
    for _ in range(shape.rounds):
        rim_phase = Phase(by_device=False, pages=edge, write=True)
        yield Phase(by_device=True, pages=pages, write=True), rim_phase


def _all(shape: Shape) -> Pages:
    return np.arange(shape.pages, dtype=np.int64)


@dataclass(frozen=True)
class Workload:
    """rounds: what it does in each; memory: how many times the array fits in device memory, by default."""

    name: str
    told: str
    rounds: Callable[[Shape], Iterator[Round]]
    memory: float = 2.0


WORKLOADS: dict[str, Workload] = {
    w.name: w
    for w in (
        Workload("streaming", "the device reads an array in order", streaming),
        Workload("random", "the device reads lines at random", random),
        Workload("ping-pong", "device and CPU update the array in turn", ping_pong),
        Workload("list", "the device walks a linked list", linked_list),
        Workload("graph", "the device searches a graph", graph),
        Workload("stencil", "the device updates an array, the CPU its rim", stencil),
        Workload("oversubscribed", "the array is half as large again as device memory", streaming, 2 / 3),
    )
}

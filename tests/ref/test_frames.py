"""Frames and the pools that they come from; references with and without their holders' names."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from hmmspec.ref.frames import HUGE, PRIVATE_DEVICE, RESERVED, ZERO_PFN, Frames, Pool
from hmmspec.ref.profile import BEHAVIOURS, PROFILES, profile
from hmmspec.ref.spaces import Fault
from hmmspec.ref.state import Config, Kernel
from hmmspec.ref.tasks import Steps, Task


@pytest.mark.parametrize("seed", range(5))
def test_many_at_once_are_the_same_as_one_by_one(seed: int) -> None:
    one, many, random = Pool(1000, 3000), Pool(1000, 3000), Random(seed)
    held: list[int] = []
    for _ in range(60):
        if random.random() < 0.6:
            n = random.randrange(1, 400)
            got = [p for _ in range(n) if (p := one.take()) is not None]
            assert many.take_many(n).tolist() == got
            held += got
        elif random.random() < 0.5 and held:
            random.shuffle(held)
            back, held = held[:100], held[100:]
            for pfn in back:
                one.put(pfn)
            many.put_many(np.array(back))
        else:
            block = one.take_block()
            assert many.take_block() == block
            held += [] if block is None else range(block, block + HUGE)
        assert len(one) == len(many) == 3000 - len(held)
    assert sorted([*held, *one.free().tolist()]) == list(range(1000, 4000))


def test_blocks_are_put_together_again() -> None:
    pool = Pool(0, 3 * HUGE)
    frames = pool.take_many(3 * HUGE)
    assert (pool.take(), pool.take_block()) == (None, None)
    keep = int(frames[-1])
    pool.put_many(np.random.default_rng(1).permutation(frames[frames != keep]))
    got = [pool.take_block(), pool.take_block(), pool.take_block()]
    assert got[2] is None
    assert {b // HUGE for b in got if b is not None} == set(range(3)) - {keep // HUGE}
    assert len(pool) == HUGE - 1


def test_a_shuffled_pool_gives_everything_out_once() -> None:
    pool = Pool(0, 4 * HUGE)
    pool.shuffle(7)
    got = pool.take_many(4 * HUGE)
    assert sorted(got.tolist()) == list(range(4 * HUGE))
    assert (np.diff(got) != 1).mean() > 0.9


def test_a_column_is_one_memory() -> None:
    f = Frames(4096, 0)
    f.refcount[1500] = 3
    f.v.refcount[1500:1502] += 1
    assert (f.refcount[1500], f.refcount[1501]) == (4, 1)
    assert type(f.refcount[1500]) is int


def test_folios() -> None:
    f = Frames(8192, 0)
    f.make_folio(2048, 9)
    assert (f.head(2048 + 300), f.pages(2048), f.head(1500), f.pages(1500)) == (2048, 512, 1500, 1)
    f.mapcount[2050] = 2
    f.entire[2048] = 1
    assert f.folio_mapcount(2048) == 3
    f.part_folio(2048)
    assert (f.head(2348), f.pages(2048)) == (2348, 1)


def test_references_have_holders() -> None:
    k = Kernel(Config(system_pages=2048, device_pages=0), checks=True)
    pfn = k.alloc("alloc")
    assert pfn is not None
    k.hand_over(pfn, "alloc", "map")
    k.get(pfn, "gup a")
    k.put(pfn, "gup b")
    assert [f.text for f in k.findings] == [
        f"gup b gives up a reference of frame {pfn} that it does not hold (map, gup a)"
    ]
    k.findings.clear()
    k.put(pfn, "map")
    assert k.findings == []
    assert k.frames.refcount[pfn] == 0
    k.put(pfn, "map")
    assert [f.check for f in k.findings] == ["I10"]


def test_the_zero_page_is_never_freed() -> None:
    k = Kernel(Config(system_pages=2048, device_pages=0))
    k.frames.refcount[ZERO_PFN] = 1
    k.put(ZERO_PFN, "map")
    assert k.frames.flags[ZERO_PFN] & RESERVED
    assert ZERO_PFN not in k.pool.free()


class _Memory:
    """Device memory that notes what core code gives back."""

    def __init__(self) -> None:
        self.id, self.owner, self.freed = 1, object(), list[tuple[int, int]]()

    def folio_free(self, k: Kernel, head: int) -> None:
        self.freed.append((head, k.frames.mapping[head]))

    def folio_split(self, k: Kernel, head: int, tail: int | None) -> None:
        raise AssertionError

    def migrate_to_ram(self, k: Kernel, t: Task, fault: Fault) -> Steps[str]:
        raise AssertionError
        yield


@pytest.mark.parametrize("stale", [False, True])
def test_a_freed_device_page_forgets_its_mapping(stale: bool) -> None:
    """7ab0ad0e74f8: the driver must find the mapping cleared."""
    k = Kernel(Config(system_pages=2048, device_pages=64), checks=True, defects=["free-keeps-mapping"] if stale else [])
    memory = k.pgmaps[1] = _Memory()
    pfn = 2050
    k.frames.flags[pfn], k.frames.owner[pfn], k.frames.mapping[pfn] = PRIVATE_DEVICE, 1, 5
    k.get(pfn, "alloc")
    k.findings.clear()  # device pages rest at zero references
    k.put(pfn, "alloc")
    assert memory.freed == [(pfn, 5 if stale else 0)]
    assert k.frames.flags[pfn] == PRIVATE_DEVICE


def test_memcgs_have_limits() -> None:
    k = Kernel(Config(system_pages=4096, device_pages=0))
    group = k.new_memcg(limit=2)
    mm = k.new_mm("p0", group)
    frames = [k.alloc("a") for _ in range(3)]
    assert [k.charge(p, mm) for p in frames if p is not None] == [True, True, False]
    assert frames[0] is not None
    k.put(frames[0], "a")
    assert group.charged == 1


def test_profiles() -> None:
    assert "device_thp" in profile("latest")
    assert "device_thp" not in profile("6.12")
    changed = profile("6.12+device_thp-evict_on_close")
    assert "device_thp" in changed
    assert "evict_on_close" not in changed
    assert all(names <= set(BEHAVIOURS) for names in PROFILES.values())
    assert all(meaning and source for meaning, source in BEHAVIOURS.values())
    with pytest.raises(ValueError, match=r"no profile '5\.4'; there are: 6\.12, latest"):
        profile("5.4")
    with pytest.raises(ValueError, match="no behaviour device_thb"):
        profile("latest+device_thb")


def test_unknown_defects_are_told() -> None:
    with pytest.raises(ValueError, match="no defect 'lost-dirt'"):
        Kernel(Config(system_pages=2048, device_pages=0), defects=["lost-dirt"])

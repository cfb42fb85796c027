"""Frames are really copied, by either loop, and the compiled one is told what numpy would refuse."""

from __future__ import annotations

import os

import numpy as np
import pytest

from hmmspec.ref import copying
from hmmspec.ref.copying import PAGE_SIZE, copy_frames, how_copied, pages, zero_frames


def filled(count: int, seed: int) -> copying.Pages:
    data = pages(count)
    data[:] = np.random.default_rng(seed).integers(0, 256, data.shape, np.uint8)
    return data


@pytest.mark.parametrize("count", [0, 1, 15, 16, 511, 512, 1200])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("order", ["up", "down", "shuffled"])
def test_copies_these_rows_and_no_others(count: int, compiled: bool, order: str) -> None:
    source, to = filled(1300, 1), filled(1400, 2)
    rng = np.random.default_rng(count)
    up, down = np.sort(rng.permutation(1300)[:count]), rng.permutation(1400)[:count]
    if order == "down":
        up = up[::-1]
    elif order == "shuffled":
        up = rng.permutation(up)
    wanted = to.copy()
    wanted[down] = source[up]
    before = source.copy()
    copy_frames(to, down, source, up, compiled=compiled)
    assert (to == wanted).all()
    assert (source == before).all()


def test_one_source_row_may_be_copied_often() -> None:
    source, to = filled(600, 1), pages(600)
    copy_frames(to, np.arange(600), source, np.full(600, 7))
    assert (to == source[7]).all()


def test_rows_far_apart_are_sorted_too() -> None:
    source, to = pages(100_000), pages(16)
    rows = np.array([99_999, 3, 50_000, *range(10, 23)])
    source[rows] = np.arange(16, dtype=np.uint8)[:, None]
    copy_frames(to, np.arange(16), source, rows)
    assert to[:, 0].tolist() == list(range(16))


@pytest.mark.parametrize("shift", [1, 16])
def test_memory_that_is_not_aligned(shift: int) -> None:
    room = np.zeros(700 * PAGE_SIZE + 64, np.uint8)
    to = room[shift : shift + 700 * PAGE_SIZE].reshape(700, PAGE_SIZE)
    source = filled(700, 3)
    rows = np.random.default_rng(4).permutation(700)
    copy_frames(to, rows, source, np.arange(700))
    assert (to[rows] == source).all()
    assert not room[:shift].any()
    assert not room[shift + 700 * PAGE_SIZE :].any()


@pytest.mark.parametrize("rows", [np.full(600, 600), np.full(600, -1)])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_frame_outside_of_its_memory_is_refused(rows: copying.Rows, compiled: bool) -> None:
    inside = np.arange(600)
    with pytest.raises(IndexError):
        copy_frames(pages(600), inside, pages(600), rows, compiled=compiled)
    with pytest.raises(IndexError):
        copy_frames(pages(600), rows, pages(600), inside, compiled=compiled)


@pytest.mark.parametrize("threads", ["1", "2", "3", "many"])
def test_threads_share_the_work(monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    monkeypatch.setattr(copying, "_SHARE", 100)
    monkeypatch.setenv("HMMSPEC_COPY_THREADS", threads)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4, 5}, raising=False)
    assert copying.processors() == (int(threads) if threads.isdecimal() else 6)
    source, to = filled(1000, 6), filled(1000, 7)
    rng = np.random.default_rng(8)
    up, down = rng.permutation(1000)[:999], rng.permutation(1000)[:999]
    wanted = to.copy()
    wanted[down] = source[up]
    copy_frames(to, down, source, up)
    assert (to == wanted).all()


def test_zeroes_rows() -> None:
    data = filled(8, 5)
    wanted = data.copy()
    wanted[[1, 6]] = 0
    zero_frames(data, np.array([6, 1]))
    assert (data == wanted).all()


def test_without_a_compiler_numpy_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    copying._compiled.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    try:
        assert how_copied() == "numpy (there is no C compiler 'no-such-compiler')"
        source, to = filled(600, 1), pages(600)
        copy_frames(to, np.arange(600)[::-1], source, np.arange(600))
        assert (to[::-1] == source).all()
    finally:
        copying._compiled.cache_clear()

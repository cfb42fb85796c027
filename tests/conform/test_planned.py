"""Plans: what a spec and its binding say of the way to a transition is a way that the kernel goes, too."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import pytest

from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.follow.load import load_for
from hmmspec.conform.generate import shape_for
from hmmspec.conform.guided import Guide
from hmmspec.conform.judging import run_program
from hmmspec.conform.planned import Planner, routes_of
from hmmspec.conform.reference import ReferenceTarget
from hmmspec.conform.session import Explorer, Plan

FOLDER = Path(__file__).resolve().parents[2] / "specs" / "conform"
DEVICES = ("dev0", "dev1")


@functools.cache
def made_for(spec: str) -> tuple[Follower, Planner]:
    loaded = load_for(str(FOLDER / f"{spec}.bind"))
    return Follower(loaded), Planner(loaded, random.Random(1))


def test_commands_are_told_with_what_their_clauses_ask() -> None:
    routes = routes_of(load_for(str(FOLDER / "page_life.bind")).binding)
    (free,) = [r for r in routes["free_lazily"] if r.sure]
    assert free.word == "madvise"
    assert free.fixed == {"advice": "free"}
    assert free.args == ("process",)
    assert {r.word for r in routes["device_write_fault"]} == {"dev_write"}
    assert {r.fixed.get("kind") for r in routes["map"]} == {"private"}
    assert all("hold" in r.needed for r in routes["hold"])


@pytest.mark.parametrize(
    ("spec", "transition"),
    [
        ("mirror", "device_store"),
        ("mirror", "atomic_is"),
        ("exclusive", "give_back"),
        ("pins", "hold_long"),
        ("pins", "peek"),
        ("swap_dirty", "swap_out"),
        ("page_life", "fork_pinned"),
    ],
)
def test_a_plan_leads_there(spec: str, transition: str) -> None:
    """At least one of some plans does; the kernel need not choose as the spec does."""
    follower, planner = made_for(spec)
    target = ReferenceTarget()
    before = follower.covered()[transition]
    for _ in range(60):
        made = planner.plan(transition, 1, DEVICES, 1)
        assert made
        assert run_program(target, tuple(made), [follower]).findings == []
        if follower.covered()[transition] > before:
            return
    raise AssertionError(f"no plan led to {transition}: {made}")


def test_nothing_is_planned_for_what_no_instance_reaches() -> None:
    planner = Planner(load_for(str(FOLDER / "mirror.bind")), random.Random(1))
    assert planner.plan("no_such_transition", 0, DEVICES, 1) == []


def test_the_guided_search_goes_after_what_is_missing() -> None:
    """With few kinds of commands random programs never come to exclusive access; the search does."""
    target = ReferenceTarget()
    follower = Follower(load_for(str(FOLDER / "exclusive.bind")))
    shape = shape_for(target, steps=10, words={"mmap": 1, "load": 1})
    explorer = Explorer(target, [follower], Plan(400, 3, (shape,)))
    explorer.search(100)
    assert not follower.covered()["take"]
    Guide(explorer, 3).search(300)
    assert follower.covered()["take"]
    assert explorer.session.found is None

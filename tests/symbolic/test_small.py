"""Generated specs hold the symbolic engines to the explicit one.

smallgen.py makes specs whose states are at most ten steps from the start.  A quarter of them has a first violation or
spec error one to three steps away, a quarter one that is four steps away or more, half have none: test_census counts.
Bounded search to the end finds the same with runs as short (smallagree.differences); and of what is proved for every
number of identities nothing is violated in any instance that is explored, with up to four of each type
(smallagree.doubted), while all that is violated there is refuted.

50 specs, or 500 with HMMSPEC_AGREEMENT at 1000 or more (`make test-long`).
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.symbolic.smallagree import differences, doubted
from tests.symbolic.smallgen import DIAMETER, case, kind_of, violations
from tests.symbolic.smallplanted import DEFECTS, SEEDS

LONG = int(os.environ.get("HMMSPEC_AGREEMENT", "0")) >= 1000
SPECS = 500 if LONG else SEEDS
AT_ONCE = 5  # specs of one test

# Specs that show a defect, as `python -m tests.symbolic.smallplanted` finds them.
SHOWN_BY: dict[str, tuple[int, ...]] = {
    "lost_conjunct": (1, 7),
    "lost_error": (1, 3),
    "error_where_nothing_is_evaluated": (6, 20),
    "one_step_short": (1, 3),
    "less_for_at_most": (11, 30),
    "lost_assume": (40,),
    "lost_outcome": (19,),
    "prime_reads_the_old_state": (5, 9),
    "any_start_of_a_machine": (41,),
    "set_minus_toggles": (35, 32),
    "rounds_to_zero": (31, 22),
    "forgotten_branch": (15,),
    "no_rest": (1,),
}


@pytest.mark.parametrize("first", range(0, SPECS, AT_ONCE))
def test_bounded_search_agrees(first: int) -> None:
    for seed in range(first, min(first + AT_ONCE, SPECS)):
        c = case(seed)
        found = differences(c)
        assert not found, "\n".join([c.name, *found, c.text])


@pytest.mark.parametrize("first", range(0, SPECS, AT_ONCE))
def test_nothing_proved_is_violated(first: int) -> None:
    counts: Counter[str] = Counter()
    for seed in range(first, min(first + AT_ONCE, SPECS)):
        c = case(seed)
        found = doubted(c)
        assert not found.wrong, "\n".join([c.name, *found.wrong, c.text])
        counts += found.counts
    # Something was proved.
    assert counts["proved"] + counts["strengthened"] >= AT_ONCE, counts


def test_census() -> None:
    """Half of the specs have a violation or spec error, half of those none nearer than four steps; none is deep."""
    kinds: Counter[str] = Counter()
    deepest = 0
    for seed in range(SPECS):
        c = case(seed)
        lengths = violations(c.report).values()
        kind = "clean" if not lengths else "shallow" if min(lengths) < 4 else "deep"
        assert kind == kind_of(seed), c.name
        kinds[kind] += 1
        deepest = max(deepest, c.report.depth or 0)
    assert abs(kinds["clean"] - SPECS / 2) <= 1
    assert abs(kinds["deep"] - SPECS / 4) <= 1
    assert deepest == DIAMETER


def test_every_defect_has_its_seeds() -> None:
    assert set(SHOWN_BY) == set(DEFECTS)
    assert len(DEFECTS) >= 10
    assert all(SHOWN_BY.values())
    # Among those on which the engines agree in every run.
    assert all(seed < SEEDS for seeds in SHOWN_BY.values() for seed in seeds)


@pytest.mark.parametrize("name", DEFECTS)
def test_defect_is_found(name: str) -> None:
    for seed in SHOWN_BY[name] if LONG else SHOWN_BY[name][:1]:
        with DEFECTS[name]():
            assert differences(case(seed)), f"seed {seed} does not show {name}"

"""Defects planted in the code generator are found by comparing the engines on generated specs (tests/native/planted.py).

Each defect has seeds, among those that test_generated.py compares, that show it.  A part is tried in every run; with
HMMSPEC_AGREEMENT at 1000 or more (`make test-long`) all are.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.native.agree import BOTH_WAYS as LONG
from tests.native.agree import case, disagreements
from tests.native.planted import DEFECTS, SEEDS

# Specs that show a defect, as `python -m tests.native.planted` finds them; the first does so in a short run, too.
SHOWN_BY: dict[str, tuple[int, ...]] = {
    "wrong_mask": (6, 3),
    "lost_outcome": (2, 1),
    "stale_local": (34, 46),
    "missed_range_check": (9, 16),
    "wrong_stride": (0, 1),
    "early_exit_in_a_faulting_quantifier": (49, 67),
    "target_index_too_early": (5, 17),
    "lost_fault": (1, 5),
    "union_offset": (0, 1),
    "queue_shift": (18, 42),
    "rounds_to_zero": (7, 28),
    "prime_reads_the_old_state": (7, 10),
    "lost_assume": (7, 15),
    "filter_of_a_loop_is_lost": (29, 33),
    "set_minus_toggles": (2, 32),
    "thread_numbers_collide": (3, 14),
    "constant_is_a_member_short": (1, 2),
}
ALWAYS = ("wrong_mask", "lost_outcome", "stale_local", "missed_range_check", "queue_shift", "thread_numbers_collide")


def test_every_defect_has_its_seeds() -> None:
    assert set(SHOWN_BY) == set(DEFECTS)
    assert len(DEFECTS) >= 10
    assert all(SHOWN_BY.values())
    # Among those on which test_generated.py finds that the engines agree.
    assert all(seed < SEEDS for seeds in SHOWN_BY.values() for seed in seeds)


@pytest.mark.parametrize("name", DEFECTS if LONG else ALWAYS)
def test_is_found(name: str, cache: Path) -> None:
    assert cache.is_dir()
    for seed in SHOWN_BY[name] if LONG else SHOWN_BY[name][:1]:
        with DEFECTS[name]():
            assert disagreements(case(seed)), f"seed {seed} does not show {name}"

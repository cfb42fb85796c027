"""The scenarios bite: on a kernel with a defect, its own checks switched off, the scenario that is about it fails."""

from __future__ import annotations

import pytest

from hmmspec.conform.scenario.expand import Choice, plans
from hmmspec.conform.scenario.runner import facts_of, run_plan
from hmmspec.conform.targets import open_target
from tests.scenario.test_shipped import SCENARIOS

CAUGHT = {
    "anon_read_multiple": "munmap-no-notifier",
    "back_over_holes": "moved-count-off-by-one",
    "child_outlives": "zap-forgets-reference",
    "copy_back_fails": "copy-error-unnoticed",
    "cow_after_mprotect": "mprotect-upgrades-shared",
    "cow_in_device": "fork-keeps-device-write",
    "cow_invalidates": "cow-no-notifier",
    "dirty_after_failed_migration": "collect-drops-dirty",
    "dirty_after_swap_in": "swap-ignores-dirty",
    "dontneed_on_device": "zap-no-notifier",
    "exclusive_dirty": "exclusive-loses-dirty",
    "exclusive_mprotect": "exclusive-restores-write",
    "file_unmapped_dirty": "file-write-stays-clean",
    "fork_invalidates": "fork-no-notifier",
    "fork_of_exclusive": "fork-shares-exclusive",
    "fork_of_swapped": "fork-forgets-swap",
    "free_and_write": "madvise-free-drops-dirty",
    "gup_writes_a_copy": "gup-takes-read-only",
    "holes_are_zero": "hole-not-cleared",
    "migrate_partial_unmap_fault": "huge-split-loses-write",
    "migrate_two_devices": "collect-no-flush",
    "moved_permission": "mremap-loses-write",
    "others_migration_invalidates": "rmap-no-notifier",
    "pin_unshares": "gup-pins-shared",
    "protect_flushes": "mprotect-no-flush",
    "read_only_holes": "hole-always-writable",
    "remap_flushes": "mremap-no-flush",
    "soft_dirty": "restore-loses-soft-dirty",
    "swap_invalidates": "swap-no-notifier",
    "swapped_soft_dirty": "swap-loses-soft-dirty",
    "uffd_wp": "restore-loses-uffd",
}


@pytest.mark.parametrize(("name", "defect"), CAUGHT.items())
def test_a_defect_is_caught(name: str, defect: str) -> None:
    file, scenario = next((f, s) for f, s in SCENARIOS if s.name == name)
    target = open_target("ref", {"profile": "latest", "defect": [defect], "checks": False})
    todo = plans(file, scenario, facts_of(target), Choice(params={"N": 16}))
    assert "failed" in [run_plan(plan, target).status for plan in todo]

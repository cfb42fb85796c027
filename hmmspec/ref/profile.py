"""Profiles: the behaviours in which kernels differ, each one switch with its source.

A kernel is described by what it does and never by its number: scenarios, specs and the rules of the reference kernel
ask `"device_thp" in profile`.  `6.12` and `latest` are two named lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

BEHAVIOURS: Final[dict[str, tuple[str, str]]] = {
    "device_thp": (
        "PMD-size pages of device memory: migrate_vma with COMPOUND, faults and splits of PMD entries",
        "a30b48bf1b24 and companions (2025-26)",
    ),
    "splits_pte_mapped": (
        "migrate_vma splits a large folio that is mapped page by page (without: only one that is mapped as a whole)",
        "mm/migrate_device.c, with device THP (2025); not in Linux 6.12.117 (tried)",
    ),
    "fail_alloc": ("the test device has the FLAGS command with FAIL_ALLOC", "lib/test_hmm.c, with device THP (2025)"),
    "fault_takes_reference": (
        "a CPU fault on a private device page checks the entry under the lock and takes a reference (v1; without: v0)",
        "16ce101db85d (v6.1)",
    ),
    "fault_trylocks": ("that fault also locks the page, or gives up (v2)", "1afaeb8293c9 (v6.15)"),
    "fault_sleeps": ("where the lock is busy it sleeps until the page is unlocked (v3)", "b570f37a2ce4 (v7.0-rc3)"),
    "evict_on_close": (
        "closing the test device moves its pages back to system memory",
        "744dd97752ef (2026); also in 6.12.117 (tried)",
    ),
    "close_evicts_everybody": (
        "closing one open of the test device evicts every process's pages of that device",
        "Linux 6.12.117 (tried)",
    ),
    "faults_outside_walk": (
        "hmm_range_fault records what to fault and calls the fault handler after the walk",
        "refactoring of mm/hmm.c (2026)",
    ),
    "range_fault_faults_rest": (
        "hmm_range_fault that has to fault in one page faults in all that follow, the device's own pages among them",
        "mm/hmm.c of Linux 6.12.117 (tried)",
    ),
    "range_fault_unlocked": (
        "hmm_range_fault_unlocked_timeout and the READ_UNLOCKABLE command",
        "Documentation/mm/hmm.rst @121170831228",
    ),
    "range_fault_pmd_owner": (
        "a PMD entry of the asking device's own private memory is VALID",
        "mm/hmm: populate PFNs from PMD swap entry (2025)",
    ),
    "exclusive_keeps_mapcount": (
        "a device-exclusive entry counts in the mapcount, and rmap walks know it",
        "bf983108be0e, f495bd7e0d9b (v6.15)",
    ),
    "range_fault_enomem": (
        "hmm_range_fault says ENOMEM where the fault ran out of memory",
        "mm/hmm.c @0a1e70b48f45 (2026)",
    ),
    "two_pass_notifiers": ("invalidate may return a second pass, run after all first ones", "mm/mmu_notifier.c (2026)"),
    "mirror_erases_one_more": (
        "an invalidation also erases what the test device's mirror has of the page after its range",
        "lib/test_hmm.c of Linux 6.12.117 (tried)",
    ),
    "walks_64_pages": (
        "the test device walks 64 pages at a time, so that many more are mapped before it meets a gap (without: 32)",
        "lib/test_hmm.c of Linux 6.12.117 (tried)",
    ),
    "exclusive_by_range": (
        "ranges are made device-exclusive, and the test device says EBUSY for whatever goes wrong",
        "lib/test_hmm.c and mm/rmap.c of Linux 6.12.117 (tried); gone with the clean-up of 2025 (v6.15)",
    ),
    "mremap_unmaps_first": (
        "mremap unmaps the place to move to before it knows whether all of the range can be moved",
        "mm/mremap.c of Linux 6.12.117 (tried); gone with the new mremap (v6.17)",
    ),
    "private_unmap_dirties": (
        "who unmaps private device memory by the reverse map marks it dirty: its entry is taken for a dirty one",
        "Linux 6.12.117 (tried): try_to_migrate_one asks pte_dirty of it, and on x86 a bit of its offset says yes",
    ),
    "held_is_not_lazy": (
        "reclaim takes a page that somebody holds back from MADV_FREE (without: only one that was written)",
        "Linux 6.12.117 (tried); changed with the batched unmapping of such folios (v6.15)",
    ),
    "drops_lazy_whole": (
        "reclaim drops a PMD-size mapping given to MADV_FREE whole (without: it splits it first, and drops the parts)",
        "unmap_huge_pmd_locked in mm/rmap.c (v6.11); not called in Linux 6.12.117 (tried)",
    ),
    "joins_untouched": (
        "an area that was used is joined with a neighbour whose memory was not (without: only the other way round)",
        "mm/vma.c (v6.16); not in Linux 6.12.117 (tried)",
    ),
    "joined_stays_soft_dirty": (
        "areas that are joined are soft-dirty if one of them was (without: mprotect and madvise may lose that)",
        "VM_STICKY in mm/vma.c (2025-26); not in Linux 6.12.117 (tried)",
    ),
    "files_in_memory": (
        "files lie in memory (tmpfs): nothing is written back, and a read fault of a shared mapping may write at once",
        "mm/shmem.c; what the guest of the target `linux` has",
    ),
    "device_free_at_zero": (
        "free pages of device memory rest at zero references, and each allocated one pins the pgmap",
        "ef233450898f, 0dc45ca1ce18 (v6.1)",
    ),
    "migration_wait_without_reference": (
        "who waits for a migration entry takes no reference of the page",
        "ffa65753c431 (2022)",
    ),
}

# What only some kernels have, the newest not among them.
_GONE: Final = (
    "mirror_erases_one_more",
    "walks_64_pages",
    "exclusive_by_range",
    "mremap_unmaps_first",
    "range_fault_faults_rest",
    "held_is_not_lazy",
    "private_unmap_dirties",
)

# What depends on where a kernel runs: no named profile has it.
_SURROUNDINGS: Final = ("files_in_memory",)

_OLD: Final = (
    *_GONE,
    "evict_on_close",
    "close_evicts_everybody",
    "fault_takes_reference",
    "device_free_at_zero",
    "migration_wait_without_reference",
)

PROFILES: Final[dict[str, frozenset[str]]] = {
    "6.12": frozenset(_OLD),
    "latest": frozenset(BEHAVIOURS) - frozenset(_GONE) - frozenset(_SURROUNDINGS),
}


@dataclass(frozen=True)
class Profile:
    """A name and the behaviours that the kernel has."""

    name: str
    behaviours: frozenset[str]

    def __contains__(self, behaviour: str) -> bool:
        return behaviour in self.behaviours

    def but(self, *, add: Iterable[str] = (), drop: Iterable[str] = ()) -> Profile:
        """The same profile with some behaviours switched.  Raises ValueError for one that does not exist."""
        added, dropped = set(add), set(drop)
        _known(added | dropped)
        signs = [f"+{b}" for b in sorted(added)] + [f"-{b}" for b in sorted(dropped)]
        return Profile(" ".join([self.name, *signs]), (self.behaviours | added) - dropped)


def profile(name: str) -> Profile:
    """A profile by name: `6.12`, `latest`, with changes as in `6.12+device_thp` or `latest-evict_on_close`.

    Raises ValueError with what there is, for a name or behaviour that does not exist.
    """
    text = name.replace("+", " +").replace("-", " -").split()
    base = text[0] if text else ""
    if base not in PROFILES:
        raise ValueError(f"no profile {base!r}; there are: {', '.join(PROFILES)}")
    made = Profile(base, PROFILES[base])
    add = [word[1:] for word in text[1:] if word[0] == "+"]
    drop = [word[1:] for word in text[1:] if word[0] == "-"]
    return made.but(add=add, drop=drop) if add or drop else made


def named(behaviours: Mapping[str, object]) -> str:
    """The name of a profile with just these behaviours, by the named one that is nearest: `6.12+device_thp`.

    Behaviours that are not told are as in that one; names that nobody knows are left out.
    """

    def changes(base: str) -> list[str]:
        has = PROFILES[base]
        told = {b: bool(v) for b, v in behaviours.items() if b in BEHAVIOURS}
        return [f"{'+' if v else '-'}{b}" for b, v in sorted(told.items()) if v != (b in has)]

    base = min(PROFILES, key=lambda name: len(changes(name)))
    return base + "".join(changes(base))


def _known(names: set[str]) -> None:
    unknown = names - set(BEHAVIOURS)
    if unknown:
        raise ValueError(f"no behaviour {', '.join(sorted(unknown))}; there are: {', '.join(BEHAVIOURS)}")

"""What a tree's HMM and test device can do, as the source text says: patches move things, version numbers do not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

_UAPI, _DEVICE, _MM, _GUP = "lib/test_hmm_uapi.h", "lib/test_hmm.c", "mm/Kconfig", "mm/gup_test.h"
_FAULT, _MIGRATE = "mm/memory.c", "include/linux/migrate.h"
_AREAS, _FLAGS = "mm/vma.c", "include/linux/mm.h"

# Word -> what it says; docs/linux.md lists them.
WORDS = {
    "private": "device-private memory and the test device for it",
    "coherent": "the test device also takes coherent device memory",
    "exclusive": "atomic access by the device: the EXCLUSIVE command",
    "release": "the RELEASE command: the device gives its memory back",
    "flags": "the FLAGS command",
    "fail_alloc": "the device can be told to fail to allocate a huge page",
    "read_unlockable": "a read by the device that may drop mmap_lock",
    "thp_device": "a PMD-size page stays whole when it migrates to the device",
    "close_evicts": "closing one open of the device evicts everybody's pages of it",
    "fault_trylock": "a CPU fault on a device page only tries its lock",
    "own_faults": "the test device can fault its own private pages into its mirror (or reading them oopses)",
    "marks_dirty": "the test device marks the pages dirty that it writes (or its writes can be lost)",
    "moves_dirty": "pages of private memory that the device wrote come back dirty (or its writes can be lost)",
    "checked_mirror": "the test device maps nothing that was invalidated while it migrated",
    "clean_pages": "pages of the test device that are given out again have no flags of their former life",
    "evicts_all": "the test device moves its pages until it has none when its memory goes (or it may wait for ever)",
    "ends_exclusive": "pages that are exclusive for a device move when its memory goes (or it may wait for ever)",
    "joins_untouched": "an area that was used is joined with a neighbour whose memory was not",
    "sticky_soft_dirty": "areas that are joined are soft-dirty if one of them was",
    "gup_longterm": "gup_test can hold a long-term pin",
}


@dataclass(frozen=True)
class Features:
    """supports: some of `WORDS`; commands: the number of each command of the test device."""

    FILES: ClassVar[tuple[str, ...]] = (_UAPI, _DEVICE, _MM, _GUP, _FAULT, _MIGRATE, _AREAS, _FLAGS)

    supports: frozenset[str]
    commands: Mapping[str, int]


def features(texts: Mapping[str, str]) -> Features:
    """What these files (by path; '' where a file is missing) show."""
    uapi, device = texts[_UAPI], texts[_DEVICE]
    number = r"^#define\s+HMM_DMIRROR_(\w+)\s+_IO\w*\(\s*'H'\s*,\s*(0[xX][0-9a-fA-F]+|[0-9]+)"
    commands = {name: int(value, 0) for name, value in re.findall(number, uapi, re.MULTILINE)}
    shows: dict[str, Callable[[], bool]] = {
        "private": lambda: "MIGRATE_TO_DEV" in commands and "config DEVICE_PRIVATE" in texts[_MM] and device != "",
        "coherent": lambda: "spm_addr_dev0" in device,
        "exclusive": lambda: "EXCLUSIVE" in commands,
        "release": lambda: "RELEASE" in commands,
        "flags": lambda: "FLAGS" in commands,
        "fail_alloc": lambda: "FAIL_ALLOC" in uapi,
        "read_unlockable": lambda: "READ_UNLOCKABLE" in commands,
        "thp_device": lambda: "MIGRATE_VMA_SELECT_COMPOUND" in texts[_MIGRATE],
        "close_evicts": lambda: "evict_chunk" in body(device, "dmirror_fops_release"),
        "fault_trylock": lambda: _tries_lock(body(texts[_FAULT], "do_swap_page")),
        "own_faults": lambda: "BACKING_PAGE" in body(device, "dmirror_do_fault"),
        "marks_dirty": lambda: "set_page_dirty" in body(device, "dmirror_do_write"),
        "moves_dirty": lambda: "set_page_dirty" in body(device, "dmirror_devmem_fault_alloc_and_copy"),
        "checked_mirror": lambda: "read_retry" in body(device, "dmirror_migrate_finalize_and_map"),
        "clean_pages": lambda: "clear_swapbacked" in body(device, "dmirror_devmem_alloc_page"),
        "evicts_all": lambda: "while" in body(device, "dmirror_device_remove_chunks"),
        # Older kernels make a range exclusive, and then do not count the pages as mapped.
        "ends_exclusive": lambda: (
            "EXCLUSIVE" in commands
            and ("make_device_exclusive_range" not in device or "dmirror_end_exclusive" in device)
        ),
        "joins_untouched": lambda: "is_fork_child" in texts[_AREAS],
        "sticky_soft_dirty": lambda: re.search(r"define VM_STICKY\b.*\bVM_SOFTDIRTY\b", texts[_FLAGS]) is not None,
        "gup_longterm": lambda: "PIN_LONGTERM_TEST_START" in texts[_GUP],
    }
    return Features(frozenset(word for word in WORDS if shows[word]()), commands)


def body(text: str, function: str) -> str:
    """The text of a C function from its name to the brace in the first column that closes it; '' if it is not there."""
    start = re.search(rf"^(?:\w[^\n;]*[\s*])?{re.escape(function)}\([^;{{]*\)\s*\{{", text, re.MULTILINE)
    if start is None:
        return ""
    end = text.find("\n}", start.end())
    return text[start.start() : end + 2 if end >= 0 else len(text)]


def _tries_lock(fault: str) -> bool:
    """Whether the branch for device-private pages, up to the callback into the driver, tries the page's lock."""
    start = fault.find("is_device_private_entry")
    if start < 0:
        start = fault.find("softleaf_is_device_private")
    return start >= 0 and "trylock" in fault[start : fault.find("migrate_to_ram", start)]

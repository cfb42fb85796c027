"""The CPU side, operation by operation: small scripts that must run as written, and fail with the defects that they catch.

At the end of each every process is gone, and nothing may be left over.
"""

from __future__ import annotations

import pytest

from hmmspec.ref.errors import Errno
from hmmspec.ref.frames import PAGE
from hmmspec.ref.gup import release
from hmmspec.ref.pagemap import drop_caches
from hmmspec.ref.schedule import Stuck
from hmmspec.ref.spaces import HUGETLB
from tests.ref.cpuscripts import SCRIPTS
from tests.ref.machine import BASE, LARGE, RW, SMALL, Machine


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name: str) -> None:
    m = Machine(LARGE if "huge" in name or name == "collapsing" else SMALL, every=1 if "huge" not in name else 400)
    SCRIPTS[name](m)
    m.done()


CAUGHT = {
    "fork-keeps-write": "copy_on_write",
    "fork-forgets-swap": "shared_swap_entries",
    "fork-shares-pinned": "pins_keep_their_page",
    "fork-no-flush": "fork_leaves_no_translation",
    "cow-reuses-shared": "copy_on_write",
    "cow-copies-nothing": "copy_on_write",
    "mprotect-keeps-write": "protections",
    "mprotect-no-flush": "protections",
    "mprotect-upgrades-shared": "protections",
    "zap-no-flush": "unmapping",
    "zap-flushes-late": "unmapping",
    "zap-stops-early": "unmapping",
    "mremap-no-flush": "moving",
    "swap-no-flush": "swapping_out_and_in",
    "swap-ignores-dirty": "clean_swap_copy",
    "swap-loses-soft-dirty": "soft_dirty",
    "gup-takes-read-only": "write_gup_breaks_sharing",
    "gup-pins-shared": "pins_keep_their_page",
    "unpin-forgets-reference": "pins_keep_their_page",
    "madvise-free-drops-dirty": "freed_pages",
    "file-write-stays-clean": "files",
    "batch-leaks-reference": "freed_pages",
    "huge-split-loses-write": "huge_pages_move",
    "huge-split-forgets-count": "huge_pages",
}


@pytest.mark.parametrize("defect", CAUGHT)
def test_defect_is_caught(defect: str) -> None:
    name = CAUGHT[defect]
    m = Machine(LARGE if "huge" in name else SMALL, every=1 if "huge" not in name else 400, defects=[defect])

    def whole() -> None:
        SCRIPTS[name](m)
        m.done()

    with pytest.raises((AssertionError, Errno, Stuck)):
        whole()


@pytest.mark.parametrize(("profile", "later"), [("latest", bytes(4)), ("6.12", b"free")])
def test_what_was_given_back_stays_while_somebody_holds_it(profile: str, later: bytes) -> None:
    """Nobody throws it away; whether it may go once it is let go is where kernels differ (`held_is_not_lazy`)."""
    m = Machine(profile_name=profile)
    m.map()
    m.store(BASE, b"free")
    m.run(drop_caches)  # onto the LRU
    held = m.gup(BASE)
    m.advise("free", 1)
    m.advise("pageout", 1)
    assert m.load(BASE) == b"free"
    release(m.k, held)
    m.run(drop_caches)
    m.advise("pageout", 1)
    assert m.load(BASE) == later
    m.done()


def test_bad_arguments_are_errnos() -> None:
    m = Machine()
    bad = [
        lambda: m.map(0), lambda: m.map(-1), lambda: m.map(1, -1), lambda: m.map(1, 1 << 36), lambda: m.unmap(0),
        lambda: m.protect(RW, 0), lambda: m.advise("nonsense"), lambda: m.advise("free", 0), lambda: m.map(3, flags=HUGETLB),
    ]  # fmt: skip
    for call in bad:
        with pytest.raises(Errno, match="EINVAL"):
            call()
    for call in (lambda: m.protect(RW), lambda: m.advise("dontneed"), lambda: m.advise("hugepage")):
        with pytest.raises(Errno, match="ENOMEM"):
            call()
    assert PAGE == 4096
    m.done()

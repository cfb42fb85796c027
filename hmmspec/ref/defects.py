"""Small defects that can be switched on in the reference kernel, one at a time: what a checker of it has to find.

    kernel = Kernel(.., defects=["collect-drops-dirty"])

Each is a place in the code where somebody once forgot a line, or easily could have.  Where the line is, the kernel
asks for its name: `if "collect-drops-dirty" in k.defects:`.  By default there are none.
"""

from __future__ import annotations

from typing import Final

from hmmspec.records import dataclass


@dataclass(frozen=True)
class Defect:
    """What is said of a defect: what goes wrong, the commit in Linux that fixed it ('' if it never was there), and, of
    one that is hard to see, why (`hidden`)."""

    name: str
    what: str
    fix: str = ""
    hidden: str = ""


DEFECTS: Final[dict[str, Defect]] = {}
"""Every defect by name, in the order of the report."""


def declare(name: str, what: str, fix: str = "", hidden: str = "") -> None:
    """Put a defect on the list.  Raises ValueError where the name is taken."""
    if name in DEFECTS:
        raise ValueError(f"there are two defects by the name of '{name}'")
    DEFECTS[name] = Defect(name, what, fix, hidden)


# fork, copy on write
declare("fork-keeps-write", "fork leaves the parent's present entries writable")
declare("fork-keeps-device-write", "fork leaves device-private entries writable in both processes")
declare("fork-keeps-migration-write", "fork copies a writable migration entry as it is")
declare("fork-shares-exclusive", "fork leaves a device-exclusive entry with the device and copies it")
declare("fork-forgets-mapcount", "the child's mapping of a device page is not counted")
declare("cow-reuses-shared", "a write fault writes into a page that another process maps, too")
declare("cow-copies-nothing", "the copy that a write makes is an empty page")
# mprotect, munmap, mremap, madvise
declare("mprotect-keeps-write", "mprotect to read-only leaves present entries writable")
declare("mprotect-keeps-device-write", "mprotect to read-only leaves device-private entries writable")
declare("mprotect-upgrades-shared", "mprotect to read-write makes pages writable that wait for their copy")
declare("zap-forgets-reference", "unmapping a device page leaves its reference")
declare("zap-forgets-rss", "unmapping a device page does not lower the process' RSS")
declare("zap-puts-migration", "unmapping a migration entry drops a reference that it does not have")
declare("zap-stops-early", "munmap leaves the last page of its range mapped")
declare("mremap-loses-write", "mremap moves device-private entries without their write permission")
declare("madvise-free-drops-dirty", "a page written again after MADV_FREE is dropped as if it were not")
# swap and files
declare("swap-ignores-dirty", "swap-out looks at the page's dirty flag and not at its entry's", "fd35ca3d12cc")
declare("fork-shares-pinned", "fork shares a page that may be pinned instead of copying it")
declare("fork-forgets-swap", "the child's swap entries are not counted in their slots")
declare("swap-loses-soft-dirty", "the soft-dirty bit is not carried into the swap entry")
declare("file-write-stays-clean", "a store to a shared file mapping does not dirty the page")
# GUP
declare("gup-takes-read-only", "GUP for writing takes a read-only entry as good enough")
declare("gup-pins-shared", "a pin is taken on a page that a later write will copy away")
declare("unpin-forgets-reference", "dropping a pin leaves its reference")
# TLB
declare("mprotect-no-flush", "mprotect does not flush")
declare("zap-no-flush", "munmap and madvise do not flush")
declare(
    "zap-flushes-late",
    "munmap gives pages back before it flushes",
    hidden="in one step another task has to take the page and write it, and a CPU with the old translation to read it",
)
declare("fork-no-flush", "fork does not flush the parent")
declare("collect-no-flush", "migration replaces present entries without a flush")
declare("collect-flushes-late", "migration flushes after it has dropped the page-table lock", "60bae7370896")
declare("swap-no-flush", "swap-out does not flush")
# notifiers
declare("mprotect-no-notifier", "mprotect does not call the notifiers")
declare("zap-no-notifier", "madvise(DONTNEED) does not call the notifiers")
declare("munmap-no-notifier", "munmap does not call the notifiers")
declare("mremap-no-flush", "mremap moves entries without a flush of the old addresses")
declare("mremap-no-notifier", "mremap does not call the notifiers")
declare("fork-no-notifier", "fork does not call the notifiers for the pages that it write-protects")
declare("cow-no-notifier", "replacing a page by its copy does not call the notifiers")
declare("swap-no-notifier", "swap-out does not call the notifiers")
declare("notifier-at-end", "devices are invalidated when the range ends", "ec131b2d7fa6")
declare("notifier-stays-even", "an invalidation does not make the sequence odd")
declare(
    "notifier-remove-early",
    "a deferred removal reads the sequence without the lock",
    "319561669a59",
    "freed memory is used for one step, which changes nothing unless something watches freed memory",
)
declare(
    "notifier-ignores-failure",
    "'would block' of a callback is swallowed",
    "5a136b4ae327",
    "the device keeps mappings of a process that was killed and cannot use it any more",
)
declare(
    "notifier-counter-leak", "when a callback fails, the running invalidations are not counted down", "5a136b4ae327"
)
declare("notifier-end-wakes-nobody", "the end of an invalidation does not wake readers that wait for it")
declare("notifier-calls-only-first", "only the first of several subscriptions of a range is called")
declare("notifier-reader-does-not-wait", "a reader that begins during an invalidation does not wait for its end")
# reverse map
declare("rmap-no-notifier", "the reverse-map walks of migration do not call the notifiers")
declare("rmap-no-flush", "the reverse-map walks do not flush")
# LRU
declare("batch-leaks-reference", "draining a CPU's LRU batch keeps the batch's reference of each folio")
# migration
declare("collect-drops-dirty", "collect does not take the dirty bit to the page", "fd35ca3d12cc")
declare(
    "collect-ignores-lock",
    "collect goes on without the folio lock when trylock fails",
    hidden="each of two migrations of a page has a reference, for which the other leaves it in place: no data is lost",
)
declare("check-ignores-pins", "pages with more references than expected are migrated all the same")
declare("check-off-by-one", "the exact reference check allows one more than there should be")
declare("slow-path-loses-write", "a writable device-private entry becomes a read migration entry", "dfd8562c52a5")
declare("restore-loses-write", "restored entries are never writable")
declare("restore-gains-write", "restored entries are always writable")
declare("restore-loses-soft-dirty", "restored entries lose the soft-dirty bit", "3d321bf82c4b")
declare("restore-loses-uffd", "restored entries lose the userfaultfd write protection", "ad7df764b7e1")
declare("restore-stops-at-one", "only one of the processes that share a page gets its entry back")
declare("copy-skips-last", "the last page of a migration is not copied")
declare("copy-error-unnoticed", "a failed copy is not looked at", "CVE-2024-50096")
declare("copy-swaps-neighbours", "two neighbouring pages of one copy change places")
declare("hole-not-cleared", "device memory for a hole is handed out with what was in it")
declare("hole-races-fault", "a hole's new page replaces what a fault has mapped meanwhile")
declare("charge-not-moved", "the memcg charge stays with the source", "9a137153fc87")
declare("freed-source-on-lru", "finalize puts the source on the LRU after it moved", "41cddf83d8b0")
declare("wrong-owner-filter", "a device's migration takes other devices' pages, too")
declare("collect-keeps-mapping-reference", "the migration entry keeps the reference of the mapping that it replaces")
declare("collect-no-notifier", "collecting pages calls no notifier, so other devices keep their mappings")
declare("unmap-no-drain", "pages that are in a CPU's LRU batch are not drained, and never migrate")
declare("hole-no-notifier", "a hole is filled without a notifier, so other devices keep the zero page")
declare("hole-always-writable", "the page that fills a hole is writable in a read-only mapping")
declare("hole-forgets-rss", "a page that fills a hole is not counted in the RSS")
declare("finalize-leaves-lock", "the new page of a migration stays locked")
declare("finalize-leaves-reference", "the new page of a migration keeps the reference of its allocation")
declare("finalize-forgets-lru", "a page that came to system memory is not put on the LRU")
declare("migrate-keeps-own-mirror", "the device keeps its mappings of pages while it copies them away")
declare("rollback-leaves-lock", "a page that does not move stays locked")
declare("rollback-leaves-reference", "a page that does not move keeps migration's reference")
# CPU fault on device pages
declare(
    "fault-takes-no-reference",
    "the fault calls the driver without a reference",
    "16ce101db85d",
    "the driver looks at the page table again, and leaves a page that is another's by then where it is",
)
declare("fault-takes-no-lock", "the fault takes a reference, but not the page lock", "1afaeb8293c9")
declare("fault-keeps-mirror", "the device keeps its mapping of a page that a CPU fault took back")
declare("fault-oom-drops-page", "when no system page can be had, the entry is zapped")
declare("fault-leaks-reference", "the fault does not give its reference up")
declare("fault-leaves-lock", "the fault does not unlock the page")
declare("fault-wait-takes-reference", "who waits for a migration entry takes a reference", "ffa65753c431")
# hmm_range_fault, mirror
declare("foreign-page-is-error", "another device's page is an error, not a fault", "8a295dbbaf72")
declare("foreign-page-is-valid", "another device's private page is handed out as if it could be used")
declare("write-request-ignored", "a request to write is satisfied by a read-only entry")
declare("huge-page-not-seen", "the owner does not find its own PMD-size pages", "73e89224dfea")
declare(
    "populate-ignores-retry",
    "the mirror is filled without asking whether the walk is still valid",
    hidden="the mirror is wrong until the next notifier call only: device and program have to use the page before it",
)
declare("invalidate-erases-nothing", "the callback advances the sequence and leaves the mirror")
declare("invalidate-stops-early", "the callback leaves the last page of its range")
declare("invalidate-keeps-sequence", "the callback erases the mirror and leaves the sequence")
declare("mirror-always-writable", "the mirror's entries are writable, whatever the walk said")
declare("populate-stops-early", "the last page of a walk is not put into the mirror")
declare("huge-snapshot-order", "the pages of a PMD-size entry are reported with the frame of the first")
declare("device-write-stays-clean", "a device's store to a system page does not dirty it")
# device memory
declare("device-page-not-freed", "a freed device page does not get onto the free list")
declare("evict-leaves-last", "eviction leaves the last page of a chunk")
declare("fail-alloc-sticks", "FAIL_ALLOC makes every allocation fail, not the next one")
declare("moved-count-off-by-one", "MIGRATE_TO_SYS counts one page more than moved")
declare("free-keeps-mapping", "a freed device page keeps its anon mapping", "7ab0ad0e74f8")
declare("free-keeps-charge", "a freed device page stays charged")
declare("release-without-eviction", "memory is removed with pages in it", "249881232e14")
declare("close-without-eviction", "closing the device leaves its pages where they are", "744dd97752ef")
declare("longterm-stays-on-device", "a long-term pin leaves a coherent page where it is")
# exclusive access
declare("exclusive-no-notifier", "revoking exclusive access does not tell the device")
declare("exclusive-no-flush", "making a page exclusive leaves the CPUs' translations")
declare(
    "exclusive-drops-mapcount",
    "a device-exclusive entry is not counted as a mapping",
    "f495bd7e0d9b",
    "whoever would go by the count makes the entry present first, and then it is right",
)
declare("exclusive-restores-write", "the restored entry is writable whatever the mapping allows")
declare("exclusive-loses-dirty", "the entry's dirty bit is not taken to the page")
# PMD-size pages
declare("huge-split-loses-write", "the entries of a split device page are read-only")
declare("huge-split-forgets-count", "a split PMD entry leaves its 512 mappings uncounted")
declare("huge-copy-half", "only the first half of a PMD-size page is copied")
declare("huge-insert-leaks-table", "an aborted PMD insert keeps its page table", "2c6f81d58741")

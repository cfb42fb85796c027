"""Defects that long runs meet again and again, mended for the build in the kernel's test device: never mm/ itself.

`device/` has the functions that some of the mends add.

The tree is not touched: make looks for a source in its output folder first, and that is where the mended text goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hmmspec.linux.features import body
from hmmspec.linux.tree import Tree


@dataclass(frozen=True)
class Edit:
    """One line of one function, or some that follow each other (without their indentation), and what stands there then.
    An empty `line`: something before the function."""

    function: str
    line: str
    becomes: str


@dataclass(frozen=True)
class Mend:
    """What a kernel lacks that is mended (`word`: of `features.WORDS`): all of the edits are made, or none."""

    word: str
    file: str
    edits: tuple[Edit, ...]


_DEVICE = "lib/test_hmm.c"
_MIRROR = (Path(__file__).parent / "device/mirror.c").read_text(encoding="utf-8")
_EVICT = (Path(__file__).parent / "device/evict.c").read_text(encoding="utf-8")
_EXCLUSIVE = (Path(__file__).parent / "device/exclusive.c").read_text(encoding="utf-8")
MENDS = (
    # A device page has no memory that a CPU could read: a read through the mirror oopses.
    Mend("own_faults", _DEVICE, (Edit("dmirror_do_fault", "entry = page;", "entry = BACKING_PAGE(page);"),)),
    # What the device wrote is lost with a clean copy in swap, or after MADV_FREE.
    Mend(
        "marks_dirty",
        _DEVICE,
        (
            Edit(
                "dmirror_do_write",
                "memcpy_to_page(page, 0, ptr, PAGE_SIZE);",
                "memcpy_to_page(page, 0, ptr, PAGE_SIZE);\n\t\tset_page_dirty(page);",
            ),
        ),
    ),
    # So it is when it was written in private memory: nobody asks the page that stands for that here.
    Mend(
        "moves_dirty",
        _DEVICE,
        tuple(
            Edit(
                function,
                "copy_highpage(dpage, spage);",
                "copy_highpage(dpage, spage);\n\t\tif (PageDirty(spage))\n\t\t\tset_page_dirty(dpage);",
            )
            for function in ("dmirror_device_evict_chunk", "dmirror_devmem_fault_alloc_and_copy")
        ),
    ),
    # What is invalidated while the device migrates or is given exclusive access stays in its mirror, and so does what
    # other threads find meanwhile; what they write while pages are copied is lost.
    Mend(
        "checked_mirror",
        _DEVICE,
        (
            Edit("dmirror_interval_invalidate", "", _MIRROR),
            Edit(
                "dmirror_interval_invalidate",
                "range->owner == dmirror->mdevice)\nreturn true;",
                "range->owner == dmirror->mdevice)\n\t\treturn dmirror_noticed(dmirror, range, cur_seq);",
            ),
            Edit(
                "dmirror_migrate_alloc_and_copy", "struct dmirror *dmirror)", "struct dmirror *dmirror, void **before)"
            ),
            Edit(
                "dmirror_migrate_alloc_and_copy",
                "rpage = BACKING_PAGE(dpage);",
                "rpage = BACKING_PAGE(dpage);\n"
                "\t\tbefore[(addr - args->start) >> PAGE_SHIFT] = dmirror_take(dmirror, addr);",
            ),
            Edit(
                "dmirror_atomic_map",
                "mutex_lock(&dmirror->mutex);",
                "bool exclusive[64];\n\n\tdmirror_lock_exclusive(dmirror, start, end, pages, exclusive);",
            ),
            Edit("dmirror_atomic_map", "if (!pages[i])", "if (!exclusive[i])"),
            Edit(
                "dmirror_migrate_finalize_and_map",
                "static int dmirror_migrate_finalize_and_map(struct migrate_vma *args,",
                "static int __maybe_unused dmirror_migrate_finalize_and_map(struct migrate_vma *args,",
            ),
            Edit(
                "dmirror_devmem_fault_alloc_and_copy",
                "xa_erase(&dmirror->pt, addr >> PAGE_SHIFT);",
                "dmirror_take(dmirror, addr);",
            ),
            Edit(
                "dmirror_migrate_to_device",
                "struct dmirror_bounce bounce;",
                "struct dmirror_bounce bounce;\n\tvoid *before[64];",
            ),
            Edit(
                "dmirror_migrate_to_device",
                "dmirror_migrate_alloc_and_copy(&args, dmirror);",
                "memset(before, 0, sizeof(before));\n\t\tdmirror_migrate_alloc_and_copy(&args, dmirror, before);",
            ),
            Edit(
                "dmirror_migrate_to_device",
                "dmirror_migrate_finalize_and_map(&args, dmirror);\nmigrate_vma_finalize(&args);",
                "migrate_vma_finalize(&args);\n\t\tdmirror_map_moved(&args, dmirror, before);",
            ),
        ),
    ),
    # A page that is given out again is taken for dirty, and for one whose data matter, as it was in its former life.
    Mend(
        "clean_pages",
        _DEVICE,
        (
            Edit(
                "dmirror_devmem_alloc_page",
                "zone_device_page_init(dpage);",
                "zone_device_page_init(dpage);\n\tfolio_clear_dirty(page_folio(dpage));\n\tfolio_clear_swapbacked(page_folio(dpage));",
            ),
        ),
    ),
    # A page that somebody holds or locks for a moment does not move then, and who removes the memory waits for ever.
    Mend(
        "evicts_all",
        _DEVICE,
        (
            Edit("dmirror_device_remove_chunks", "", _EVICT),
            Edit("dmirror_device_remove_chunks", "unsigned int i;", "unsigned int i, tries = 100;"),
            Edit(
                "dmirror_device_remove_chunks",
                "dmirror_device_evict_chunk(devmem);",
                "dmirror_device_evict_chunk(devmem);\n"
                "\t\t\twhile (dmirror_in_use(devmem) && tries--) {\n"
                "\t\t\t\tschedule_timeout_uninterruptible(1);\n"
                "\t\t\t\tdmirror_device_evict_chunk(devmem);\n"
                "\t\t\t}",
            ),
        ),
    ),
    # Coherent memory to which a device has exclusive access cannot be moved, and who removes it waits for ever.  That
    # is a mistake of mm/, which stays: the device goes round it.
    Mend(
        "ends_exclusive",
        _DEVICE,
        (
            Edit("dmirror_fops_release", "", _EXCLUSIVE),
            Edit(
                "dmirror_fops_release",
                "if (mdevice->devmem_chunks) {",
                "down_write(&dmirror_evicting);\n\tdmirror_end_exclusive(mdevice);\n\tif (mdevice->devmem_chunks) {",
            ),
            Edit(
                "dmirror_fops_release",
                "xa_destroy(&dmirror->pt);",
                "up_write(&dmirror_evicting);\n\txa_destroy(&dmirror->pt);",
            ),
            Edit(
                "dmirror_fops_unlocked_ioctl",
                "dmirror_device_remove_chunks(dmirror->mdevice);",
                "down_write(&dmirror_evicting);\n"
                "\t\tdmirror_end_exclusive(dmirror->mdevice);\n"
                "\t\tdmirror_device_remove_chunks(dmirror->mdevice);\n"
                "\t\tup_write(&dmirror_evicting);",
            ),
            Edit(
                "dmirror_fops_unlocked_ioctl",
                "ret = dmirror_exclusive(dmirror, &cmd);",
                "down_read(&dmirror_evicting);\n"
                "\t\tret = dmirror_exclusive(dmirror, &cmd);\n"
                "\t\tup_read(&dmirror_evicting);",
            ),
        ),
    ),
)


@dataclass(frozen=True)
class Mended:
    """words: what was mended; texts: the files that it changes, by path."""

    words: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


def mended(tree: Tree) -> Mended:
    """What of the tree is to be mended.  What has another text than we know is left as it is."""
    words: list[str] = []
    texts: dict[str, str] = {}
    for mend in MENDS:
        if mend.word in tree.features.supports:
            continue
        changed: str | None = texts.get(mend.file) or tree.read(mend.file)
        for edit in mend.edits:
            if changed is not None:
                changed = replaced(changed, edit.function, edit.line, edit.becomes)
        if changed is not None:
            words.append(mend.word)
            texts[mend.file] = changed
    return Mended(tuple(words), texts)


def replaced(text: str, function: str, line: str, becomes: str) -> str | None:
    """The text with a line of a function replaced, or some that follow each other; None unless they are there exactly
    once.  An empty line: the function is there exactly once, and `becomes` comes before it."""
    inside = body(text, function)
    if not inside or text.count(inside) != 1:
        return None
    if not line:
        return text.replace(inside, f"{becomes}\n{inside}")
    lines, wanted = inside.split("\n"), line.split("\n")
    stripped = [one.strip() for one in lines]
    found = [at for at in range(len(lines)) if stripped[at : at + len(wanted)] == wanted]
    if len(found) != 1:
        return None
    (at,) = found
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    lines[at : at + len(wanted)] = [indent + becomes]
    return text.replace(inside, "\n".join(lines))


def place(texts: Mapping[str, str], objects: Path) -> None:
    """Put the mended files where make finds them before those of the tree, and take away what was there for another."""
    for file in {mend.file for mend in MENDS}:
        path, wanted = objects / file, texts.get(file)
        if (path.read_text(encoding="utf-8") if path.exists() else None) == wanted:
            continue
        # Make goes by times, and the tree's file may be older than an object of the mended one.
        made = path.with_suffix(".o")
        made.unlink(missing_ok=True)
        made.with_name(f".{made.name}.cmd").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        if wanted is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, encoding="utf-8")

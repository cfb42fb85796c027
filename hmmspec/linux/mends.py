"""Defects of the kernel's test device that long runs meet again and again, mended for the build: never mm/ itself.

The tree is not touched: make looks for a source in its output folder first, and that is where the mended text goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hmmspec.linux.features import body
from hmmspec.linux.tree import Tree


@dataclass(frozen=True)
class Mend:
    """One line of one function.  word: of `features.WORDS`, what a kernel lacks that is mended."""

    word: str
    file: str
    function: str
    line: str
    becomes: str


_DEVICE = "lib/test_hmm.c"
MENDS = (
    # A device page has no memory that a CPU could read: a read through the mirror oopses.
    Mend("own_faults", _DEVICE, "dmirror_do_fault", "entry = page;", "entry = BACKING_PAGE(page);"),
    # What the device wrote is lost with a clean copy in swap, or after MADV_FREE.
    Mend(
        "marks_dirty",
        _DEVICE,
        "dmirror_do_write",
        "memcpy_to_page(page, 0, ptr, PAGE_SIZE);",
        "memcpy_to_page(page, 0, ptr, PAGE_SIZE);\n\t\tset_page_dirty(page);",
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
        text = texts.get(mend.file) or tree.read(mend.file)
        if mend.word in tree.features.supports:
            continue
        changed = replaced(text, mend.function, mend.line, mend.becomes)
        if changed is not None:
            words.append(mend.word)
            texts[mend.file] = changed
    return Mended(tuple(words), texts)


def replaced(text: str, function: str, line: str, becomes: str) -> str | None:
    """The text with a line of a function replaced; None unless both are there exactly once."""
    inside = body(text, function)
    lines = inside.split("\n")
    found = [number for number, one in enumerate(lines) if one.strip() == line]
    if not inside or text.count(inside) != 1 or len(found) != 1:
        return None
    lines[found[0]] = lines[found[0]].replace(line, becomes)
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

"""The file that states go to when they are kept on disk (spill.c), and what lets a search go further than memory does.

The file has no name once it is open: whatever ends the process, nothing is left in the folder.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hmmspec.checker.native.unit import Compiled
from hmmspec.checker.options import CheckOptions
from hmmspec.clib.cache import Refused, cache_folder
from hmmspec.diagnostics import Limit


def spill_folder(options: CheckOptions, compiled: Compiled) -> Path | None:
    """Where the states of this search go; None for memory.

    With hashes they always go to disk: to `options.spill`, or beside the compiled specs.  Without, states that have to
    be compared in the store stay in memory.  Raises Limit where there is no folder.
    """
    if not compiled.hash_bits:
        return options.spill if compiled.direct else None
    if options.spill is not None:
        return options.spill
    try:
        return cache_folder().parent / "spill"
    except Refused as refused:
        raise Limit(f"hashed states need a folder, and {refused}: name another with --spill DIR") from None


@contextmanager
def spill_file(folder: Path | None) -> Iterator[int]:
    """The number of an empty open file in this folder, -1 for None.  Raises Limit where there can be none."""
    if folder is None:
        yield -1
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(prefix="states-", dir=folder)  # noqa: SIM115
    except OSError as e:
        raise Limit(f"states cannot be kept in {folder}: {e.strerror or e}") from None
    with file:
        yield file.fileno()


def in_memory(folder: Path) -> bool:
    """Whether the folder is of a file system that lies in memory, as /tmp is on some machines."""
    with suppress(OSError, ValueError):
        device = folder.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        kind = rf"^\d+ \d+ {os.major(device)}:{os.minor(device)} .* - (?:tmpfs|ramfs) "
        return re.search(kind, mounts, re.MULTILINE) is not None
    return False


def remark(options: CheckOptions, compiled: Compiled, limit: str) -> str:
    """What a reader should know about where states were kept, and what goes further where memory was the limit."""
    told = (_in_memory(options, compiled), _further(options, compiled, limit))
    return "; ".join(x for x in told if x)


def _in_memory(options: CheckOptions, compiled: Compiled) -> str:
    with suppress(Limit):
        folder = spill_folder(options, compiled)
        if folder is not None and in_memory(folder):
            return f"{folder} lies in memory, not on disk: states there are not in the limit of memory, and take it"
    return ""


def _further(options: CheckOptions, compiled: Compiled, limit: str) -> str:
    if options.spill is not None and not compiled.direct and not compiled.hash_bits:
        size = f"{compiled.words} words" if compiled.words > 1 else "64 bits"
        return f"--spill kept nothing on disk: states of {size} are compared in memory, --hash 64 lets them go"
    if compiled.hash_bits == 40 and limit.endswith("a missed state"):
        return "--hash 64 goes further"
    if not limit.startswith("memory limit") or compiled.hash_bits == 40:
        return ""
    if compiled.hash_bits or (compiled.direct and options.spill is not None):
        return "--hash 40 goes further in this memory"
    if compiled.direct:
        return "--spill DIR goes further in this memory (states on disk), then --hash 40 (hashes of states)"
    return "--hash 64 or --hash 40 goes further in this memory (hashes of states)"

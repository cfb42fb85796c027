"""A kernel tree: whether a folder is one, its version, and whether it can be built from outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hmmspec.linux.errors import wrong
from hmmspec.linux.features import Features, features

# What every kernel tree has had since HMM came; `lib/test_hmm.c` itself is asked for by name below.
_PARTS = ("Makefile", "Kbuild", "Kconfig", "arch/x86/Kconfig", "mm/Makefile", "scripts/kconfig")
# A tree with one of these was built in place, and then make refuses to build it into another folder.
_LEFT_BEHIND = (".config", "include/config", "arch/x86/include/generated")


@dataclass(frozen=True)
class Tree:
    """A kernel tree that can be built.  folder: absolute; version: `6.12.117`, with what its Makefile appends."""

    folder: Path
    version: str
    features: Features

    def read(self, path: str) -> str:
        """The text of a file of the tree; '' where there is none."""
        return _read(self.folder, path)


def open_tree(folder: Path, name: str = "") -> Tree:
    """The tree in a folder; `name`: what the user calls it.  Raises SpecError where it is none, or cannot be built."""
    name = name or str(folder)
    folder = folder.absolute()
    lacking = [part for part in _PARTS if not (folder / part).exists()]
    version = _version(_read(folder, "Makefile"))
    if lacking or not version:
        inside = _inside(folder)
        fix = f"did you mean '{inside}'?" if inside else "name the top folder of the tree, the one with MAINTAINERS"
        what = f"it has no {lacking[0]}" if lacking else "its Makefile names no version"
        raise wrong("HMM151", f"'{name}' is not a Linux source tree: {what}", fix)
    if ":" in str(folder) or any(ch.isspace() for ch in str(folder)):
        told = f"'{folder}' cannot be built: the kernel's make takes no path with a space or a colon"
        raise wrong("HMM151", told, "move the tree, or make a link without them and name the link")
    found = features({path: _read(folder, path) for path in Features.FILES})
    if "private" not in found.supports:
        told = f"'{name}' is Linux {version}, too old to be driven: {_not_there(folder)}"
        raise wrong("HMM152", told, "the commands of the test device are as they are now since Linux 6.0")
    _clean(folder, name)
    return Tree(folder, version, found)


def _clean(folder: Path, name: str) -> None:
    left = next((path for path in _LEFT_BEHIND if (folder / path).exists()), None)
    if left is None:
        return
    told = f"'{name}' was built in place (it has {left}), and make builds no such tree into another folder"
    if (folder / ".git").exists():
        fix = "build a clean checkout, 'git worktree add ../clean' there and --source ../clean, or 'make mrproper'"
    else:
        fix = "run 'make mrproper' in it (that removes its .config: keep a copy), or unpack it anew"
    raise wrong("HMM153", told, fix)


def _version(makefile: str) -> str:
    parts = r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(\S*)"
    values: dict[str, str] = dict(re.findall(parts, makefile, re.MULTILINE))
    numbers = [values.get(name, "") for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    if not all(number.isdecimal() for number in numbers):
        return ""
    return ".".join(numbers) + values.get("EXTRAVERSION", "")


def _inside(folder: Path) -> Path | None:
    """A kernel tree one floor further down or up."""
    try:
        near = [folder.parent, *(p for p in sorted(folder.iterdir())[:200] if p.is_dir())] if folder.is_dir() else []
    except OSError:
        return None
    return next((p for p in near if all((p / part).exists() for part in _PARTS)), None)


def _not_there(folder: Path) -> str:
    """What keeps the test device from being driven, the most basic first."""
    if not re.search(r"^config DEVICE_PRIVATE$", _read(folder, "mm/Kconfig"), re.MULTILINE):
        return "it has no DEVICE_PRIVATE, device memory that the CPU cannot reach (since 4.14)"
    if not (folder / "lib/test_hmm.c").exists():
        return "it has no lib/test_hmm.c, the test device (since 5.8)"
    return "its test device has no command MIGRATE_TO_DEV (since 6.0)"


def _read(folder: Path, path: str) -> str:
    try:
        return (folder / path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

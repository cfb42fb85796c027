"""A build folder's configuration: tinyconfig and what is wanted, then what became of it, and why not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hmmspec.linux.errors import wrong
from hmmspec.linux.image import read_options

_LINE = re.compile(r"CONFIG_(\w+)=(.*)|# CONFIG_(\w+) is not set")


@dataclass(frozen=True)
class Lack:
    """An option that was asked for and is not there.  told: what it depends on; known: whether the tree has it."""

    option: str
    wanted: str
    told: str
    known: bool

    def __str__(self) -> str:
        return f"{self.option}: {self.told}"


def read_fragment(path: Path) -> dict[str, str]:
    """The user's own options (`--config-add`), as a `.config` has them.  Raises SpecError for a line that is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is no text"
        raise wrong("HMM155", f"--config-add: '{path}' cannot be read: {told}") from None
    out: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        found = _LINE.fullmatch(line.strip())
        if found is not None:
            out[found[1] or found[3]] = (found[2] or "").strip('"') if found[1] else "n"
        elif line.strip() and not line.lstrip().startswith("#"):
            fix = "write CONFIG_NAME=y, or '# CONFIG_NAME is not set'"
            raise wrong("HMM155", f"--config-add: line {number} of '{path}' is no kernel option: {line.strip()}", fix)
    return out


def merged(base: str, options: Mapping[str, str], fragment: str) -> str:
    """The text of `base` without what it says about these options, and then `fragment`."""
    kept = []
    for line in base.splitlines():
        found = _LINE.fullmatch(line.strip())
        if found is None or (found[1] or found[3]) not in options:
            kept.append(line)
    return "\n".join(kept) + "\n" + fragment


def lacks(tree: Path, config: str, options: Mapping[str, str]) -> list[Lack]:
    """What was asked for and is not in the configuration that the tree's own rules made of it."""
    have = read_options(config)
    missing = {name: value for name, value in options.items() if have.get(name, "n") != value}
    blocks = _blocks(tree, missing) if missing else {}
    out = []
    for name, value in missing.items():
        if value == "n" and name not in blocks:
            continue
        out.append(Lack(name, value, _why(name, value, have, blocks.get(name)), name in blocks))
    return out


def _why(name: str, value: str, have: Mapping[str, str], block: str | None) -> str:
    if block is None:
        return "this tree has no such option"
    depends = [" ".join(found.split()) for found in re.findall(r"^\s+depends on (.*)$", block, re.MULTILINE)]
    if value == "n":
        return f"it is {have.get(name, 'n')}: something that is on selects it"
    if not re.search(r"^\s+(?:bool|tristate|def_bool|int|hex|string)[ \t]+\S", block, re.MULTILINE):
        return "it cannot be chosen: other options select it"
    if not depends:
        return f"it became {have.get(name, 'n')}"
    off = [
        word for word in dict.fromkeys(re.findall(r"!?\b[A-Z][A-Z0-9_]+\b", " ".join(depends))) if _stands(word, have)
    ]
    told = f"it depends on {' && '.join(depends)}"
    return f"{told} (here: {', '.join(off)})" if off else told


def _stands(word: str, have: Mapping[str, str]) -> bool:
    """Whether a term of a dependency does not hold."""
    on = have.get(word.lstrip("!"), "n") != "n"
    return on if word.startswith("!") else not on


def _blocks(tree: Path, names: Iterable[str]) -> dict[str, str]:
    """Option -> its text in the tree's Kconfig files."""
    wanted = "|".join(re.escape(name) for name in names)
    entry = re.compile(rf"^(?:menu)?config ({wanted})\n(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
    found: dict[str, str] = {}
    for path in sorted(tree.rglob("Kconfig*")):
        if "arch" in path.parts and "x86" not in path.parts and path.parent != tree / "arch":
            continue
        try:
            text = path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
        except OSError:
            continue
        for name, block in entry.findall(text):
            found[name] = found.get(name, "") + block.split("\n\thelp\n")[0] + "\n"
    return found

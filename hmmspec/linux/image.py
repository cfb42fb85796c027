"""A kernel image on disk: a folder with `bzImage`, `config` and `image.json`, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from hmmspec.linux.errors import wrong

Kind = Literal["plain", "debug"]
KINDS: tuple[Kind, ...] = ("plain", "debug")

FORMAT = 1
_KERNEL, _CONFIG, _TOLD = "bzImage", "config", "image.json"


@dataclass(frozen=True)
class Image:
    """One kernel that can be booted.

    version: as its Makefile has it, `6.12.117`; kind: for speed or for finding more; hash: of the source, the options
    and the compiler, which together make the image; source: what it was built from, for people; built: when, in UTC.
    options: the configuration, without what is off; lacking: options that were wanted and that the tree does not have.
    mended: defects of the test device that the build took away (see `mends.py`).
    supports: what the test device and the kernel can do, as the source text says (see `features.py`); commands: the
    numbers of the test device's commands, by name.
    """

    folder: Path
    version: str
    kind: Kind
    hash: str
    source: str
    built: str
    compiler: str
    options: Mapping[str, str]
    lacking: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()
    supports: frozenset[str] = frozenset()
    commands: Mapping[str, int] = field(default_factory=dict)

    @property
    def kernel(self) -> Path:
        """The file to boot."""
        return self.folder / _KERNEL

    @property
    def config(self) -> Path:
        """The configuration that it was built with."""
        return self.folder / _CONFIG

    def __str__(self) -> str:
        return f"Linux {self.version}, {self.kind}, {self.hash[:12]}"

    @staticmethod
    def load(folder: Path) -> Image:
        """Read an image's folder.  Raises SpecError where it is none."""
        told = folder / _TOLD
        if not told.is_file():
            fix = "'hmmspec linux build' makes one, 'hmmspec linux list' tells what there is"
            raise wrong("HMM150", f"'{folder}' is no kernel image: it has no {_TOLD}", fix)
        try:
            data = json.loads(told.read_text(encoding="utf-8"))
            image = _from_json(folder, data)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise wrong("HMM150", f"'{told}' cannot be used: {type(error).__name__}: {error}") from None
        if not image.kernel.is_file():
            raise wrong("HMM150", f"'{folder}' is no whole kernel image: it has no {_KERNEL}")
        return image


def save(image: Image, kernel: Path, config: Path) -> Image:
    """Put an image in its folder, from the files that a build made; what was there before goes.  Raises OSError."""
    image.folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{image.folder.name[:40]}-", dir=image.folder.parent))
    try:
        shutil.copyfile(kernel, temporary / _KERNEL)
        shutil.copyfile(config, temporary / _CONFIG)
        told = json.dumps(_to_json(image), indent=1, sort_keys=True) + "\n"
        (temporary / _TOLD).write_text(told, encoding="utf-8")
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())  # a folder that is there after a crash is whole
        temporary.chmod(0o755)
        replace_folder(temporary, image.folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return image


def copy_image(image: Image, folder: Path) -> Image:
    """The same image in another folder.  Raises OSError."""
    return save(replace(image, folder=folder.absolute()), image.kernel, image.config)


def replace_folder(new: Path, place: Path) -> None:
    """Move a folder to its place; what stands there goes.  Raises OSError."""
    if not place.exists():
        with suppress(OSError):
            new.rename(place)
            return
    old = Path(tempfile.mkdtemp(prefix=f".{place.name[:40]}-old-", dir=place.parent))
    try:
        with suppress(FileNotFoundError):
            place.rename(old / "was")
        new.rename(place)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def read_options(text: str) -> dict[str, str]:
    """The options of a `.config` that are on: `{"SMP": "y", "NR_CPUS": "8"}`."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.startswith("CONFIG_"):
            found[name.removeprefix("CONFIG_")] = value.strip('"')
    return found


def _to_json(image: Image) -> dict[str, Any]:
    data: dict[str, Any] = {"format": FORMAT}
    for part in fields(image):
        value = getattr(image, part.name)
        if part.name != "folder":
            data[part.name] = sorted(value) if isinstance(value, frozenset) else value
    return data


def _from_json(folder: Path, data: Any) -> Image:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"it is not of format {FORMAT}")
    if data["kind"] not in KINDS:
        raise ValueError(f"there is no kind '{data['kind']}'")
    words = {name: data[name] for name in ("version", "kind", "hash", "source", "built", "compiler")}
    if not all(isinstance(word, str) for word in words.values()):
        raise ValueError("a text is wanted")
    return Image(
        folder,
        **words,
        options={str(name): str(value) for name, value in data["options"].items()},
        lacking=tuple(str(name) for name in data["lacking"]),
        mended=tuple(str(word) for word in data.get("mended", ())),
        supports=frozenset(str(word) for word in data["supports"]),
        commands={str(name): int(number) for name, number in data["commands"].items()},
    )

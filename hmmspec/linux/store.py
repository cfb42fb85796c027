"""The user's cache of kernels: images, the folders that they were built in, and what was unpacked.

    images/HASH/        bzImage, config, image.json: whole, or not there
    objects/NAME/       where make works; a second build of the same tree begins with what the first one made
    trees/HASH/         tarballs, unpacked
    memos/NAME.json     what the files of a tree hash to

It lies in `$XDG_CACHE_HOME/hmmspec/linux`, or in `~/.cache/hmmspec/linux`.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hmmspec.clib.cache import Refused, cache_folder
from hmmspec.diagnostics import SpecError
from hmmspec.linux.errors import wrong
from hmmspec.linux.image import Image, Kind

_ABANDONED = 6 * 3600  # seconds after which a folder that was never moved to its place goes


@dataclass(frozen=True)
class Store:
    """Where everything lies."""

    top: Path

    @property
    def images(self) -> Path:
        return self.top / "images"

    @property
    def objects(self) -> Path:
        return self.top / "objects"

    @property
    def trees(self) -> Path:
        return self.top / "trees"

    @property
    def memos(self) -> Path:
        return self.top / "memos"

    def find(self, key: str) -> Image | None:
        """The image with this hash, if it is there and whole."""
        with suppress(SpecError):
            return Image.load(self.images / key[:24])
        return None

    def all(self) -> list[Image]:
        """Every whole image, the newest first."""
        found = []
        for folder in self.images.iterdir():
            if not folder.name.startswith("."):
                with suppress(SpecError):
                    found.append(Image.load(folder))
        return sorted(found, key=lambda image: (image.built, image.hash), reverse=True)


def open_store() -> Store:
    """The cache, made if need be.  Raises SpecError where it cannot be used."""
    try:
        store = Store(cache_folder("linux"))
        for folder in (store.images, store.objects, store.trees, store.memos):
            folder.mkdir(mode=0o700, exist_ok=True)
            _sweep(folder)
    except Refused as refused:
        raise wrong("HMM156", f"kernel images cannot be kept: {refused}", "set XDG_CACHE_HOME to a folder") from None
    except OSError as error:
        raise wrong("HMM156", f"kernel images cannot be kept: {error}", "set XDG_CACHE_HOME to a folder") from None
    return store


def newest(kind: Kind) -> Image | None:
    """The image of this kind that was built last.  Raises SpecError where there is no cache to look in."""
    return next((image for image in open_store().all() if image.kind == kind), None)


def named(text: str) -> Image:
    """The image that a folder, the beginning of a hash, or a kind (`plain`: the newest) names.  Raises SpecError."""
    if "/" in text or Path(text).is_dir():
        return Image.load(Path(text))
    images = open_store().all()
    by_kind = [image for image in images if image.kind == text]
    found = by_kind[:1] or [image for image in images if image.hash.startswith(text)]
    if len(found) == 1:
        return found[0]
    told = "several images begin" if found else "no image begins"
    fix = "'hmmspec linux list' tells what there is" if images else "'hmmspec linux build' makes one"
    raise wrong("HMM150", f"{told} with '{text}'", fix)


def remove(image: Image) -> None:
    """Remove an image.  Raises OSError."""
    doomed = image.folder.with_name(f".{image.folder.name}-gone")
    image.folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(base) / name).lstat().st_blocks * 512
    return total


def _sweep(folder: Path) -> None:
    """Remove what a build that was killed left half-way."""
    for path in folder.glob(".*"):
        with suppress(OSError):
            if path.is_dir() and path.lstat().st_mtime < time.time() - _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)

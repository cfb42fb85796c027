"""`hmmspec linux build|list|rm`: images of real kernels, for `--target linux`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from hmmspec.cli.args import Parser, count, mistake
from hmmspec.linux.build import Built, Step, build
from hmmspec.linux.config import read_fragment
from hmmspec.linux.image import KINDS, Image, Kind, copy_image
from hmmspec.linux.make import ended_by_sigterm
from hmmspec.linux.source import find_source
from hmmspec.linux.store import Store, named, open_store, remove, size
from hmmspec.linux.toolchain import Toolchain, find_toolchain
from hmmspec.report.progress import StatusLine


class _Part(Parser):
    """A part of the command: argparse makes these itself and hands over its own arguments."""

    def __init__(self, prog: str, **told: Any) -> None:
        super().__init__(prog.removeprefix("hmmspec "), told.get("description", ""))


def parser() -> Parser:
    """The options of `linux`."""
    p = Parser("linux", "Images of real Linux kernels, to run scenarios and conformance on (docs/linux.md).")
    parts = p.add_subparsers(dest="part", metavar="PART", parser_class=_Part)
    for name, (told, options, _) in _PARTS.items():
        options(parts.add_parser(name, description=told))
    names = ", ".join(_PARTS)
    p.epilog = f"parts: {names}; 'hmmspec linux PART --help' tells the options of each"
    return p


def run(args: argparse.Namespace) -> int:
    """Carry out one part.  Raises SpecError."""
    if args.part is None:
        raise mistake("HMM089", f"linux wants one of {', '.join(_PARTS)}", "see 'hmmspec linux --help'")
    return int(_PARTS[args.part][2](args))


# ---------------------------------------------------------------- build


def _build_options(p: Parser) -> None:
    p.add_argument(
        "--source",
        default="debian",
        metavar="SOURCE",
        help="a kernel tree (never written into), a tarball of one, or 'debian': the newest linux-source package in "
        "/usr/src (the default)",
    )
    p.add_argument("--kind", choices=[*KINDS, "all"], default="plain", help="for speed, to find more, both (plain)")
    p.add_argument("--config-add", type=Path, metavar="FILE", help="more kernel options, as lines of a .config")
    p.add_argument("--jobs", type=count, metavar="N", help="jobs of make (one on each core)")
    p.add_argument("--as-is", action="store_true", help="leave known defects of the kernel's test device in it")
    p.add_argument("--out", type=Path, metavar="DIR", help="copy the image there, too (with --kind all: DIR/KIND)")
    p.add_argument("--json", action="store_true", help="one JSON document on standard output")


def _build(args: argparse.Namespace) -> int:
    store = open_store()
    extra = {} if args.config_add is None else read_fragment(args.config_add)
    progress = BuildProgress(sys.stderr)
    kinds: tuple[Kind, ...] = KINDS if args.kind == "all" else (args.kind,)
    tools: Toolchain = find_toolchain()
    found: list[Built] = []
    try:
        with ended_by_sigterm():
            source = find_source(args.source, store, progress.say)
            for kind in kinds:
                made = build(
                    source,
                    kind,
                    store,
                    lambda: tools,
                    extra=extra,
                    jobs=args.jobs or _cores(),
                    tell=progress,
                    mend=not args.as_is,
                )
                progress.clear()
                found.append(made)
                if not args.json:
                    print("\n".join(_told(made)), flush=True)
    finally:
        progress.clear()
    if args.out is not None:
        for made in found:
            _copy(made.image, args.out / made.image.kind if len(found) > 1 else args.out)
    if args.json:
        print(json.dumps([_as_json(made.image, cached=made.cached, seconds=made.seconds) for made in found], indent=1))
    return 0


def _copy(image: Image, folder: Path) -> None:
    try:
        copy_image(image, folder)
    except OSError as error:
        raise mistake("HMM087", f"cannot write '{folder}': {error.strerror or error}") from None


def _told(made: Built) -> list[str]:
    image = made.image
    how = "was built before" if made.cached else f"{made.steps:,} steps in {_clock(made.seconds)}"
    has = sorted(image.supports - set(image.mended))
    lines = [f"{image}: {how}", f"  {image.folder}", f"  the source has: {', '.join(has)}"]
    if image.mended:
        lines.append(f"  mended in its test device: {', '.join(image.mended)} (--as-is leaves it)")
    return lines + [f"  without {lack}" for lack in image.lacking]


def _cores() -> int:
    return len(os.sched_getaffinity(0))


# ---------------------------------------------------------------- list, rm


def _list_options(p: Parser) -> None:
    p.add_argument("--json", action="store_true", help="one JSON document on standard output")


def _list(args: argparse.Namespace) -> int:
    store = open_store()
    images = store.all()
    if args.json:
        print(json.dumps([_as_json(image) for image in images], indent=1))
        return 0
    for image in images:
        print(f"{image.hash[:12]}  {image.kind:<5}  {image.version:<12}  {image.built}  {image.source}")
    if not images:
        print("no images: 'hmmspec linux build' makes one")
    kept = [(what, size(folder)) for what, folder in (("objects", store.objects), ("trees", store.trees))]
    told = ", ".join(f"{what} {bytes_ / 1e9:.1f} GB" for what, bytes_ in kept if bytes_)
    if told:
        print(f"kept for the next build in {store.top}: {told}")
    return 0


def _rm_options(p: Parser) -> None:
    p.add_argument("images", nargs="*", metavar="IMAGE", help="the beginning of a hash")
    p.add_argument("--all", action="store_true", help="every image, all objects, all that was unpacked")


def _rm(args: argparse.Namespace) -> int:
    store = open_store()
    if args.all == bool(args.images):
        raise mistake("HMM089", "rm wants images or --all", "'hmmspec linux list' tells what there is")
    if args.all:
        return _empty(store)
    for image in [named(text) for text in args.images]:
        if image.folder.parent != store.images:
            raise mistake("HMM089", f"'{image.folder}' is not in the cache", "name the beginning of a hash")
        remove(image)
        print(f"removed {image}")
    return 0


def _empty(store: Store) -> int:
    before = size(store.top)
    for folder in (store.images, store.objects, store.trees, store.memos):
        shutil.rmtree(folder, ignore_errors=True)
    print(f"removed {(before - size(store.top)) / 1e9:.1f} GB from {store.top}")
    return 0


def _as_json(image: Image, **more: object) -> dict[str, object]:
    return {
        "hash": image.hash,
        "kind": image.kind,
        "version": image.version,
        "folder": str(image.folder),
        "source": image.source,
        "built": image.built,
        "supports": sorted(image.supports),
        "lacking": list(image.lacking),
        "mended": list(image.mended),
        **more,
    }


# ---------------------------------------------------------------- progress


class BuildProgress:
    """How far a build is: one line that changes on a terminal, a line every twenty seconds elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._line = StatusLine(stream, 0.2, 20.0)
        self._began = time.monotonic()
        self._phase = ""

    def say(self, text: str) -> None:
        """What is done now, where nothing can be counted."""
        self._show(text, new=text.split(":")[0] != self._phase)
        self._phase = text.split(":")[0]

    def __call__(self, step: Step) -> None:
        new = f"{step.kind} {step.phase}" != self._phase
        if new:
            self._phase = f"{step.kind} {step.phase}"
            self._began = time.monotonic()
        text = f"{step.kind}: {step.phase}"
        if step.done:
            # What the last whole build took is no promise: a step more must not look like a miscount.
            about = f" of about {step.about:,}" if step.about is not None and step.about > step.done else ""
            text += f", {step.done:,}{about} steps, {_clock(time.monotonic() - self._began)}"
        self._show(text, new=new)

    def _show(self, text: str, *, new: bool) -> None:
        if self._line.due(new=new):
            self._line.show(text)

    def clear(self) -> None:
        """Take the line off the terminal."""
        self._line.clear()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


_PARTS = {
    "build": ("Build an image of a kernel, or find the one that was built before.", _build_options, _build),
    "list": ("The images in the cache.", _list_options, _list),
    "rm": ("Remove images from the cache.", _rm_options, _rm),
}

"""From a source to an image: configured, built, checked and kept; or found, where the same was built before."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from hmmspec.linux.config import Lack, lacks, merged
from hmmspec.linux.errors import wrong
from hmmspec.linux.image import Image, Kind, read_options, save
from hmmspec.linux.make import make
from hmmspec.linux.mends import Mended, mended
from hmmspec.linux.mends import place as put_mended
from hmmspec.linux.objects import Objects, objects
from hmmspec.linux.options import CORE, OBJECTS, fragment, needed, wanted
from hmmspec.linux.source import Source, check_room, full, tag
from hmmspec.linux.store import Store
from hmmspec.linux.toolchain import Toolchain

_ROOM = {"plain": 500_000_000, "debug": 900_000_000}  # bytes that the objects of a whole build take
_RECIPE = 1  # raise it when the same source and options are to make another image
_TRIES = 3


@dataclass(frozen=True)
class Step:
    """How far a build is.  phase: what is done now; done: steps of make; about: how many there will be, if known."""

    kind: Kind
    phase: str
    done: int = 0
    about: int | None = None


Tell = Callable[[Step], object]


@dataclass(frozen=True)
class Built:
    """cached: nothing had to be built; seconds: what building took; steps: how many commands of make."""

    image: Image
    cached: bool
    seconds: float = 0.0
    steps: int = 0


def build(
    source: Source,
    kind: Kind,
    store: Store,
    tools: Callable[[], Toolchain],
    *,
    extra: Mapping[str, str],
    jobs: int,
    tell: Tell,
    mend: bool = True,
) -> Built:
    """The image of this source.  extra: options of the user's own, which win; mend: defects of its test device.

    Raises SpecError where it cannot be built; nothing is half there then, nor after KeyboardInterrupt.
    """
    began = time.monotonic()
    toolchain = tools()
    options = {**wanted(kind), **extra}
    for _ in range(_TRIES):
        repair = mended(source.tree) if mend else Mended()
        key = _key(source.identity, kind, options, toolchain, repair)
        found = store.find(key)
        if found is not None:
            return Built(_up_to_date(found, source), cached=True)
        own = f"-{_short(json.dumps(extra, sort_keys=True))}" if extra else ""
        with objects(store.objects / f"{tag(source.tree.folder)}-{kind}{own}") as place:
            try:
                maker = _Maker(source, kind, toolchain, place, jobs, tell)
                lacking = maker.configure(options, extra)
                put_mended(repair.texts, place.folder)
                steps = maker.compile()
            except OSError as error:
                raise full(store.top) if error.errno == 28 else error from None
            after = source.still_the_same()
            if after is source:
                image = _image(source, kind, store, key, toolchain, place, lacking, repair)
                return Built(image, cached=False, seconds=time.monotonic() - began, steps=steps)
        source = after
        tell(Step(kind, "the tree changed meanwhile: once more"))
    raise wrong("HMM154", f"'{source.name}' keeps changing while it is built", "build it when nobody edits it")


class _Maker:
    """One build in one folder of objects."""

    def __init__(self, source: Source, kind: Kind, tools: Toolchain, place: Objects, jobs: int, tell: Tell) -> None:
        self._source, self._kind, self._tools, self._place = source, kind, tools, place
        self._jobs, self._tell = jobs, tell
        self._done = 0

    def configure(self, options: Mapping[str, str], extra: Mapping[str, str]) -> tuple[str, ...]:
        """Make the configuration.  Returns what is lacking, in words; raises SpecError where it is needed."""
        place = self._place
        if place.fresh:
            check_room(place.folder, _ROOM[self._kind], "to build a kernel")
        text = fragment(options)
        if place.prepare(self._source.files, text):
            self._tell(Step(self._kind, "configuring"))
            config = place.folder / ".config"
            self._run("tinyconfig")
            base = config.read_text(encoding="utf-8", errors="replace")
            config.write_text(merged(base, options, text), encoding="utf-8")
            self._run("olddefconfig")
            place.configured(text)
        found = lacks(self._source.tree.folder, (place.folder / ".config").read_text(encoding="utf-8"), options)
        # An option that a tree has no more may be what it always does; some are what all of this is about.
        must = {lack.option for lack in found if lack.known or lack.option in CORE} & needed(self._kind)
        grave = [lack for lack in found if lack.option in must or lack.option in extra]
        if grave:
            place.record.options = ""  # it is looked at again, whatever the user does about it
            raise _cannot_be_set(grave, extra, self._source.name)
        return tuple(str(lack) for lack in found)

    def compile(self) -> int:
        """Run make.  Returns how many steps it took."""
        place = self._place
        whole = place.fresh
        about = (place.record.steps or OBJECTS[self._kind]) if whole else None
        before = place.record.begun if whole else 0
        self._tell(Step(self._kind, "building", before, about))

        def step() -> None:
            self._done += 1
            self._tell(Step(self._kind, "building", before + self._done, about))

        try:
            self._run("bzImage", step)
        except BaseException:
            place.ended(begun=before + self._done if whole else 0)
            raise
        place.ended(steps=before + self._done if whole else 0)
        return self._done

    def _run(self, target: str, step: Callable[[], object] = lambda: None) -> None:
        tree = self._source.tree.folder
        make(tree, self._place.folder, [target], self._tools, self._jobs, self._place.log, step)


def _cannot_be_set(grave: list[Lack], extra: Mapping[str, str], name: str) -> Exception:
    own = [lack.option for lack in grave if lack.option in extra]
    told = f"'{name}' cannot be built with {', '.join(lack.option for lack in grave)}"
    fix = f"leave {own[0]} out of --config-add, or add what it depends on" if own else None
    if not own and any("no such option" in lack.told for lack in grave):
        fix = "the tree is too old, or too new, for these; see docs/linux.md"
    return wrong("HMM155", told, fix, [str(lack) for lack in grave])


def _image(
    source: Source,
    kind: Kind,
    store: Store,
    key: str,
    tools: Toolchain,
    place: Objects,
    lacking: tuple[str, ...],
    repair: Mended,
) -> Image:
    kernel, config = place.folder / "arch/x86/boot/bzImage", place.folder / ".config"
    if not kernel.is_file():
        raise wrong("HMM158", "make ended well but made no arch/x86/boot/bzImage", None, [f"what it said: {place.log}"])
    image = Image(
        folder=store.images / key[:24],
        version=source.tree.version,
        kind=kind,
        hash=key,
        source=source.name,
        built=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        compiler=tools.name,
        options=read_options(config.read_text(encoding="utf-8")),
        lacking=lacking,
        mended=repair.words,
        supports=source.tree.features.supports | set(repair.words),
        commands=source.tree.features.commands,
    )
    try:
        return save(image, kernel, config)
    except OSError as error:
        raise full(store.top) if error.errno == 28 else error from None


def _up_to_date(image: Image, source: Source) -> Image:
    """The image with what is known of its source now: a newer hmmspec may look for more in it."""
    known = source.tree.features
    supports = known.supports | set(image.mended)
    if image.supports == supports and image.commands == known.commands:
        return image
    with suppress(OSError):
        return save(replace(image, supports=supports, commands=known.commands), image.kernel, image.config)
    return image


def _key(identity: str, kind: Kind, options: Mapping[str, str], tools: Toolchain, repair: Mended) -> str:
    parts = [_RECIPE, identity, kind, sorted(options.items()), tools.cc, tools.version, sorted(repair.texts.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]

"""From a path to a `Spec`: read, parse, take in imports, apply patches, load what is refined.

Everything that goes wrong here is a `SpecError`: files (HMM080 to HMM083), text (HMM001 to HMM019), imports and patches
(HMM060 to HMM065).  A mistake in an imported file is shown in that file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from hmmspec.diagnostics import Diagnostic, Diagnostics, Note, Source, Span, SpecError, did_you_mean
from hmmspec.lang import syntax
from hmmspec.lang.depth import check_depth
from hmmspec.lang.lexer import MAX_CHARACTERS
from hmmspec.lang.patch import apply_patches, clash
from hmmspec.lang.trees import tree

# A longer chain of imports is a mistake, and each link costs a few frames of Python's stack.
MAX_CHAIN = 50

# An import takes all but these: they speak about the imported file's own runs.
_STAY_BEHIND = (syntax.Instance, syntax.ExpectViolates, syntax.ExpectCount, syntax.Prove)


def load(path: str) -> syntax.Spec:
    """The spec in the file `path`, imports and patches applied.  Raises `SpecError` with all that is wrong."""
    return _load(read_source(path))


def load_source(source: Source) -> syntax.Spec:
    """Like `load` for a text that is in memory; imports are looked up from `source.path`."""
    return _load(source)


def _load(source: Source) -> syntax.Spec:
    loader = _Loader()
    spec = loader.spec(source, (_Link(_key(source.path), source.path, None),), set())
    loader.diags.raise_if_errors()
    assert spec is not None  # a part is only missing where a diagnostic says why
    return spec


def read_source(path: str) -> Source:
    """The text of a file.

    Raises `SpecError`: HMM080 missing, HMM081 not a file, HMM082 unreadable, HMM083 not UTF-8.
    """

    def fail(code: str, message: str, fix: str | None = None) -> SpecError:
        return SpecError([Diagnostic(code, message, Span(Source(path, ""), 0, 0), fix=fix)])

    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise fail("HMM081", f"'{path}' is a directory", "name one .hmm file in it")
        if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
            raise fail("HMM081", f"'{path}' is a device or a socket, not a file")
        with Path(path).open("rb") as stream:
            # A character has at most four bytes; no need to read more than what is refused anyway.
            data = stream.read(4 * MAX_CHARACTERS + 1)
    except FileNotFoundError:
        raise fail("HMM080", f"the file '{path}' does not exist", _near_file(path)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise fail("HMM082", f"the file '{path}' cannot be read: {reason}") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise fail("HMM083", f"the file '{path}' is UTF-16, not UTF-8", "save it as UTF-8")
    try:
        # Some editors put a byte order mark in front; it means nothing in UTF-8.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        if len(data) > 4 * MAX_CHARACTERS and error.start > 4 * MAX_CHARACTERS - 4:
            text = data[: error.start].decode("utf-8-sig")  # cut in the middle of a character; refused for its size
        else:
            message = f"the file '{path}' is not UTF-8 text: byte 0x{data[error.start]:02x} in line {line}"
            raise fail("HMM083", message, "save it as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise fail("HMM083", f"the file '{path}' is not a text: it has a NUL byte in line {line}")
    return Source(path, text)


def library_directory() -> str:
    """Where the .hmm files are that come with hmmspec and can be imported from anywhere."""
    return str(resources.files("hmmspec.lang").joinpath("library"))


def _near_file(path: str) -> str | None:
    """A repair for a misspelt path: a .hmm file in its directory with a similar name."""
    folder = Path(path).parent
    try:
        known = [entry.name for entry in folder.iterdir() if entry.suffix == ".hmm"]
        return did_you_mean(Path(path).name, known)
    except (OSError, ValueError):
        return None


def _key(path: str) -> str:
    """One string for one file, however it is spelt."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path


@dataclass(frozen=True)
class _Link:
    """One file of the chain from the main file to the one being read, and where it was named."""

    key: str
    path: str
    span: Span | None


_Chain = tuple[_Link, ...]


class _Loader:
    def __init__(self) -> None:
        self.diags = Diagnostics()
        self.files: list[str] = []
        self.parsed: dict[str, syntax.File | None] = {}

    def spec(self, source: Source, chain: _Chain, seen: set[str]) -> syntax.Spec | None:
        """The whole spec of a file.  `seen`: the files whose declarations are already in; grows."""
        mark = len(self.files)
        file = self._parse(source)
        seen.add(chain[-1].key)
        if file is None:
            return None
        own = self._expand(file.declarations, chain, seen)
        doc, refinement = file.doc, None
        declarations: list[syntax.Declaration] | None = own
        match file.header:
            case syntax.Refines(path, mappings):
                # Another namespace: files that both specs import count for each of them.
                abstract = self._named(path, file.header.span, chain, set())
                if abstract is not None:
                    refinement = syntax.Refinement(abstract, mappings, span=file.header.span)
            case syntax.Patches(path):
                base = self._named(path, file.header.span, chain, seen)
                declarations = None
                if base is not None:
                    doc, refinement = doc or base.doc, base.refines
                    declarations = self._patched(base, file.header, own, chain, seen)
            case None:
                pass
        if declarations is None:
            return None
        files = tuple(dict.fromkeys(self.files[mark:]))
        return syntax.Spec(file.name.name, doc, tuple(declarations), refinement, files, span=file.span)

    def _patched(
        self, base: syntax.Spec, patches: syntax.Patches, own: list[syntax.Declaration], chain: _Chain, seen: set[str]
    ) -> list[syntax.Declaration]:
        kept = [d for d in base.declarations if not isinstance(d, (syntax.ExpectViolates, syntax.ExpectCount))]
        items: list[syntax.PatchItem] = []
        for item in patches.items:
            if isinstance(item, syntax.Add) and isinstance(item.declaration, syntax.Import):
                items.extend(syntax.Add(d, span=item.span) for d in self._expand([item.declaration], chain, seen))
            else:
                items.append(item)
        result = apply_patches(kept, items, self.diags)
        for declaration in own:
            clash(declaration, result, self.diags)
        before = set(map(id, base.declarations))
        for declaration in result:
            if id(declaration) not in before:
                # What was put into a nested place may be too deep there.
                check_depth(declaration, self.diags)
        return result + own

    def _expand(
        self, declarations: Iterable[syntax.Declaration], chain: _Chain, seen: set[str]
    ) -> list[syntax.Declaration]:
        """The declarations with every import replaced by what it brings."""
        result: list[syntax.Declaration] = []
        for declaration in declarations:
            if isinstance(declaration, syntax.Import):
                spec = self._named(declaration.path, declaration.span, chain, seen, once=True)
                if spec is not None:
                    result.extend(d for d in spec.declarations if not isinstance(d, _STAY_BEHIND))
            else:
                result.append(declaration)
        return result

    def _named(self, name: str, span: Span, chain: _Chain, seen: set[str], *, once: bool = False) -> syntax.Spec | None:
        """The spec in the file that another file names.  With `once`, nothing if that file is already in."""
        path = self._resolve(name, span, chain[-1].path)
        if path is None:
            return None
        link = _Link(_key(path), path, span)
        if any(link.key == other.key for other in chain):
            self._cycle(chain, link)
            return None
        if once and link.key in seen:
            return None
        if len(chain) >= MAX_CHAIN:
            self.diags.error("HMM009", span, f"files name one another more than {MAX_CHAIN} deep")
            return None
        try:
            source = read_source(path)
        except SpecError as error:
            # The file is there but cannot be used: say so where it was named.
            self.diags.items.extend(
                Diagnostic(d.code, d.message, span, notes=d.notes, fix=d.fix) for d in error.diagnostics
            )
            return None
        return self.spec(source, (*chain, link), seen)

    def _resolve(self, name: str, span: Span, importer: str) -> str | None:
        places = [str(Path(importer).parent), library_directory()]
        for place in places:
            path = os.path.normpath(Path(place) / name)
            try:
                if Path(path).exists() and not Path(path).is_dir():
                    return path
            except (OSError, ValueError):
                break
        near = None
        for place in places:
            near = near or _near_file(str(Path(place) / name))
        shown = [f"looked in '{places[0]}'", "looked in the library that comes with hmmspec"]
        self.diags.error(
            "HMM060", span, f'the file "{name}" was not found', notes=[Note(text) for text in shown], fix=near
        )
        return None

    def _cycle(self, chain: Sequence[_Link], link: _Link) -> None:
        start = next(i for i, other in enumerate(chain) if other.key == link.key)
        ring = [*chain[start:], link]
        names = " -> ".join(Path(part.path).name for part in ring)
        notes = [Note(f"'{part.path}' is named here", part.span) for part in ring[1:-1] if part.span is not None]
        assert link.span is not None
        self.diags.error(
            "HMM061",
            link.span,
            f"files name one another in a circle: {names}",
            notes=notes,
            fix="move what they share to a third file",
        )

    def _parse(self, source: Source) -> syntax.File | None:
        key = _key(source.path)
        self.files.append(source.path)
        if key not in self.parsed:
            try:
                self.parsed[key] = tree(source)
            except SpecError as error:
                self.diags.items.extend(error.diagnostics)
                self.parsed[key] = None
        return self.parsed[key]

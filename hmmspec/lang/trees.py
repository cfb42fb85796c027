"""Syntax trees of files that were parsed before: making one takes longer than the rest of a short command."""

from __future__ import annotations

import contextlib
import io
import pickle
from importlib import import_module

from hmmspec.diagnostics import Source
from hmmspec.lang import cache, syntax

_SOURCE = "source"


class _Writer(pickle.Pickler):
    """Every span of a tree names its source, which who reads it has at hand."""

    def persistent_id(self, obj: object) -> str | None:
        return _SOURCE if isinstance(obj, Source) else None


class _Reader(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, source: Source) -> None:
        super().__init__(stream)
        self.source = source

    def persistent_load(self, pid: object) -> Source:
        if pid != _SOURCE:
            raise pickle.UnpicklingError(f"a reference to {pid}")
        return self.source


def tree(source: Source) -> syntax.File:
    """As `parse`, from the cache where it is there.  Raises `SpecError`."""
    path = cache.file_for("trees", source.text)
    payload = cache.read(path)
    if payload is not None:
        try:
            found = _Reader(io.BytesIO(payload), source).load()
        except Exception:  # noqa: BLE001  (whatever is wrong with it, the text is there to be parsed)
            found = None
        if isinstance(found, syntax.File):
            return found
    # Only now, since it loads the parser generator.
    made: syntax.File = import_module("hmmspec.lang.parser").parse(source)
    stream = io.BytesIO()
    with contextlib.suppress(RecursionError):  # a text that is nested too deeply for it
        _Writer(stream, protocol=5).dump(made)
        cache.write(path, stream.getvalue())
    return made

"""Mistakes about kernel trees and images as diagnostics: they have no place in any spec."""

from __future__ import annotations

from collections.abc import Iterable

from hmmspec.diagnostics import Diagnostic, Note, Severity, Source, Span, SpecError

_NOWHERE = Span(Source("<command line>", ""), 0, 0)


def wrong(code: str, message: str, fix: str | None = None, notes: Iterable[str] = ()) -> SpecError:
    """An error to raise: what is wrong, what to do, and remarks below it."""
    told = tuple(Note(text) for text in notes)
    return SpecError([Diagnostic(code, message, _NOWHERE, Severity.ERROR, told, fix)])

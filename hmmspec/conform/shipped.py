"""Where the conformance specs and scenarios of the project are."""

from __future__ import annotations

from pathlib import Path

ROOTS = (Path(__file__).resolve().parents[2], Path.cwd())


def shipped() -> tuple[str, ...]:
    """The bindings in specs/conform: of the project that hmmspec runs from, or of the current folder.  None if it is
    installed without its specs."""
    for root in ROOTS:
        found = sorted((root / "specs" / "conform").glob("*.bind"))
        if found:
            return tuple(map(str, found))
    return ()

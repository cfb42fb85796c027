"""Which hmmspec this is."""

from __future__ import annotations

from hmmspec import __version__


def version() -> str:
    """The version of this source: asking the installation would take longer than all of a short check."""
    return __version__

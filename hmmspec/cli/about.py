"""Which hmmspec this is."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The installed version; of an uninstalled source tree, that is said."""
    try:
        return metadata.version("hmmspec")
    except metadata.PackageNotFoundError:
        return "0 (not installed)"

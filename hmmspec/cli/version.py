"""`hmmspec version`."""

from __future__ import annotations

import argparse
import platform

from hmmspec.cli.about import version
from hmmspec.cli.args import Parser


def parser() -> Parser:
    """No options."""
    return Parser("version", "Print the version of hmmspec and of the Python that runs it.")


def run(_args: argparse.Namespace) -> int:
    """Print it."""
    print(f"hmmspec {version()} (Python {platform.python_version()})")
    return 0

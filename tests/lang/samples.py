"""Texts that several tests of the language read."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import settings

HERE = Path(__file__).parent

FIRST = (HERE / "first.hmm").read_text()
THREADS = (HERE / "threads.hmm").read_text()
WHOLE = (HERE / "whole.hmm").read_text()

# How many random inputs the robustness tests try in all; a long run sets it to 20000 or more.
FUZZ = int(os.environ.get("HMMSPEC_FUZZ", "2000"))


def examples(share: int) -> settings:
    """The settings of a random test that gets one part in `share` of them.  A slow machine is no failure."""
    return settings(max_examples=max(1, FUZZ // share), deadline=None)

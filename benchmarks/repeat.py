"""The search alone, again and again in one process until a second is filled: `repeat.py PAGES FRAMES THREADS ORBITS`.

Prints JSON: the mean of the searches' seconds, and how many there were.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hmmspec.checker.native.engine import check_native
from hmmspec.checker.options import CheckOptions
from hmmspec.lang.load import load
from hmmspec.system.build import build_all

SECONDS = 1.0
MOST = 200

if __name__ == "__main__":
    pages, frames, threads, orbits = map(int, sys.argv[1:])
    spec = load(str(Path(__file__).with_name("pages.hmm")))
    (system,) = build_all(spec, None, {"PAGES": pages, "FRAMES": frames})
    options = CheckOptions(engine="native", symmetry=bool(orbits), threads=threads, expectations=False)
    taken: list[float] = []
    while sum(taken) < SECONDS and len(taken) < MOST:
        taken.append(check_native(system, options).explore_seconds)
    print(json.dumps({"seconds": sum(taken) / len(taken), "times": len(taken)}))

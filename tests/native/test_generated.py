"""The Python engine and the native one show the same of generated specs.

HMMSPEC_AGREEMENT says how many specs (100 if it is not set; `make test-long` takes 1,000).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hmmspec.checker.check import check
from tests.native.agree import FULL, Case, built, case, disagreements
from tests.native.census import Census
from tests.native.genshapes import OUTCOMES
from tests.native.specgen import Bundle

ROOT = Path(__file__).resolve().parents[2]
SPECS = int(os.environ.get("HMMSPEC_AGREEMENT", "100"))
AT_ONCE = 5  # specs of one test
COUNTED = SPECS if SPECS >= 1000 else 2 * len(OUTCOMES)  # specs of the census


@pytest.mark.parametrize("first", range(0, SPECS, AT_ONCE))
def test_engines_agree(first: int, cache: Path) -> None:
    assert cache.is_dir()
    ran: list[str] = []
    for seed in range(first, min(first + AT_ONCE, SPECS)):
        # Now and then with several threads, which must not be seen.
        found = disagreements(case(seed), threads=3 if seed % 5 == 4 else 1, ran=ran)
        case.cache_clear()
        assert not found, "\n\n".join(map(str, found))
    # Where the native engine did not run, nothing was compared.
    assert set(ran) == {""}, ran


def test_census(capsys: pytest.CaptureFixture[str]) -> None:
    """The specs are worth comparing: not tiny, with all of the language in them, and every kind of verdict and error."""
    census = Census(range(COUNTED))
    with capsys.disabled():
        print("\n" + census.table())
    assert census.over(100) >= COUNTED / 2
    enough = (30, 20) if COUNTED >= 1000 else (1, 1)
    assert census.missing(*enough) == []


def test_seeds_mean_the_same_everywhere() -> None:
    """A seed that disagrees on one machine can be looked at on another: nothing hangs on the order of sets."""
    program = "from tests.native.specgen import bundle; print([sorted(bundle(s).files.items()) for s in range(60)])"
    texts = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) > 60 * 500


# What generated specs have shown, made small.
LOCK_OF_NOBODY = """spec main
lock used;
lock unused;
thread t { a: acquire used; b: release used; restart; }
invariant free: !held(unused);
"""
INDEX_OF_ONE = """spec main
type Page = symmetric[1];
var v[Page]: 0..2 = 0;
var w[Page]: Page = any;
var o: Page? = null;
var n: 0..2 = 0;
transition up when n < 2 { n += 1; }
transition read when n == 1 { let x = v[o] == 0; n := 2; }
transition read_nothing when n == 1 { let x = w[o] == w[o]; n := 2; }
transition write_nothing when n == 1 { w[o] := w[o]; n := 2; }
transition write when n == 1 { v[o] := 1; n := 2; }
transition put(p: Page) when n == 2 { o := p; n := 0; }
"""
NOT_THREE_TIMES = """spec main
var n: 0..2 = 0;
transition up when !(!(!(n > 1))) { n += 1; }
invariant few: !(!(!(n == 1)));
"""


@pytest.mark.parametrize(
    ("text", "states"), [(LOCK_OF_NOBODY, 2), (INDEX_OF_ONE, 9), (NOT_THREE_TIMES, 3)], ids=["nobody", "one", "not"]
)
def test_found_before(text: str, states: int, cache: Path) -> None:
    assert cache.is_dir()
    files = Bundle({"main.hmm": text})
    spec, systems = built(files)
    c = Case(-1, 0, files, spec, systems, tuple(check(s, FULL) for s in systems))
    assert c.shown[0].states == states
    assert not disagreements(c)

"""k-induction shows what follows from a few states of a run, and nothing else."""

from __future__ import annotations

import pytest

from hmmspec.checker.symbolic.kinduction import KInduction
from tests.symbolic.settling import encoding_of, shown

# Two steps behind each other: what is in `last` was in `first` two steps ago.
PIPELINE = """
var first: bool = false;
var next: bool = false;
var last: bool = false;
transition move { last := next; next := first; }
invariant never_last: !last;
invariant never_next: !next;
invariant never_first: !first;
"""

# Out of reach is a circle of states without `lost`, that leads to it: no depth is enough but for simple paths.
CIRCLE = """
var n: 0..7 = 0;
transition round when n < 2 { n := 1 - n; }
transition away when n in 3..5 { n := if n == 5 then 3 else n + 1; }
transition lose when n == 4 { n := 6; }
invariant found: n != 6;
"""


@pytest.mark.parametrize(
    ("depth", "names", "proved"),
    [
        (1, ["never_first"], {"never_first"}),
        (1, ["never_last"], set()),
        (2, ["never_last"], set()),
        (3, ["never_last"], {"never_last"}),
        (2, ["never_next"], {"never_next"}),
        (1, ["never_last", "never_next"], set()),
        (1, ["never_last", "never_next", "never_first"], {"never_last", "never_next", "never_first"}),
    ],
)
def test_how_many_states_are_enough(depth: int, names: list[str], proved: set[str]) -> None:
    encoding = encoding_of(PIPELINE.replace("{ last", "{ first := first; last"))
    k = KInduction(encoding, lambda: None)
    for _ in range(depth):
        k.longer()
    found = k.show({n: shown(encoding, n) for n in names})
    assert set(found) == proved
    assert all(s.depth == depth for s in found.values())


def test_what_a_proof_uses() -> None:
    encoding = encoding_of(PIPELINE)
    k = KInduction(encoding, lambda: None)
    k.longer()
    found = k.show({n: shown(encoding, n) for n in ("never_last", "never_next", "never_first")})
    assert found["never_last"].uses == ("never_next",)
    assert found["never_next"].uses == ("never_first",)
    assert found["never_first"].uses == ()


def test_what_was_proved_is_assumed() -> None:
    encoding = encoding_of(PIPELINE)
    k = KInduction(encoding, lambda: None)
    k.longer()
    last = {"never_last": shown(encoding, "never_last")}
    assert k.show(last) == {}
    k.proved(shown(encoding, "never_next"))
    assert set(k.show(last)) == {"never_last"}


def test_states_of_a_run_are_different() -> None:
    encoding = encoding_of(CIRCLE)
    k = KInduction(encoding, lambda: None)
    candidates = {"found": shown(encoding, "found")}
    depths = []
    for depth in range(1, 5):
        k.longer()
        if k.show(candidates):
            depths.append(depth)
    # 5, 3, 4 and then 6: only a fourth state before it is one too many.
    assert depths == [4]


def test_where_no_run_is_longer() -> None:
    encoding = encoding_of(
        "var n: 0..9 = 0;\ntransition up when n < 4 { n += 1; }\ntransition from when n > 6 { n := 7; }\n"
    )
    k = KInduction(encoding, lambda: None)
    seen = []
    for _ in range(5):
        k.longer()
        seen.append(k.all_seen())
    assert seen == [False, False, False, False, True]  # four steps from 0 to 4, and no fifth

"""Why a property is false: the part, the values bound, what it reads."""

from __future__ import annotations

import pytest

from hmmspec.diagnostics import Source
from hmmspec.lang.load import load_source
from hmmspec.system import system as S
from hmmspec.system.build import build
from hmmspec.system.explain import Explanation, explain
from hmmspec.system.run import Interpreter

SPEC = """spec t
type Page = symmetric[3];
var pins[p: Page]: 0..3 = 0;
var place[Page]: enum { system, device } = system;
var owner: Page? = null;
define busy(q: Page): bool = pins[q] > 0 || place[q] == device;
define used: int = count(p: Page | place[p] == device);
transition go { choose p: Page; choose q: Page | q != p; pins[p] := 2; place[p] := device; owner := q; }
"""


def blamed(body: str, kind: str = "invariant") -> Explanation | None:
    """The explanation in the state after the first step (or of that step)."""
    system = build(load_source(Source("t.hmm", f"{SPEC}{kind} wanted: {body};")))
    it = Interpreter(system)
    (p,) = system.properties
    assert isinstance(p, (S.Invariant, S.StepProperty))
    s = next(it.initial())
    after = it.expand(s)[0][0][2]  # page0 moves, page1 owns
    return explain(it, p.body, s, after) if kind == "step" else explain(it, p.body, after)


@pytest.mark.parametrize(
    ("body", "conjunct", "bindings"),
    [
        ("forall p: Page { pins[p] < 3 && (place[p] == device => pins[p] == 0) }", "pins[p] == 0", {"p": "page0"}),
        ("forall p, q: Page | p != q { owner == p => owner == q }", "owner == q", {"p": "page1", "q": "page0"}),
        ("used == 0", "used == 0", {}),
        ("forall p: Page { !busy(p) }", "!(pins[q] > 0)", {"p": "page0", "q": "page0"}),
        ("!(exists p: Page { place[p] == device })", "!(place[p] == device)", {"p": "page0"}),
        ("exists p: Page { pins[p] == 3 }", "exists p: Page { pins[p] == 3 }", {}),
        ("if owner == null then true else used > 1", "used > 1", {}),
        ("owner == null || used > 1", "owner == null || used > 1", {}),
        ("forall i: 0..3 { i < used + 1 }", "i < used + 1", {"i": "2"}),
        ("forall p in {p2: Page | busy(p2)} { p == owner }", "p == owner", {"p": "page0"}),
    ],
)
def test_the_smallest_part_that_decides(body: str, conjunct: str, bindings: dict[str, str]) -> None:
    found = blamed(body)
    assert found is not None
    assert found.conjunct == conjunct
    assert dict(found.bindings) == bindings


def test_a_true_predicate_needs_no_explanation() -> None:
    assert blamed("used == 1") is None


def test_parts_are_what_the_conjunct_reads() -> None:
    found = blamed("forall p: Page { place[p] == device => pins[owner] + used > 2 }")
    assert found is not None and found.span is not None
    assert found.span.line == 9
    assert found.parts == (("pins[owner]", "0"), ("owner", "page1"), ("used", "1"))


def test_names_bound_inside_the_part_are_not_read() -> None:
    found = blamed("used == 0 && true || (exists p: Page { pins[p] == 3 })")
    assert found is not None
    assert found.parts == (("used", "1"),)


def test_steps_are_explained_with_both_states() -> None:
    found = blamed("forall p: Page { pins'[p] == pins[p] }", "step")
    assert found is not None
    assert (found.conjunct, found.bindings) == ("pins'[p] == pins[p]", (("p", "page0"),))
    assert found.parts == (("pins'[p]", "2"), ("pins[p]", "0"))

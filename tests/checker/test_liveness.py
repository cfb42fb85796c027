"""`leads_to` under weak and strong fairness: by hand, and against a naive search for fair runs on random graphs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations

import pytest

from hmmspec.checker.verdict import InstanceReport
from tests.checker.helpers import checked, statuses, system_of, verdict


def outcome(text: str, name: str = "live", **options: object) -> str:
    return statuses(checked(system_of(text), **options))[name]


SPIN = """
var x: 0..2 = 0;
transition spin when x == 0 { skip; }
transition go when x == 0 { x := 1; }
transition end when x == 1 { x := 2; }
terminal done: x == 2;
leads_to live: x == 0 ~> x == 2;
"""


@pytest.mark.parametrize(
    ("fairness", "status"),
    [
        ("", "violated"),  # stays in its first state
        ("fair spin;", "violated"),  # spins for ever, or ends in x == 1
        ("fair go;", "violated"),  # stays in x == 1
        ("fair go, end;", "holds"),
        ("strongly fair go, end;", "holds"),
        ("fair end; strongly fair go;", "holds"),
    ],
)
def test_weak_fairness(fairness: str, status: str) -> None:
    assert outcome(SPIN + fairness) == status


BLINK = """
var on: bool = false; var got: bool = false;
transition blink { on := !on; }
transition take when on && !got { got := true; }
leads_to live: !got ~> got;
"""


@pytest.mark.parametrize(
    ("fairness", "status"),
    [
        ("fair blink, take;", "violated"),  # take is never enabled for long
        ("fair blink; strongly fair take;", "holds"),
        ("strongly fair take;", "violated"),  # nobody need ever blink
    ],
)
def test_strong_fairness(fairness: str, status: str) -> None:
    report = checked(system_of(BLINK + fairness))
    assert statuses(report)["live"] == status
    trace = verdict(report, "live").trace
    if fairness.startswith("fair blink, take"):
        assert trace is not None
        assert trace.loop is not None
        assert {s.rule for s in trace.steps[trace.loop :]} == {"blink"}


def test_a_run_that_rests_is_a_lasso_with_an_empty_loop() -> None:
    trace = verdict(checked(system_of(SPIN + "fair go;")), "live").trace
    assert trace is not None
    assert trace.loop == len(trace.steps)
    assert "stays in its last state" in trace.message


def test_a_run_that_ends_stays_in_its_last_state() -> None:
    text = """
    var x: 0..3 = 0;
    transition left when x == 0 { x := 1; }
    transition right when x == 0 { x := 2; }
    fair left, right;
    terminal over: x > 0;
    leads_to live: x == 0 ~> x == 1;
    leads_to either_way: x == 0 ~> x > 0;
    """
    report = checked(system_of(text))
    trace = verdict(report, "live").trace
    assert trace is not None
    assert [s.rule for s in trace.steps] == ["right"]
    assert trace.loop == 1
    assert statuses(report)["either_way"] == "holds"


def test_what_holds_later_or_at_once_is_enough() -> None:
    assert outcome("var x: 0..1 = 0; transition t { skip; } leads_to live: x == 0 ~> x == 0;") == "holds"


PAGES = """
type Page = symmetric[PAGES];
var busy[Page]: bool = false;
transition start(p: Page) when !busy[p] { busy[p] := true; }
transition end(p: Page) when busy[p] { busy[p] := false; }
leads_to live: forall p: Page { busy[p] ~> !busy[p] };
leads_to all_idle: forall p, q: Page { busy[p] && busy[q] && p != q ~> !busy[p] && !busy[q] };
"""


def test_fairness_is_for_each_parameter_value() -> None:
    for pages in (2, 3):
        report = checked(system_of(PAGES.replace("PAGES", str(pages)) + "fair end;"))
        assert statuses(report)["live"] == "holds"
        # One page after the other is busy, never none of the two.
        assert statuses(report)["all_idle"] == "violated"
        assert verdict(report, "live").remark == "on the quotient, permutations of Page tracked"
    assert outcome(PAGES.replace("PAGES", "2")) == "violated"


def test_fairness_is_not_for_what_choose_picks() -> None:
    text = """
    type Page = symmetric[2];
    var busy[Page]: bool = true;
    transition end { choose p: Page; busy[p] := !busy[p]; }
    fair end;
    leads_to live: forall p: Page { busy[p] ~> !busy[p] };
    """
    assert outcome(text) == "violated"


def test_quotient_with_a_fair_cycle_that_the_full_graph_lacks() -> None:
    """Of two pages the other one is always served: up to renaming a loop in which `serve` is taken for ever and some
    page waits; really the page that waits is the next to be served."""
    text = """
    type Page = symmetric[2];
    var next: Page = any; var waits[Page]: bool = true;
    transition serve(p: Page) when next == p { waits[p] := false; choose q: Page | q != p; waits[q] := true; next := q; }
    fair serve;
    leads_to live: forall p: Page { waits[p] ~> !waits[p] };
    """
    for symmetry in (True, False):
        assert outcome(text, symmetry=symmetry) == "holds"


def test_full_graph_with_a_fair_cycle_that_the_quotient_lacks() -> None:
    """The turn goes round and `serve` is never possible for long for any one page; up to renaming it always is."""
    text = """
    type Page = symmetric[2];
    var turn: Page = any; var served: bool = false;
    transition pass_on when !served { choose q: Page | q != turn; turn := q; }
    transition serve(p: Page) when turn == p && !served { served := true; }
    terminal over: served;
    KIND serve; fair pass_on;
    leads_to live: !served ~> served;
    """
    for symmetry in (True, False):
        assert outcome(text.replace("KIND", "fair"), symmetry=symmetry) == "violated"
        assert outcome(text.replace("KIND", "strongly fair"), symmetry=symmetry) == "holds"


def test_a_loop_of_representatives_may_need_two_turns() -> None:
    """Up to renaming a hop is a loop; really it takes the way back too."""
    text = """
    type Page = symmetric[2]; type Cpu = symmetric[2];
    var at: Cpu = any; var asked[Page]: bool = false;
    transition hop { choose c: Cpu | c != at; at := c; }
    transition ask(p: Page) when !asked[p] { asked[p] := true; }
    fair hop;
    leads_to live: forall p: Page { !asked[p] ~> asked[p] };
    """
    report = checked(system_of(text))
    found = verdict(report, "live")
    assert found.remark == "on the quotient, permutations of Page tracked"
    assert (report.orbits, report.states) == (3, 8)
    assert found.trace is not None
    assert found.trace.loop is not None
    assert len(found.trace.steps) - found.trace.loop == 2  # hop, and back


def test_an_error_is_enabled_but_part_of_no_loop() -> None:
    text = """
    var x: 0..1 = 0;
    transition wait when x == 0 { skip; }
    transition break_it when x == 0 { x := 2; }
    fair break_it;
    leads_to live: x == 0 ~> x == 1;
    """
    report = checked(system_of(text))
    # The fair step ends every run that waits: no run waits for ever.
    assert statuses(report) == {"live": "holds", "spec_error": "violated", "deadlock": "holds"}


def test_errors_of_the_sides_are_spec_errors() -> None:
    report = checked(
        system_of("var x: 0..1 = 0; transition t { x := 1 - x; } fair t; leads_to live: 1 / x == 1 ~> x == 0;")
    )
    assert "wherever it can be evaluated" in verdict(report, "live").remark
    assert statuses(report)["spec_error"] == "violated"


def test_binders_over_ranges_and_filters() -> None:
    text = """
    type Slot = 0..3;
    var x: Slot = 0;
    transition up when x < 3 { x += 1; }
    transition again when x == 3 { x := 0; }
    fair up;
    terminal top: x == 3;
    leads_to low: forall i: 0..2 | i > 0 { x < i ~> x == i };
    leads_to live: forall i: Slot { x == i && i > 0 ~> x == 0 };
    """
    report = checked(system_of(text))
    assert statuses(report)["low"] == "holds"
    assert statuses(report)["live"] == "violated"
    trace = verdict(report, "live").trace
    assert trace is not None
    assert trace.blame is not None
    assert trace.blame.bindings == (("i", "1"),)


# ---------------------------------------------------------------- against a naive search

Edge = tuple[int, int, int, int]  # source, target, step, argument


class Graph:
    """A random graph as a spec: steps s0, s1, .. of one argument, some of them fair."""

    def __init__(self, rng: random.Random) -> None:
        self.size = rng.randint(2, 6)
        self.edges: list[Edge] = sorted(
            {
                (rng.randrange(self.size), rng.randrange(self.size), rng.randrange(3), rng.randrange(2))
                for _ in range(rng.randint(1, 9))
            }
        )
        self.fair = [rng.choice(("", "fair", "strongly fair")) for _ in range(3)]
        self.left = {v for v in range(self.size) if rng.random() < 0.5}
        self.right = {v for v in range(self.size) if rng.random() < 0.3}

    def text(self) -> str:
        out = [f"type Node = 0..{self.size - 1}; var at: Node = 0;"]
        for step in range(3):
            ways = [e for e in self.edges if e[2] == step]
            guard = " || ".join(f"(at == {v} && a == {a})" for v, _, _, a in ways) or "false"
            choice = " ".join(f"(at == {v} && a == {a} && to == {w}) ||" for v, w, _, a in ways) + " false"
            out.append(f"transition s{step}(a: 0..1) when {guard} {{ choose to: Node | {choice}; at := to; }}")
            if self.fair[step]:
                out.append(f"{self.fair[step]} s{step};")
        out.append("terminal anywhere: true;")
        p = " || ".join(f"at == {v}" for v in sorted(self.left)) or "false"
        q = " || ".join(f"at == {v}" for v in sorted(self.right)) or "false"
        return "\n".join(out) + f"\nleads_to live: {p} ~> {q};"

    def violated(self) -> bool:
        """Whether some fair run sees the left and from then on never the right side: tries every set of states that a
        run can visit for ever."""
        reachable = self.closure({0}, set(range(self.size)))
        calm = set(range(self.size)) - self.right
        region = sorted(self.closure(reachable & self.left & calm, calm))
        return any(self.fair_for_ever(set(c)) for n in range(1, len(region) + 1) for c in combinations(region, n))

    def closure(self, start: set[int], allowed: set[int]) -> set[int]:
        out = set(start)
        while True:
            more = {w for v, w, _, _ in self.edges if v in out and w in allowed} - out
            if not more:
                return out
            out |= more

    def fair_for_ever(self, states: set[int]) -> bool:
        inside = [e for e in self.edges if e[0] in states and e[1] in states]
        if len(states) > 1 and any(self.closure({v}, states) != states for v in states):
            return False
        taken = {e[2:] for e in inside}
        for unit in {e[2:] for e in self.edges}:
            kind = self.fair[unit[0]]
            enabled = [v for v in states if any(e[0] == v and e[2:] == unit for e in self.edges)]
            ignored = unit not in taken and (
                (kind == "fair" and len(enabled) == len(states)) or (kind == "strongly fair" and enabled)
            )
            if ignored:
                return False
        return True


def graphs(seed: int, count: int) -> Iterator[Graph]:
    rng = random.Random(seed)
    for _ in range(count):
        yield Graph(rng)


@pytest.mark.parametrize("seed", range(8))
def test_as_a_naive_search_says(seed: int) -> None:
    """Every trace is run again too, its loop judged for fairness by the definition (see verify)."""
    seen: dict[str, int] = {"holds": 0, "violated": 0}
    for g in graphs(seed, 25):
        report: InstanceReport = checked(system_of(g.text()))
        expected = "violated" if g.violated() else "holds"
        assert statuses(report)["live"] == expected, g.text()
        seen[expected] += 1
    assert min(seen.values()) > 0

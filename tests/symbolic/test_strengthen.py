"""What makes properties inductive: the spec's own invariants first, then guesses, bold ones and careful ones; and no
guess counts before it is sure."""

from __future__ import annotations

import pytest

from hmmspec.checker.symbolic.everysize import EverySize
from hmmspec.checker.symbolic.grounded import Known
from hmmspec.checker.symbolic.induction import Claim, Induction
from hmmspec.checker.symbolic.open_encoding import OpenEncoding
from hmmspec.checker.symbolic.prover import Goal, Proved, ProveOptions, prove
from hmmspec.checker.symbolic.samples import Instances
from hmmspec.checker.symbolic.strengthen import Strengthener
from hmmspec.checker.verdict import Status
from hmmspec.diagnostics import Source
from hmmspec.lang.load import load_source
from hmmspec.system.build import build_all

LIST = """spec list
param PAGES = 3; type Page = symmetric[PAGES];
var first: Page? = null; var next[Page]: Page? = null; var on[Page]: bool = false;
transition add(p: Page) when !on[p] { next[p] := first; first := p; on[p] := true; }
transition take when first != null {
  choose p: Page | p == first; first := next[p]; next[p] := null; on[p] := false;
}
"""
OF_LISTS = {
    "first_on": "first != null => exists p: Page { first == p && on[p] }",
    "next_on": "forall p, q: Page | next[p] == q { on[p] && on[q] }",
    "no_self": "forall p: Page { next[p] != p }",
    "one_before": "forall p, q, r: Page | next[p] == r && next[q] == r { p == q }",
    "none_before": "forall p: Page | first == p { !(exists q: Page { next[q] == p }) }",
}

# Who goes on needs others, so that of four CPUs two can leave, and of five three.
GATE = """spec gate
param CPUS = 2; type Cpu = symmetric[CPUS]; type Stage = enum { idle, one, two, three, out };
var at[Cpu]: Stage = idle; var left: 0..3 = 0;
transition go_one(c: Cpu) when at[c] == idle { at[c] := one; }
transition go_two(c: Cpu) when at[c] == one && (exists d: Cpu | d != c { at[d] == one }) { at[c] := two; }
transition go_three(c: Cpu) when at[c] == two && (exists d: Cpu | d != c { at[d] == two }) { at[c] := three; }
transition leave(c: Cpu) when at[c] == three && left < 3 { at[c] := out; left += 1; }
invariant few: left < 3;
invariant fewer: left < 2;
invariant in_range: left <= 3;
invariant never_three: !(exists c, d, e: Cpu { c != d && d != e && c != e && at[c] == out && at[d] == out
  && at[e] == out });
invariant never_two: !(exists c, d: Cpu { c != d && at[c] == out && at[d] == out });
"""

LINE = """spec line
param PAGES = 2; type Page = symmetric[PAGES];
var line: queue[2] of Page = []; var waits[Page]: bool = false; var used[Page]: bool = false;
transition put(p: Page) when !waits[p] && size(line) < 2 { push(line, p); waits[p] := true; }
transition get when size(line) > 0 { choose p: Page | p == head(line); pop(line); waits[p] := false; used[p] := true; }
invariant waiting: size(line) > 0 => exists p: Page { p == head(line) && waits[p] };
step stays_used: forall p: Page | used[p] { used'[p] };
"""


def proved(text: str, *names: str, **options: float) -> Proved:
    spec = load_source(Source("some.hmm", text))
    system = build_all(spec)[0]
    every = tuple(t.name for t in system.symmetric)
    return prove(spec, system, Goal(names, every), ProveOptions(**options))  # type: ignore[arg-type]


def statuses(result: Proved) -> dict[str, Status]:
    return {v.property: v.status for v in result.verdicts}


def is_inductive(text: str, result: Proved) -> bool:
    """Asked anew: every step keeps all that is said to be proved."""
    spec = load_source(Source("some.hmm", text))
    system = build_all(spec)[0]
    every = result.goal.every
    induction = Induction(OpenEncoding(system, frozenset(every)), Instances(spec, system, every), seconds=60)
    together = [*result.claims, *result.lemmas]
    steps = induction.encoding.steps
    return all(induction.kept(together, step, together) is True for step in steps) and not any(
        induction.start_breaks(c) for c in together
    )


def invariants(*names: str) -> str:
    return "".join(f"invariant {n}: {OF_LISTS[n]};\n" for n in names)


def test_what_is_inductive_together_needs_no_guess() -> None:
    text = LIST + invariants(*OF_LISTS)
    result = proved(text, *OF_LISTS)
    assert statuses(result) == dict.fromkeys(OF_LISTS, Status.HOLDS)
    assert result.lemmas == ()
    assert is_inductive(text, result)


def test_invariants_of_the_spec_help_one_another() -> None:
    """What nobody asked for is proved where it is needed."""
    result = proved(LIST + invariants(*OF_LISTS), "no_self")
    assert statuses(result) == {"no_self": Status.HOLDS}
    assert result.verdicts[0].proof is not None
    assert result.verdicts[0].proof.uses
    assert result.lemmas == ()


@pytest.mark.parametrize("name", OF_LISTS)
def test_facts_about_lists_are_found(name: str) -> None:
    """A guess that says as much as lists of three pages allow is no invariant that longer ones keep."""
    text = LIST + invariants(name)
    result = proved(text, name)
    assert statuses(result) == {name: Status.HOLDS}
    assert is_inductive(text, result)


def test_what_needs_no_guess_rests_on_none() -> None:
    result = proved(GATE, "few", "in_range", "spec_error", falsify=2, seconds=6)
    assert statuses(result) == {"few": Status.UNKNOWN, "in_range": Status.HOLDS, "spec_error": Status.HOLDS}
    assert result.lemmas == ()


def test_what_is_kept_by_something_false_is_not_proved() -> None:
    """That no two are out is false, of four CPUs; while that is not known, it makes it inductive that no three are."""
    result = proved(GATE, "never_two", "never_three", "fewer", falsify=2, seconds=6)
    assert Status.HOLDS not in statuses(result).values()
    assert is_inductive(GATE, result)


def test_only_what_is_kept_without_the_help_of_anything_false_is_sure() -> None:
    spec = load_source(Source("gate.hmm", GATE))
    system = build_all(spec)[0]
    induction = Induction(OpenEncoding(system, frozenset(["Cpu"])), Instances(spec, system, ("Cpu",)), seconds=60)
    known = [Known("never_two"), Known("never_three"), Known("in_range")]
    # As it is in an instance with one CPU.
    search = Strengthener([], known, [], support=dict.fromkeys(known, ()))

    def claim(k: Known) -> Claim:
        return Claim(k.name, k.expr(system))

    undecided: dict[Known, str] = {}
    every_size = EverySize(induction, search, claim, undecided, until=float("inf"), tell=lambda _: None)
    found = every_size.confirm(known)
    assert search.sure == {known[2]}
    assert undecided == {known[0]: "leave may break it", known[1]: "leave may break it"}
    assert found
    assert every_size.closed([known[2]]) == [known[2]]


def test_what_needs_four_is_found() -> None:
    result = proved(GATE, "fewer", "in_range")
    assert statuses(result) == {"fewer": Status.VIOLATED, "in_range": Status.HOLDS}
    fewer = result.verdicts[0]
    assert fewer.proof is not None
    assert fewer.proof.sizes == (("CPUS", "4"),)
    assert fewer.trace is not None
    assert len(fewer.trace.steps) == 11


def test_what_depends_on_the_elements_of_a_queue_says_so() -> None:
    (waiting,) = proved(LINE, "waiting").verdicts
    assert waiting.status is Status.UNKNOWN
    assert waiting.proof is not None
    assert "it depends on what is in line" in waiting.proof.reason


def test_what_was_proved_stays_so_when_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_time(_search: Strengthener, _widened: bool) -> None:
        raise TimeoutError

    monkeypatch.setattr(Strengthener, "begin_anew", no_time)
    monkeypatch.setattr(Strengthener, "reopen", lambda search: search.enter())
    result = proved(LINE, "waiting", "stays_used", "spec_error")
    assert statuses(result) == {
        "waiting": Status.UNKNOWN,
        "stays_used": Status.HOLDS,
        "spec_error": Status.HOLDS,
    }

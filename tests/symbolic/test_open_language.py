"""What can be said of types without bounds, what is left out, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.checker.symbolic.induction import Claim, Induction
from hmmspec.checker.symbolic.open_encoding import OpenEncoding, cycle_of
from hmmspec.checker.symbolic.open_kinds import NotFirstOrder
from hmmspec.checker.symbolic.samples import Instances
from hmmspec.diagnostics import Source
from hmmspec.lang.load import load, load_source
from hmmspec.system.build import build_all
from hmmspec.system.system import Invariant, StepProperty

ROOT = Path(__file__).resolve().parents[2]

HEAD = """spec counts
param PAGES = 2;
param FRAMES = 2;
type Page = symmetric[PAGES];
var used[Page]: bool = false;
var owner[Page]: Page? = null;
var total: 0..9 = 0;
define users: int = count(p: Page | used[p]);
"""


def opened(text: str, every: tuple[str, ...] = ("Page",)) -> OpenEncoding:
    (system,) = build_all(load_source(Source("text.hmm", HEAD + text)))
    return OpenEncoding(system, frozenset(every))


def kept(text: str, every: tuple[str, ...] = ("Page",)) -> dict[str, bool]:
    """For each invariant and step property: whether the start has it and every step keeps it."""
    spec = load_source(Source("text.hmm", HEAD + text))
    (system,) = build_all(spec)
    induction = Induction(OpenEncoding(system, frozenset(every)), Instances(spec, system, every), seconds=20)
    out: dict[str, bool] = {}
    for p in system.properties:
        if isinstance(p, Invariant | StepProperty):
            claim = Claim(p.name, p.body, isinstance(p, StepProperty))
            out[p.name] = induction.start_breaks(claim) is False and all(
                induction.kept([claim], step, [claim]) is True for step in induction.encoding.steps
            )
    return out


# ---------------------------------------------------------------- counting


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_counts_up_to_four_are_said(n: int) -> None:
    """Exactly as many as the guard lets in, by every comparison."""
    found = kept(f"""
transition take(p: Page) when !used[p] && users < {n} {{ used[p] := true; }}
invariant at_most: users <= {n};
invariant also: !(users > {n});
invariant turned: {n} >= count(p in {{q: Page | used[q]}});
invariant sized: size({{p: Page | used[p]}}) <= {n};
invariant fewer: {n} == 0 || users < {n};
step one: {n} < 4 => (users == {n} => users' == {n});
""")
    assert found == {"at_most": True, "also": True, "turned": True, "sized": True, "fewer": n == 0, "one": True}


def test_sums_of_counts_are_said() -> None:
    found = kept("""
define room: int = FRAMES - users;
define owned: 0..2 = count(p: Page | owner[p] != null);
transition take(p: Page) when !used[p] && room > 0 { used[p] := true; }
transition own(p: Page) when used[p] && owner[p] == null && users + owned < 3 { owner[p] := p; }
invariant fits: users + 1 <= FRAMES + 1 && -users >= -2;
invariant together: users + owned <= 3;
invariant less: users + owned <= 2;
invariant both_: (forall p: Page | owner[p] != null { used[p] }) && users + owned <= 3 && users <= 2;
""")
    assert found == {"fits": True, "together": False, "less": False, "both_": True}


def test_a_count_outside_its_range_is_an_error() -> None:
    encoding = opened("define few: 0..2 = users; transition t when few == 1 { total := 1; }")
    assert [x.name for x in encoding.steps[0].findings] == ["spec_error"]
    # What depends on the count is not left out where that would hide an error.
    for guard in ("few == 1", "3 / users == 1 && total == users", "next[users] == 1"):
        with pytest.raises(NotFirstOrder, match="counts identities"):
            opened(f"define few: 0..9 = users; var next[0..9]: 0..1 = 0; transition t when {guard} {{ total := 1; }}")


def test_what_counts_beyond_is_left_out_of_guards() -> None:
    encoding = opened("""
define room: bool = users < 7 && total < 3;
transition take(p: Page) when !used[p] && room { used[p] := true; total += 1; }
transition all when users + 1 == total { total := 0; }
transition few when total > 3 && users <= 4 { total := 0; }
transition each when forall p: Page | size({q: Page | owner[q] == p}) < total { users > 9 || total > 2 } { total := 0; }
thread t { wait: await users < total && total > 1; total := 1; restart; }
assume small: users < 9 && total < 9;
""")
    assert encoding.left_out == (
        "assume small: users < 9",
        "take: users < 7",
        "all: users + 1 == total",
        "each: forall p: Page | size({q: Page | owner[q] == p}) < total { users > 9 || total > 2 }",
        "t.wait: users < total",
    )
    # What stands beside it stays.
    found = kept("""
define room: bool = users < 7 && total < 3;
transition take(p: Page) when !used[p] && room { used[p] := true; total += 1; }
invariant bounded: total <= 3;
invariant counted: total <= 2;
""")
    assert found == {"bounded": True, "counted": False}


def test_an_error_in_what_is_left_out_is_not() -> None:
    encoding = opened("transition take(p: Page) when count(q: Page | used[owner[q]]) < 7 && used[p] { total := 1; }")
    (step,) = encoding.steps
    assert encoding.left_out
    assert [x.name for x in step.findings] == ["spec_error"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("invariant few: users <= 7;", "`users <= 7` counts identities of a type without bounds; write with `forall`"),
        ("invariant few: total == sum(1 for p: Page);", r"`sum\(1 for p: Page\)` adds up over identities"),
        ("invariant few: users < total;", "compare a count with a number up to 4"),
    ],
)
def test_properties_that_count_are_refused(text: str, words: str) -> None:
    encoding = opened(text)
    (p,) = encoding.system.properties
    assert isinstance(p, Invariant)
    with pytest.raises(NotFirstOrder, match=words):
        encoding.before(p.body)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("transition t { total := users; }", "counts identities"),
        ("transition t { if (users > 5) { total := 0; } }", "counts identities"),
        ("transition t { choose p: Page | users > 5; used[p] := true; }", "counts identities"),
        ("transition t { for p: Page { used[p] := owner[p] == null; total := 1; } }", "writes total elsewhere"),
    ],
)
def test_steps_that_cannot_be_said_are_refused(text: str, words: str) -> None:
    one = HEAD.replace("PAGES = 2", "PAGES = 1")  # where the order of passes does not show
    (system,) = build_all(load_source(Source("text.hmm", one + text)))
    with pytest.raises(NotFirstOrder, match=words):
        OpenEncoding(system, frozenset({"Page"}))


def test_extremes_are_said() -> None:
    found = kept("""
var level[Page]: 0..3 = 0;
transition up(p: Page) when level[p] < 3 { level[p] += 1; total := max(level[q] for q: Page); }
invariant highest: total >= max(level[p] for p: Page);
invariant lowest: total <= min(level[p] for p: Page);
invariant any_: max(level[p] for p: Page) <= 3;
""")
    assert found == {"highest": True, "lowest": False, "any_": True}


# ---------------------------------------------------------------- cycles


def test_a_cycle_of_sorts_is_named() -> None:
    encoding = opened(
        """
type Frame = symmetric[2];
var frame[Page]: Frame = any;
var home[Frame]: Page = any;
var back[Frame]: Page? = null;
""",
        ("Page", "Frame"),
    )
    assert set(encoding.cycle) == {"frame", "home"}
    assert opened("var next[Page]: Page = any;").cycle == ("next",)
    assert opened("var next[Page]: Page? = any;").cycle == ()
    assert cycle_of([("a", ("X",), "Y"), ("b", ("Y",), "Z"), ("c", ("Z", "Y"), "X")]) in (("a", "b", "c"), ("a", "c"))
    assert cycle_of([("a", ("X",), "Y"), ("b", ("X", "Z"), "Y")]) == ()


def test_optional_records_have_no_cycle() -> None:
    """What a record of an optional holds must be there only where the record is."""
    found = kept("""
type Slot = record { page: Page; dirty: bool; };
var slot[Page]: Slot? = null;
transition fill(p: Page, q: Page) when slot[p] == null && used[q] { slot[p] := Slot(page = q, dirty = false); }
transition clear(p: Page) { slot[p] := null; }
transition write(p: Page) when slot[p] != null { slot[p] := Slot(page = slot[p].page, dirty = true); }
transition use(p: Page) { used[p] := true; }
invariant used_: forall p: Page | slot[p] != null { used[slot[p].page] };
invariant clean: forall p: Page | slot[p] != null { !slot[p].dirty };
""")
    assert found == {"used_": True, "clean": False}


@pytest.mark.parametrize("path", sorted((ROOT / "specs").glob("*.hmm")), ids=lambda p: p.stem)
def test_specs_need_neither(path: Path) -> None:
    for system in build_all(load(str(path)))[:1]:
        for goal in system.proofs:
            encoding = OpenEncoding(system, frozenset(goal.every))
            assert (encoding.left_out, encoding.cycle) == ((), ())

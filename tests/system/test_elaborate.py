"""What machines, threads, procedures and locks become: checked by the states they reach, counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.diagnostics import SpecError
from hmmspec.lang.load import load
from hmmspec.system.build import build, build_all, build_with_warnings
from hmmspec.system.run import Interpreter
from hmmspec.system.system import Invariant, LeadsTo, System


@pytest.fixture
def spec(tmp_path: Path):
    def make(text: str, **params: int) -> System:
        path = tmp_path / "s.hmm"
        path.write_text("spec s\n" + text)
        return build(load(str(path)), params)

    return make


def reach(system: System) -> tuple[list[dict[str, str]], int, list[str]]:
    """All reachable states as shown cells, the number of transitions, and the names of the faults met."""
    interp = Interpreter(system)
    seen = dict.fromkeys(interp.initial())
    todo, transitions, faults = list(seen), 0, []
    while todo:
        s = todo.pop()
        steps, bad = interp.expand(s)
        transitions += len(steps) + len(bad)
        faults += [fault.name for _, _, fault in bad]
        for _, _, t in steps:
            if t not in seen:
                seen[t] = None
                todo.append(t)
    return [interp.cells(s) for s in seen], transitions, sorted(set(faults))


def codes(make, text: str) -> set[str]:
    with pytest.raises(SpecError) as e:
        make(text)
    return {d.code for d in e.value.diagnostics}


# ---------------------------------------------------------------- threads


def test_labels_cut_a_body_into_steps(spec) -> None:
    states, transitions, _ = reach(spec("var x: 0..2 = 0; thread t { a: x := 1; x := 2; b: x := 0; stop; }"))
    assert [s["t"] for s in states] == ["a", "b", "stopped"]
    assert transitions == 2


def test_a_body_without_a_label_begins_with_start(spec) -> None:
    states, _, _ = reach(spec("var x: bool = false; thread t { x := true; }"))
    assert {s["t"] for s in states} == {"start", "stopped"}


def test_labels_with_nothing_between_are_one(spec) -> None:
    s = spec("var x: bool = false; thread t { a: b: x := !x; goto a; } invariant same: t == a <=> t == b;")
    assert s.threads[0].labels == ("b", "stopped")
    assert len(reach(s)[0]) == 2
    (same,) = (p for p in s.properties if isinstance(p, Invariant))
    interp = Interpreter(s)
    assert all(interp.predicate(same.body)(t) for t in interp.initial())


def test_what_follows_a_wait_is_atomic_with_it(spec) -> None:
    states, _, _ = reach(
        spec(
            "var go: bool = false; var x: 0..1 = 0; transition g when !go { go := true; } thread t { a: await go; x := 1; }"
        )
    )
    assert {(s["go"], s["x"], s["t"]) for s in states} == {
        ("false", "0", "a"),
        ("true", "0", "a"),
        ("true", "1", "stopped"),
    }


def test_the_test_of_a_while_belongs_to_the_step_that_arrives(spec) -> None:
    # a (x=0) -> b (x=0) -> b (x=1) -> b (x=2)? no: after x reaches 2 the arriving step leaves the loop and stops.
    states, transitions, _ = reach(spec("var x: 0..2 = 0; thread t { a: skip; while (x < 2) { b: x += 1; } stop; }"))
    assert {(s["t"], s["x"]) for s in states} == {("a", "0"), ("b", "0"), ("b", "1"), ("stopped", "2")}
    assert transitions == 3


def test_an_argument_is_chosen_by_the_first_step_and_null_before(spec) -> None:
    text = """
    type Page = symmetric[2]; var done[Page]: bool = false;
    thread t(p: Page) { a: await !done[p]; b: done[p] := true; restart; }
    """
    states, _, _ = reach(spec(text))
    assert {s["t.p"] for s in states if s["t"] == "a"} == {"null"}
    assert {s["t.p"] for s in states if s["t"] == "b"} == {"page0", "page1"}
    assert len(states) == 4 + 4  # at a: any set of pages done; at b: 2 pages x the other done or not


def test_locals_go_back_at_restart(spec) -> None:
    states, _, _ = reach(spec("thread t { var n: 0..1 = 0; a: n := 1; b: restart; }"))
    assert {(s["t"], s["t.n"]) for s in states} == {("a", "0"), ("b", "1")}


def test_runs_when_guards_every_step(spec) -> None:
    text = "var on: bool = false; transition go when !on { on := true; } thread t[c: 0..1] runs when on { a: skip; b: stop; }"
    states, _, _ = reach(spec(text))
    assert len(states) == 1 + 9


def test_parameters_cut_off_what_they_switch_off(spec) -> None:
    text = "param FIX: bool = false; var x: bool = false; thread t { a: if (FIX) { b: x := true; } c: stop; }"
    assert [r.name for r in spec(text).rules] == ["t.a", "t.c"]
    assert [r.name for r in spec(text, FIX=True).rules] == ["t.a", "t.b", "t.c"]


# ---------------------------------------------------------------- procedures


PROCEDURE = """
var x: 0..3 = 0;
procedure add(n: 0..3): 0..3 { var old: 0..3 = 0; get: old := x; put: x := old + n; return old; }
"""


def test_a_call_right_at_a_label_has_no_step_of_its_own(spec) -> None:
    states, _, _ = reach(spec(PROCEDURE + "thread t { a: call add(2); stop; }"))
    # a (is get), put, stopped; inside, the thread keeps the caller's label.
    assert [(s["t"], s["x"]) for s in states] == [("a", "0"), ("a", "0"), ("stopped", "2")]


def test_a_call_behind_other_statements_begins_a_step(spec) -> None:
    states, _, _ = reach(spec(PROCEDURE + "thread t { a: x := 1; call add(2); stop; }"))
    assert len(states) == 4
    assert [s["t"] for s in states] == ["a", "a", "a", "stopped"]


def test_the_result_goes_to_the_caller_and_locals_go_back(spec) -> None:
    states, _, _ = reach(
        spec(PROCEDURE + "thread t { var r: 0..3 = 0; a: r := call add(1); b: r := call add(1); c: stop; }")
    )
    assert [s["t.r"] for s in states if s["t"] == "c"] == ["1"]
    assert {s["t.add.old"] for s in states if s["t"] == "c"} == {"0"}


def test_procedures_within_procedures_and_twice(spec) -> None:
    text = PROCEDURE + "procedure twice() { call add(1); call add(1); } thread t { a: call twice(); b: stop; }"
    states, _, _ = reach(spec(text))
    assert {s["x"] for s in states if s["t"] == "b"} == {"2"}
    # a = twice.start = add.get; add.put; second add.get; its add.put; b; stopped
    assert len(states) == 6


def test_a_loop_over_a_call_needs_no_label_of_its_own(spec) -> None:
    states, _, _ = reach(spec(PROCEDURE + "thread t { a: skip; while (x < 2) { call add(1); } stop; }"))
    assert max(int(s["x"]) for s in states) == 2


def test_return_from_the_middle(spec) -> None:
    text = """
    var n: 0..2 = 0;
    procedure f(): bool { a: if (n == 0) { return true; } b: n := 2; return false; }
    thread t { var r: bool = false; s: r := call f(); e: stop; }
    """
    states, _, _ = reach(spec(text))
    assert [(s["t.r"], s["n"]) for s in states if s["t"] == "e"] == [("true", "0")]


# ---------------------------------------------------------------- locks


def test_trylock_takes_or_not_and_never_waits(spec) -> None:
    text = (
        """
    type C = symmetric[2]; lock l; var in: 0..2 = 0;
    thread t[c: C] { a: if (!trylock l) { stop; } in += 1; b: in -= 1; release l; stop; }
    """.replace("in:", "inside:")
        .replace("in +=", "inside +=")
        .replace("in -=", "inside -=")
    )
    states, _, faults = reach(spec(text))
    assert faults == [] and max(int(s["inside"]) for s in states) == 1
    # each at a, b, stopped; never both at b: 9 - 1
    assert len(states) == 8


@pytest.mark.parametrize(
    ("condition", "taken_when_x", "then_when_x"),
    [
        ("x && trylock l", True, True),
        ("!x || trylock l", True, True),
        ("x || !trylock l", False, True),
        ("!(x && trylock l)", True, False),
        ("!x && !trylock l", False, None),
    ],
)
def test_trylock_last_in_a_condition(spec, condition: str, taken_when_x: bool, then_when_x: bool | None) -> None:
    """The lock is tried only if the condition comes to it, and taken only if it is free."""
    text = f"var x: bool = any; lock l; var then: bool? = null; thread t {{ a: if ({condition}) {{ branch := true; }} else {{ branch := false; }} b: await false; c: release l; stop; }}"
    s = spec(text.replace("var then:", "var branch:"))
    ends = [c for c in reach(s)[0] if c["t"] == "b"]
    taken = {c["x"]: c["l"] != "free" for c in ends}
    assert taken[str(taken_when_x).lower()] is True
    assert taken[str(not taken_when_x).lower()] is False
    if then_when_x is not None:
        assert {c["x"]: c["branch"] for c in ends}["true"] == str(then_when_x).lower()


def test_misuse_of_locks_is_found(spec) -> None:
    assert reach(spec("lock l; thread t { a: acquire l; b: acquire l; c: release l; stop; }"))[2] == ["double_acquire"]
    assert reach(spec("lock l; thread t { a: release l; b: acquire l; c: release l; stop; }"))[2] == ["foreign_release"]
    assert reach(spec("lock l; thread t { a: acquire l; b: stop; }"))[2] == ["held_at_stop"]
    assert reach(spec("lock l[0..1]; thread t { a: acquire l[1]; b: restart; }"))[2] == ["held_at_stop"]
    assert reach(spec("rwlock m; thread t { a: acquire read m; b: acquire m; c: release m; stop; }"))[2] == [
        "double_acquire"
    ]


def test_readers_share_and_writers_do_not(spec) -> None:
    text = """
    rwlock m;
    thread r[i: 0..1] { a: acquire read m; b: release m; stop; }
    thread w { a: acquire m; b: release m; stop; }
    invariant excluded: w == b => forall i: 0..1 { r[i] != b };
    reachable both: forall i: 0..1 { r[i] == b };
    """
    s = spec(text)
    states, _, _ = reach(s)
    # readers anywhere of 3 x 3 with the writer at a or stopped; writer at b: readers at a or stopped
    assert len(states) == 9 * 2 + 4


def test_held_and_mine(spec) -> None:
    text = """
    rwlock m; lock l;
    thread t { a: acquire read m; b: acquire l; assert modes: mine read(m) && !mine(m) && held read(m) && !held(m) && !mine(l) || mine(l);
               c: release l; d: release m; stop; }
    """
    assert reach(spec(text))[2] == []


# ---------------------------------------------------------------- machines, fairness, leads_to


def test_an_arrow_moves_last(spec) -> None:
    text = "var seen: bool = false; machine m { states a, b; initial a; a -> b by go { seen := m == a; } }"
    assert {s["seen"] for s in reach(spec(text))[0]} == {"false", "true"}


def test_fair_units(spec) -> None:
    text = """
    type C = symmetric[2]; lock l; var x[C]: bool = false;
    transition flip(c: C, v: bool) { x[c] := v; }
    thread t[c: C](b: bool) { a: acquire l; b1: release l; restart; }
    fair flip, t; strongly fair t.b1;
    """
    s = spec(text)
    units = [(f.name, f.strong, f.prefix, len(f.rules)) for f in s.fairness]
    # A fair thread: one weak unit for each thread, whatever its argument; its acquire is strongly fair.
    assert units == [("flip", False, 2, 1), ("t", False, 1, 2), ("t.a", True, 1, 1), ("t.b1", True, 1, 1)]


def test_leads_to_filters(spec) -> None:
    text = """
    var x[0..1]: bool = false; transition t(i: 0..1) { x[i] := !x[i]; }
    leads_to l: forall i, j: 0..1 | i != j { forall k: 0..0 | x[k] { x[i] ~> x[j] } };
    """
    (p,) = (p for p in spec(text).properties if isinstance(p, LeadsTo))
    assert [b.name for b in p.binders] == ["i", "j", "k"]
    assert p.filter is not None  # i != j is fixed; x[k] is asked when the left side is


# ---------------------------------------------------------------- values and types


def test_unions_compare_across_members_without_faults(spec) -> None:
    text = """
    type Cpu = symmetric[2]; type Device = symmetric[1]; type Owner = 0..3 | Cpu | Device | enum { nobody };
    var o: Owner = nobody;
    transition cpu(c: Cpu) { o := c; } transition device(d: Device) { o := d; } transition number(n: 0..3) { o := n; }
    invariant tests: (o in Cpu => o != nobody && o != 3) && (o == 3 => !(o in Device)) && (o == 7 => false);
    """
    s = spec(text)
    states, _, faults = reach(s)
    assert len(states) == 1 + 2 + 1 + 4 and faults == []
    interp = Interpreter(s)
    (p,) = s.properties
    assert isinstance(p, Invariant)
    seen, todo = set(), list(interp.initial())
    while todo:
        t = todo.pop()
        if t not in seen:
            seen.add(t)
            assert interp.predicate(p.body)(t)
            todo += [n for _, _, n in interp.expand(t)[0]]


def test_first_values_may_use_their_index(spec) -> None:
    (cells,) = reach(
        spec(
            "var x[i: 0..2]: 0..4 = 2 * i; var y[b: bool][i: 0..1]: 0..1 = if b then i else 0; transition t when false { x[0] := 0; }"
        )
    )[0]
    assert [cells[f"x[{i}]"] for i in range(3)] == ["0", "2", "4"]
    assert cells["y[true][1]"] == "1" and cells["y[false][1]"] == "0"


def test_any_gives_every_value(spec) -> None:
    assert (
        len(
            reach(
                spec(
                    "var x[0..1]: 0..2 = any; machine m[0..1] { states a, b, c; initial {a, c}; a -> b by go when false; }"
                )
            )[0]
        )
        == 9 * 4
    )


def test_params_settle_in_any_order(spec) -> None:
    s = spec("param B = A + 1; param A = 2; var x: 0..B = 0; transition t when x < B { x += 1; }", A=4)
    assert {n: v for n, v, _ in s.params} == {"B": 5, "A": 4}
    assert len(reach(s)[0]) == 6


# ---------------------------------------------------------------- several mistakes in one run


def test_several_mistakes_are_reported_together(spec) -> None:
    text = "var x: bool = 3; transition t { y := 1; x := null; } invariant a: x + 1 == 2; invariant b: nothing;"
    assert codes(spec, text) == {"HMM020", "HMM030", "HMM031"}


def test_waits_after_returned_values_need_a_label(spec) -> None:
    text = "lock l; var x: bool = false; procedure f(): bool { a: return true; } thread t { s: x := call f(); acquire l; release l; stop; }"
    assert codes(spec, text) == {"HMM044"}


def test_for_over_a_symmetric_type(spec) -> None:
    head = "type P = symmetric[2]; var x[P]: 0..3 = 0; var n: 0..3 = 0; define busy(p: P): bool = x[p] > 0; define some: bool = exists q: P { x[q] > 0 }; "
    ok = head + "transition t { for p: P | busy(p) { x[p] := n; } } invariant i: some => n < 3;"
    assert len(spec(ok).rules) == 1
    assert codes(spec, head + "transition t { for p: P { n := x[p]; } } invariant i: some || busy(null);") >= {"HMM051"}
    assert codes(spec, head + "transition t { for p: P { if (some) { x[p] := 1; } } } ") == {"HMM051"}
    assert codes(spec, head + "transition t { for p: P { choose q: P; x[q] := 1; } } ") == {"HMM051"}


def test_instances_and_expectations(tmp_path: Path) -> None:
    path = tmp_path / "s.hmm"
    path.write_text(
        "spec s param N = 1; var x: 0..N = 0; transition t when x < N { x += 1; } define unused: bool = x == 0;"
        "invariant low: x < 2; instance one { } instance two { N = 2; }"
        "expect two violates low; expect one has 2 states;"
    )
    one, two = build_all(load(str(path)))
    assert one.expectation.states == 2 and one.expectation.violates is None
    assert two.expectation.violates == {"low"}
    (built, _) = build_with_warnings(load(str(path)))
    assert [w.code for w in built.warnings] == ["HMM097"]
    with pytest.raises(SpecError, match="has no instance"):
        build_all(load(str(path)), ["three"])

"""Every kind of property and finding, violated and not; every trace is a real run that shows it (see helpers)."""

from __future__ import annotations

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import Level, Status
from tests.checker.helpers import checked, statuses, system_of, verdict

COUNTER = """
var x: 0..4 = 0;
transition up when x < 4 { x += 1; }
transition back when x == 4 { x := 0; }
"""


def test_counts_of_a_ring() -> None:
    report = checked(system_of(COUNTER))
    assert (report.states, report.orbits, report.transitions, report.depth) == (5, None, 5, 4)
    assert [(c.rule, c.fired) for c in report.coverage] == [("up", 4), ("back", 1)]
    assert statuses(report) == {"spec_error": "holds", "deadlock": "holds"}
    assert report.exit_code == 0


def test_transitions_count_once_per_step_arguments_and_next_state() -> None:
    text = """
    var x: 0..2 = 0;
    transition same(b: bool) when x == 0 { either { x := 1; } or { x := 1; } or { x := 2; } }
    transition rest { skip; }
    """
    # From 0: two arguments, each to 1 and to 2; and `rest` in each of three states, a step to the same state.
    assert checked(system_of(text)).transitions == 4 + 3


def test_shortest_trace_of_an_invariant() -> None:
    report = checked(system_of(COUNTER + 'invariant low "stays low": x != 3;'))
    found = verdict(report, "low")
    assert (found.status, found.level, found.expected) == (Status.VIOLATED, Level.VIOLATED_SHORTEST, False)
    assert found.trace is not None
    assert found.trace.length == 3
    assert [c.after for s in found.trace.steps for c in s.changes] == ["1", "2", "3"]
    assert report.exit_code == 1
    assert report.states == 5  # a violated invariant does not stop the search


def test_step_property_looks_at_steps_to_known_states() -> None:
    report = checked(system_of(COUNTER + "step only_up: x' >= x;"))
    found = verdict(report, "only_up")
    assert found.status is Status.VIOLATED
    assert found.trace is not None
    assert found.trace.length == 5
    assert found.trace.steps[-1].rule == "back"


def test_reachable_with_witness_and_without() -> None:
    report = checked(system_of(COUNTER + "reachable top: x == 4; reachable beyond: x == 3 && x == 4;"))
    top, beyond = verdict(report, "top"), verdict(report, "beyond")
    assert top.status is Status.HOLDS
    assert top.witness is not None
    assert top.witness.length == 4
    assert (beyond.status, beyond.trace) == (Status.VIOLATED, None)


def test_assert_and_other_runs_go_on() -> None:
    text = """
    var x: 0..4 = 0;
    transition up when x < 4 { assert below "stays below 3": x < 3; x += 1; }
    transition jump when x == 0 { x := 4; }
    terminal top: x == 4;
    """
    report = checked(system_of(text))
    found = verdict(report, "below")
    assert found.trace is not None
    assert found.trace.final is not None
    assert (found.trace.length, found.trace.final.rule) == (4, "up")
    assert (report.states, report.transitions) == (5, 5)  # 0 1 2 3 4; the failing step is one, and adds no state
    assert statuses(report)["deadlock"] == "holds"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("x := x + 3;", "outside"),
        ("x := 6 / x;", "division"),
        ("last := null; at[last] := true;", "null"),
        ("pop(q);", "empty queue"),
        ("push(q, true); push(q, true);", "full queue"),
    ],
)
def test_spec_error_of_a_step(body: str, kind: str) -> None:
    text = f"""
    type Page = symmetric[2];
    var x: 0..2 = 0; var last: Page? = null; var at[Page]: bool = false; var q: queue[1] of bool = [];
    transition go {{ {body} }}
    """
    report = checked(system_of(text))
    found = verdict(report, "spec_error")
    assert found.trace is not None
    assert kind in found.trace.message
    assert report.exit_code == 1


def test_spec_error_of_a_property() -> None:
    report = checked(system_of(COUNTER + "invariant odd: 12 / (x - 2) != 99; invariant fine: x < 5;"))
    assert statuses(report) == {"odd": "holds", "fine": "holds", "spec_error": "violated", "deadlock": "holds"}
    assert "wherever it can be evaluated" in verdict(report, "odd").remark
    assert verdict(report, "fine").remark == ""
    assert report.exit_code == 1
    trace = verdict(report, "spec_error").trace
    assert trace is not None
    assert trace.length == 2
    assert "division" in trace.message and "odd" in trace.message


def test_spec_error_of_the_start() -> None:
    report = checked(system_of("param N = 0; var x: 0..3 = 3 / N; transition t { skip; } invariant i: x < 4;"))
    assert statuses(report) == {"i": "holds", "spec_error": "violated", "deadlock": "holds"}
    assert "no run to judge" in verdict(report, "i").remark
    assert report.states == 0
    assert report.exit_code == 1


def test_recoverable() -> None:
    text = """
    var x: 0..5 = 0;
    transition up when x < 2 { x += 1; }
    transition down when x in {1, 2} { x -= 1; }
    transition fall when x == 2 { x := 4; }
    transition roll when x == 4 { x := 5; }
    transition back when x == 5 { x := 4; }
    recoverable home: x == 0;
    recoverable anywhere: x >= 0;
    """
    report = checked(system_of(text))
    found = verdict(report, "home")
    assert found.trace is not None
    assert found.trace.length == 3  # the first state of no return is 4
    assert statuses(report)["anywhere"] == "holds"


def test_recoverable_under_symmetry() -> None:
    text = """
    type Page = symmetric[3];
    var lost[Page]: bool = false; var used[Page]: bool = false;
    transition use(p: Page) when !lost[p] { used[p] := !used[p]; }
    transition lose(p: Page) when used[p] { lost[p] := true; }
    recoverable all_idle: forall p: Page { !used[p] };
    """
    for symmetry in (True, False):
        found = verdict(checked(system_of(text), symmetry=symmetry), "all_idle")
        assert found.trace is not None
        assert found.trace.length == 2


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ("", "violated"),
        ("terminal top: x == 2;", "holds"),
        ("terminal other: x == 1;", "violated"),
        ("transition wrong when x == 2 { x += 1; }", "holds"),  # a step that errs counts as enabled
    ],
)
def test_deadlock(more: str, status: str) -> None:
    report = checked(system_of(f"var x: 0..2 = 0; transition up when x < 2 {{ x += 1; }} {more}"))
    assert statuses(report)["deadlock"] == status


def test_threads_may_all_stop() -> None:
    one = "thread a { x: skip; y: skip; }"
    assert statuses(checked(system_of(one)))["deadlock"] == "holds"
    assert statuses(checked(system_of(one + "thread b { w: await a == x; }")))["deadlock"] == "violated"
    # With a terminal, that alone decides.
    assert statuses(checked(system_of(one + "var t: bool = false; terminal never: t;")))["deadlock"] == "violated"


def test_stuck_only_by_an_assume_is_a_warning() -> None:
    report = checked(system_of("var x: 0..4 = 0; transition up when x < 4 { x += 1; } assume small: x < 3;"))
    found = verdict(report, "deadlock")
    assert found.status is Status.WARNING
    assert found.trace is not None
    assert found.trace.length == 2
    assert "assume" in found.remark
    assert report.exit_code == 0
    assert report.assumes[0][0] == "small"


LOCKS = """
type Cpu = symmetric[2];
lock ptl;
thread fault[c: Cpu] { take: acquire ptl; work: skip; done: BODY }
"""


@pytest.mark.parametrize(
    ("body", "finding"),
    [
        ("release ptl;", None),
        ("acquire ptl;", "double_acquire"),
        ("release ptl; again: release ptl;", "foreign_release"),
        ("skip;", "held_at_stop"),
        ("restart;", "held_at_stop"),
    ],
)
def test_lock_misuse(body: str, finding: str | None) -> None:
    report = checked(system_of(LOCKS.replace("BODY", body)))
    violated = {name for name, status in statuses(report).items() if status == "violated"}
    assert violated == ({finding} if finding else set())


def test_expectations() -> None:
    text = (
        COUNTER
        + "invariant low: x != 3; invariant fine: x < 5; expect default violates low; expect default has 5 states;"
    )
    report = checked(system_of(text))
    assert verdict(report, "low").expected
    assert (report.problems, report.exit_code) == ((), 0)
    # Not judged: the violation counts.
    assert checked(system_of(text), expectations=False).exit_code == 1
    wrong = checked(system_of(text.replace("violates low", "violates low, fine").replace("5 states", "6 states")))
    assert wrong.problems == ("expected fine to be violated, but it is not", "expected 6 states, found 5")
    assert not verdict(wrong, "fine").expected
    assert wrong.exit_code == 1


def test_expected_orbits_are_counted_even_where_nothing_is_reduced() -> None:
    text = """
    type Page = symmetric[3];
    var on[Page]: bool = false;
    transition flip(p: Page) { on[p] := !on[p]; }
    fair flip;
    leads_to goes_on: forall p: Page { !on[p] ~> on[p] };
    expect default has 8 states; expect default has 4 orbits;
    """
    assert checked(system_of(text)).exit_code == 0
    assert "expected 5 orbits, found 4" in checked(system_of(text.replace("4 orbits", "5 orbits"))).problems


def test_several_traces_differ() -> None:
    text = """
    var x: 0..3 = 0; var y: 0..3 = 0;
    transition right when x < 3 { x += 1; }
    transition up when y < 3 { y += 1; }
    terminal corner: x == 3 && y == 3;
    invariant small: x < 2 && y < 2;
    """
    found = verdict(checked(system_of(text), max_traces=4), "small")
    assert found.trace is not None
    all_traces = [found.trace, *found.others]
    assert len(all_traces) == 4
    assert len({tuple(t.steps[-1].cells.items()) for t in all_traces}) == 4
    blamed = [t.blame.conjunct for t in all_traces if t.blame]
    assert set(blamed[:2]) == {"x < 2", "y < 2"}  # first those that fail for different reasons
    assert verdict(checked(system_of(text), max_traces=1), "small").others == ()


def test_refinement_kept_and_broken(tmp_path: object) -> None:
    abstract = """
    spec a
    var done: 0..2 = 0;
    transition work when done < 2 { done += 1; }
    terminal over: done == 2;
    """
    concrete = """
    spec b refines "a.hmm" by { done = half / 2; }
    var half: 0..5 = 0;
    transition advance when half < 4 { half += BY; }
    terminal over: half >= 4;
    """
    from pathlib import Path

    from hmmspec.lang.load import load
    from hmmspec.system.build import build_all

    folder = Path(str(tmp_path))
    (folder / "a.hmm").write_text(abstract)
    for by, status, length in ((1, "holds", 0), (4, "violated", 1)):
        (folder / "b.hmm").write_text(concrete.replace("BY", str(by)))
        report = checked(build_all(load(str(folder / "b.hmm")))[0])
        assert statuses(report)["refines"] == status
        found = verdict(report, "refines")
        assert (found.trace.length if found.trace else 0) == length
        assert status == "holds" or "done: 0 -> 2" in found.remark


def test_unknown_engine_is_a_defect_of_the_caller() -> None:
    from hmmspec.diagnostics import InternalError

    with pytest.raises(InternalError):
        check(system_of(COUNTER), CheckOptions(engine="abacus"))

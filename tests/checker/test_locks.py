"""Cyclic waits and lock order."""

from __future__ import annotations

import pytest

from hmmspec.checker.verdict import Status
from tests.checker.helpers import checked, statuses, system_of, verdict

TWO = """
lock ptl; lock lru;
thread a { one: acquire FIRST; two: acquire SECOND; end: release ptl; release lru; restart; }
thread b { one: acquire lru;   two: acquire ptl;    end: release ptl; release lru; restart; }
"""


def two(first: str, second: str) -> str:
    return TWO.replace("FIRST", first).replace("SECOND", second)


def test_a_circle_of_two() -> None:
    report = checked(system_of(two("ptl", "lru")))
    found = verdict(report, "lock_cycle")
    assert found.trace is not None
    assert found.trace.length == 2
    assert found.remark == "a waits for lru, held by b; b waits for ptl, held by a"
    order = verdict(report, "lock_order")
    assert order.status is Status.WARNING
    assert all(word in order.remark for word in ("ptl", "lru", "a.two", "b.two", "both orders"))
    assert statuses(report)["deadlock"] == "violated"


def test_one_order_is_fine() -> None:
    report = checked(system_of(two("lru", "ptl")))
    assert {statuses(report)[n] for n in ("lock_cycle", "lock_order", "deadlock")} == {"holds"}


def test_both_orders_without_a_circle() -> None:
    """A lock around both orders: no cyclic wait, but still a warning."""
    text = """
    lock outer; lock ptl; lock lru;
    thread a { zero: acquire outer; one: acquire ptl; two: acquire lru; end: release ptl; release lru; release outer; }
    thread b { zero: acquire outer; one: acquire lru; two: acquire ptl; end: release ptl; release lru; release outer; }
    """
    report = checked(system_of(text))
    assert statuses(report)["lock_cycle"] == "holds"
    assert statuses(report)["lock_order"] == "warning"
    assert report.exit_code == 0


def test_a_circle_that_others_walk_past() -> None:
    """Other threads go on: no deadlock, but a cyclic wait all the same."""
    text = two("ptl", "lru") + "var beat: bool = false; transition tick { beat := !beat; }"
    report = checked(system_of(text))
    assert statuses(report)["deadlock"] == "holds"
    assert statuses(report)["lock_cycle"] == "violated"


def test_a_trylock_is_in_no_circle_and_no_order() -> None:
    text = """
    lock ptl; lock lru;
    thread a { one: acquire ptl; two: if (!trylock lru) { release ptl; restart; } end: release ptl; release lru; restart; }
    thread b { one: acquire lru; two: acquire ptl; end: release ptl; release lru; restart; }
    """
    report = checked(system_of(text))
    assert {statuses(report)[n] for n in ("lock_cycle", "lock_order", "deadlock")} == {"holds"}


def test_a_trylock_beside_an_acquire_in_one_step() -> None:
    text = """
    lock ptl; lock lru; lock pool;
    thread a { one: acquire ptl; two: acquire lru; if (trylock pool) { release pool; } three: release lru; release ptl; }
    thread b { one: acquire pool; two: if (trylock ptl) { release ptl; } three: release pool; }
    """
    assert statuses(checked(system_of(text)))["lock_order"] == "holds"


FOLIOS = """
type Page = symmetric[PAGES]; type Cpu = symmetric[CPUS];
lock folio[Page];
thread fault[c: Cpu](p: Page) {
  var q: Page? = null;
  one: acquire folio[p];
  two: choose r: Page | r != p; q := r;
  three: acquire folio[q];
  end: release folio[p]; release folio[q]; restart;
}
"""


@pytest.mark.parametrize("symmetry", [True, False])
def test_identities_of_symmetric_types(symmetry: bool) -> None:
    """`folio[p]` before `folio[q]` for any p and q is both orders, also where only representatives are stored."""
    text = FOLIOS.replace("PAGES", "3").replace("CPUS", "2")
    report = checked(system_of(text), symmetry=symmetry)
    assert statuses(report)["lock_order"] == "warning"
    found = verdict(report, "lock_cycle")
    assert found.trace is not None
    assert found.trace.length == 4
    assert found.remark.count("waits for folio[") == 2


def test_a_circle_of_three() -> None:
    text = """
    type Place = 0..2;
    lock fork[Place];
    thread eater[i: Place] {
      one: acquire fork[i];
      two: acquire fork[(i + 1) % 3];
      end: release fork[i]; release fork[(i + 1) % 3]; restart;
    }
    """
    report = checked(system_of(text))
    assert verdict(report, "lock_cycle").remark.count("waits for") == 3


def test_readers_and_a_writer() -> None:
    text = """
    rwlock mmap_lock; lock ptl;
    thread reader { one: acquire read mmap_lock; two: acquire ptl; end: release ptl; release mmap_lock; }
    thread writer { one: acquire ptl; two: acquire MODE mmap_lock; end: release ptl; release mmap_lock; }
    """
    assert statuses(checked(system_of(text.replace("MODE", ""))))["lock_cycle"] == "violated"
    both_read = checked(system_of(text.replace("MODE", "read")))
    assert statuses(both_read)["lock_cycle"] == "holds"
    assert statuses(both_read)["lock_order"] == "warning"


def test_waiting_for_a_condition_is_no_circle() -> None:
    text = """
    lock ptl; var ready: bool = false;
    thread a { one: acquire ptl; two: await ready; end: release ptl; }
    thread b { one: acquire ptl; two: ready := true; release ptl; }
    """
    report = checked(system_of(text))
    assert statuses(report)["lock_cycle"] == "holds"
    assert statuses(report)["deadlock"] == "violated"


def test_a_circle_counts_whoever_is_scheduled() -> None:
    """With one CPU only one of the two threads may run at any time; they still block each other for ever."""
    text = """
    lock ptl; lock lru; type Who = enum { first, second }; var runs: Who = first;
    transition switch { runs := if runs == first then second else first; }
    thread a runs when runs == first  { one: acquire ptl; two: acquire lru; end: release ptl; release lru; }
    thread b runs when runs == second { one: acquire lru; two: acquire ptl; end: release ptl; release lru; }
    """
    report = checked(system_of(text))
    assert statuses(report)["deadlock"] == "holds"
    assert statuses(report)["lock_cycle"] == "violated"


def test_descheduled_is_not_blocked() -> None:
    """A thread that could go on if only it ran is in no circle."""
    text = """
    lock ptl; var on: bool = true;
    transition off when on { on := false; }
    thread a runs when on { one: acquire ptl; two: skip; end: release ptl; }
    thread b { one: acquire ptl; end: release ptl; }
    """
    assert statuses(checked(system_of(text)))["lock_cycle"] == "holds"


def test_locks_of_threads_with_procedures() -> None:
    text = """
    lock ptl; lock lru;
    procedure both { one: acquire ptl; two: acquire lru; rest: release lru; release ptl; }
    thread a { go: call both(); end: skip; }
    thread b { one: acquire lru; two: acquire ptl; end: release ptl; release lru; }
    """
    found = verdict(checked(system_of(text)), "lock_cycle")
    assert found.status is Status.VIOLATED
    assert "a waits for lru, held by b" in found.remark


def test_specs_without_locks_have_no_lock_verdicts() -> None:
    report = checked(system_of("var x: bool = false; transition t { x := !x; }"))
    assert set(statuses(report)) == {"spec_error", "deadlock"}


def test_the_same_step_takes_two_locks_of_an_array_in_both_orders() -> None:
    text = """
    type P = symmetric[2]; lock pl[P];
    thread swap(p: P) {
      var q: P? = null;
      first:  acquire pl[p];
      pick:   choose x: P | x != p; q := x;
      second: acquire pl[q];
      end:    release pl[q]; release pl[p]; restart;
    }
    """
    order = verdict(checked(system_of(text)), "lock_order")
    assert order.status is Status.WARNING
    one, other = order.remark.split(": ", 1)[1].split(", ")
    lock, _, held = one.removeprefix("swap.second takes ").partition(" while holding ")
    assert other == f"swap.second takes {held} while holding {lock}"
    assert lock != held

"""The follower on small specs: sequential runs judged exactly, races, members, groups, limits, coverage; each with the
interpreter's sets and with those in C."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.conform.follow import engines
from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.follow.packed import PackedSets
from hmmspec.conform.follow.sets import Sets
from hmmspec.diagnostics import SpecError
from tests.conform.small import REGISTER, REGISTER_BINDING, Writer, files, followed, follower, messages


@pytest.fixture(autouse=True, params=["python", "native"])
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every follower of these tests has this engine."""
    if request.param == "native":
        request.getfixturevalue("cache")

    class Only(engines.Engine):
        def __init__(self, bound: object, limit: int, _: str) -> None:
            super().__init__(bound, limit, request.param)  # type: ignore[arg-type]
            assert isinstance(self.states, PackedSets) is (request.param == "native"), self.remark

    monkeypatch.setattr("hmmspec.conform.follow.follower.Engine", Only)


def test_a_run_that_fits_is_explained(tmp_path: Path) -> None:
    log = Writer()
    log.run("read", {"value": 0})
    for value in range(1, 60):
        log.run("write", value=value)
        log.run("read", {"value": value})
        log.run("noise")
    f = follower(tmp_path)
    assert followed(f, log, tmp_path) == []
    assert f.incomplete == ""
    # 60 values with 4 members: one that the spec has forgotten stands for the next.
    assert f.events == len(log.lines) - 1


@pytest.mark.parametrize(("value", "why"), [(7, "read(7)"), (0, "read(empty)"), (-1, "nothing that the spec has")])
def test_a_wrong_value_is_found(tmp_path: Path, value: int, why: str) -> None:
    log = Writer()
    log.run("write", value=5)
    log.run("read", {"value": value})
    (found,) = followed(follower(tmp_path), log, tmp_path)
    assert found.call == 1
    assert found.check == "follower"
    assert found.name == "register"
    assert f"this means: {why}" in found.details
    assert "the spec allows: else: read(5)" in found.details
    assert any(d.startswith("before: ") and "write" in d for d in found.details)


def test_hidden_steps_are_taken_where_they_are_needed(tmp_path: Path) -> None:
    """Between two writes the register settles by itself; that it had to is seen in the coverage."""
    log = Writer()
    log.run("write", value=1)
    f = follower(tmp_path)
    assert followed(f, log, tmp_path) == []
    assert f.coverage.exercised["settle"] == 0
    assert f.coverage.never == ("read", "refuse", "settle")
    log.run("write", value=2)
    f = follower(tmp_path)
    assert followed(f, log, tmp_path) == []
    assert f.coverage.exercised == {"write": 2, "read": 0, "refuse": 0, "settle": 1}


def test_a_refusal_needs_its_reason(tmp_path: Path) -> None:
    log = Writer()
    log.run("write", {"error": "EBUSY"}, value=1)
    (found,) = followed(follower(tmp_path), log, tmp_path)
    assert "this means: refuse()" in found.details
    log = Writer()
    log.run("write", value=1)
    log.run("write", {"error": "EBUSY"}, value=1)
    assert followed(follower(tmp_path), log, tmp_path) == []


def test_a_result_that_no_clause_has_is_found(tmp_path: Path) -> None:
    log = Writer()
    log.run("write", {"error": "EIO"}, value=1)
    (found,) = followed(follower(tmp_path), log, tmp_path)
    assert "nothing that the spec has" in messages([found])


def test_calls_at_the_same_time_take_effect_in_any_order(tmp_path: Path) -> None:
    """Two writes under way: a read in between may see nothing, or either; afterwards what is read is settled."""
    for first, second, wrong in ((0, 1, False), (2, 1, False), (1, 2, False), (3, 1, True)):
        log = Writer()
        a = log.call("write", thread="a", value=1)
        b = log.call("write", thread="b", value=2)
        log.run("read", {"value": first}, thread="c")
        log.back(a)
        log.back(b)
        log.run("read", {"value": second})
        assert bool(followed(follower(tmp_path), log, tmp_path)) is wrong, (first, second)


def test_what_returned_is_over(tmp_path: Path) -> None:
    """Sequential runs are the special case: a write that has returned cannot come after a later one."""
    log = Writer()
    log.run("write", value=1)
    log.run("write", value=2)
    log.run("read", {"value": 1})
    assert len(followed(follower(tmp_path), log, tmp_path)) == 1
    log = Writer()
    a = log.call("write", thread="a", value=1)
    log.run("write", value=2)
    log.back(a)
    log.run("read", {"value": 1})
    assert followed(follower(tmp_path), log, tmp_path) == []


def test_a_read_saw_one_moment(tmp_path: Path) -> None:
    """Two reads one after the other within one write: old then new fits, new then old does not."""
    for seen, wrong in (((0, 1), False), ((1, 1), False), ((0, 0), False), ((1, 0), True)):
        log = Writer()
        a = log.call("write", thread="a", value=1)
        for value in seen:
            log.run("read", {"value": value})
        log.back(a)
        assert bool(followed(follower(tmp_path), log, tmp_path)) is wrong, seen


def test_a_call_that_never_returned_may_have_happened_or_not(tmp_path: Path) -> None:
    for value, wrong in ((0, False), (1, False), (2, True)):
        log = Writer()
        log.call("write", thread="killed", value=1)
        log.run("read", {"value": value})
        found = followed(follower(tmp_path), log, tmp_path)
        assert bool(found) is wrong, value


def test_what_a_target_cannot_see_is_any(tmp_path: Path) -> None:
    log = Writer()
    log.run("write", value=1)
    log.run("read", {"value": None})
    log.run("read", {})
    log.run("read", {"value": 1})
    assert followed(follower(tmp_path), log, tmp_path) == []


def test_more_members_than_the_spec_has_make_a_run_incomplete(tmp_path: Path) -> None:
    log = Writer()
    for n in range(6):
        log.call("write", thread=f"t{n}", value=n + 1)
    log.run("read", {"value": 6})
    f = follower(tmp_path)
    assert followed(f, log, tmp_path) == []
    assert f.incomplete == "more than 4 members of Value at once"


MANY = """spec many
var bits[0..11]: bool = false;
transition flip(n: 0..11) { bits[n] := !bits[n]; }
transition look(n: 0..11, up: bool) when bits[n] == up { skip; }
event look;
"""


def test_a_set_above_the_limit_is_never_explained(tmp_path: Path) -> None:
    binding = 'binding for "register.hmm"; on look(n, up) { else: look(n, up); }'
    log = Writer()
    for n in range(12):
        log.run("look", n=n, up=True)
    f = follower(tmp_path, MANY, binding, limit=20)
    assert followed(f, log, tmp_path) == []
    assert f.incomplete == "more than 20 states of the spec explain what was seen"
    f = follower(tmp_path, MANY, binding)
    assert followed(f, log, tmp_path) == []
    assert f.incomplete == ""


PAGES = """spec pages
param PAGES = 1;
type Page = symmetric[PAGES];
type Data = 0..9;
var value[Page]: Data = 0;
var up: bool = false;
transition start { up := true; }
transition store(p: Page, v: Data) when up { value[p] := v; }
transition load(p: Page, v: Data)  when up && value[p] == v { skip; }
transition move(p: Page, q: Page)  when up && p != q { value[q] := value[p]; value[p] := 0; }
event start, store, load, move;
"""

PAGES_BINDING = """binding for "register.hmm" with PAGES = 2;
group by page / 2;
on begin() { else: start(); }
on put(page, count, v) each page of count { else: store(page, v + i); }
on get(page, count) returns (vs) each page of count { else: load(page, vs[i]); }
on shift(page, to) joins to / 2 { else: move(page, to); }
"""


def test_each_page_of_a_range_is_followed_by_itself(tmp_path: Path) -> None:
    """Ten pages with a spec of two: what happened before a page was first mentioned happened to it, too."""
    log = Writer()
    log.run("begin")
    log.run("put", page=0, count=8, v=1)
    log.run("get", {"vs": [*range(1, 9), 0, 0]}, page=0, count=10)
    f = follower(tmp_path, PAGES, PAGES_BINDING)
    assert followed(f, log, tmp_path) == []
    log.run("get", {"vs": [5, 0]}, page=5, count=2)
    (found,) = followed(f, log, tmp_path)
    assert "page=5" in found.message or "load(5, 5)" in messages([found])


def test_pages_of_one_observation_are_seen_at_moments_of_their_own(tmp_path: Path) -> None:
    """While both pages are written a read may see the new value of one and the old one of the other, either way."""
    for seen, wrong in (([1, 0], False), ([0, 2], False), ([1, 2], False), ([2, 1], True)):
        log = Writer()
        log.run("begin")
        a = log.call("put", thread="a", page=0, count=2, v=1)
        log.run("get", {"vs": seen}, page=0, count=2)
        log.back(a)
        assert bool(followed(follower(tmp_path, PAGES, PAGES_BINDING), log, tmp_path)) is wrong, seen


def test_groups_join_where_a_command_says_so(tmp_path: Path) -> None:
    log = Writer()
    log.run("begin")
    log.run("put", page=0, count=1, v=7)
    log.run("shift", page=0, to=2)
    log.run("get", {"vs": [7]}, page=2, count=1)
    log.run("get", {"vs": [0]}, page=0, count=1)
    f = follower(tmp_path, PAGES, PAGES_BINDING)
    assert followed(f, log, tmp_path) == []
    log.run("get", {"vs": [7]}, page=0, count=1)
    assert len(followed(f, log, tmp_path)) == 1


def test_a_group_that_is_as_new_is_given_up(tmp_path: Path) -> None:
    f = follower(tmp_path, PAGES, PAGES_BINDING)
    log = Writer()
    log.run("begin")
    log.run("put", page=0, count=8, v=1)
    assert followed(f, log, tmp_path) == []
    assert f.groups == 4
    for page in range(8):
        log.run("put", page=page, count=1, v=0)
    assert followed(f, log, tmp_path) == []
    assert f.groups == 0


MOMENTS = """spec moments
var inside: 0..3 = 0;
var done: bool = false;
transition enter { inside += 1; }
transition leave { inside -= 1; }
transition work when inside == 1 { done := true; }
transition slack when inside > 1 { skip; }
event enter, leave, work, slack;
"""


def test_moments_of_call_and_return(tmp_path: Path) -> None:
    """What happens just at the call and just at the return: `slack` only where two calls overlap."""
    binding = """binding for "register.hmm";
    on go() returns (error) {
      call: enter(); return: leave();
      when error == ok: work();
      when error == EAGAIN: slack();
    }"""
    log = Writer()
    log.run("go", {"error": "EAGAIN"})
    assert len(followed(follower(tmp_path, MOMENTS, binding), log, tmp_path)) == 1
    log = Writer()
    a = log.call("go", thread="a")
    log.run("go", {"error": "EAGAIN"})
    log.back(a)
    assert followed(follower(tmp_path, MOMENTS, binding), log, tmp_path) == []


def test_alone_tells_sequential_calls(tmp_path: Path) -> None:
    binding = """binding for "register.hmm" with VALUES = 4;
    on write(value) returns (error) {
      when error == ok: write(value);
      when alone: impossible;
      else: nothing;
    }
    on read() returns (value) { else: read(value); }"""
    log = Writer()
    log.run("write", {"error": "EIO"}, value=1)
    assert len(followed(follower(tmp_path, REGISTER, binding), log, tmp_path)) == 1
    log = Writer()
    a = log.call("read", thread="a")
    log.run("write", {"error": "EIO"}, value=1)
    log.back(a)
    assert followed(follower(tmp_path, REGISTER, binding), log, tmp_path) == []


def test_observations_and_profile(tmp_path: Path) -> None:
    spec = """spec profile
    param LOUD = false;
    var n: 0..3 = 0;
    transition add when n < 3 { n += if LOUD then 2 else 1; }
    event add;
    observe shown: 0..3 = n;
    """
    binding = """binding for "register.hmm" with LOUD = profile.loud;
    on add() { else: add(); }
    on show() returns (n) { when profile.blind == true: nothing; else: sees shown() == n; }"""
    f = follower(tmp_path, spec, binding)
    for loud, n, wrong in ((False, 1, False), (False, 2, True), (True, 2, False), (True, 1, True)):
        log = Writer({"profile": {"loud": loud}})
        log.run("add")
        log.run("show", {"n": n})
        assert bool(followed(f, log, tmp_path)) is wrong
    log = Writer({"profile": {"blind": True}})
    log.run("show", {"n": 3})
    assert followed(f, log, tmp_path) == []


def test_a_failed_assert_of_the_spec_explains_nothing(tmp_path: Path) -> None:
    spec = """spec asserting
    var n: 0..3 = 0;
    transition add(k: 0..3) { assert small "at most three in all": n + k <= 3; n += k; }
    event add;
    """
    binding = 'binding for "register.hmm"; on add(k) { else: add(k); }'
    log = Writer()
    log.run("add", k=2)
    log.run("add", k=2)
    (found,) = followed(follower(tmp_path, spec, binding), log, tmp_path)
    assert found.call == 1
    assert "at most three in all" in messages([found])


def test_identities_that_nobody_names_do_not_multiply(tmp_path: Path) -> None:
    """A frame is chosen freely: which one it is makes no difference, so the set of states stays small."""
    spec = """spec frames
    param FRAMES = 8;
    type Frame = symmetric[FRAMES];
    var taken[0..5]: Frame? = null;
    transition take(n: 0..5) when taken[n] == null {
      choose f: Frame | forall m: 0..5 { taken[m] != f };
      taken[n] := f;
    }
    transition look(n: 0..5, yes: bool) when yes == (taken[n] != null) { skip; }
    event take, look;
    """
    binding = """binding for "register.hmm";
    on take(n) { else: take(n); }
    on look(n) returns (yes) { else: look(n, yes); }"""
    log = Writer()
    for n in range(6):
        log.run("take", n=n)
    log.run("look", {"yes": True}, n=5)
    f = follower(tmp_path, spec, binding, limit=2)
    assert followed(f, log, tmp_path) == []
    assert f.incomplete == ""


def test_what_was_worked_out_is_kept_between_runs(tmp_path: Path) -> None:
    f = follower(tmp_path)
    log = Writer()
    for value in range(1, 20):
        log.run("write", value=value)
        log.run("read", {"value": value})
    assert followed(f, log, tmp_path) == []
    assert isinstance(f.sets, (Sets, PackedSets))
    nodes = len(f.sets._nodes)
    assert followed(f, log, tmp_path) == []
    assert len(f.sets._nodes) == nodes < 20


def test_two_followers_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = files(tmp_path, REGISTER, REGISTER_BINDING)
    from_one = follower(tmp_path)
    assert isinstance(from_one, Follower)
    log = Writer()
    log.run("write", value=1)
    log.run("read", {"value": 2})
    assert len(followed(from_one, log, tmp_path)) == 1
    assert Path(path).exists()
    assert len(followed(follower(tmp_path), log, tmp_path)) == 1


def test_threads_and_their_labels(tmp_path: Path) -> None:
    """A step of a thread is an event like any other: its index and what it chose are the arguments."""
    spec = """spec lanes
    type Cpu = symmetric[2];
    type Page = symmetric[2];
    lock big;
    thread walk[c: Cpu](p: Page) {
      enter: acquire big;
      leave: release big; restart;
    }
    event walk.enter, walk.leave;
    """
    binding = """binding for "register.hmm";
    on enter(cpu, page) { else: walk.enter(cpu, page); }
    on leave(cpu) { else: walk.leave(cpu); }"""
    log = Writer()
    log.run("enter", cpu=0, page="a")
    log.run("leave", cpu=0)
    log.run("enter", cpu=1, page="a")
    f = follower(tmp_path, spec, binding)
    assert followed(f, log, tmp_path) == []
    log.run("enter", cpu=0, page="b")
    assert len(followed(f, log, tmp_path)) == 1


def test_negative_numbers_are_numbers(tmp_path: Path) -> None:
    spec = """spec below
    var n: -3..3 = 0;
    transition move(to: -3..3) { n := to; }
    event move;
    observe shown: int = n;
    """
    binding = """binding for "register.hmm";
    on move(to) { else: move(to); }
    on show() returns (n) { else: sees shown() == n; }"""
    for n, wrong in ((-1, False), (-2, True)):
        log = Writer()
        log.run("move", to=-1)
        log.run("show", {"n": n})
        found = followed(follower(tmp_path, spec, binding), log, tmp_path)
        assert bool(found) is wrong
        assert not found or "the spec allows: else: shown() == -1" in found[0].details


def test_events_that_cannot_be_worked_out_are_told(tmp_path: Path) -> None:
    binding = """binding for "register.hmm" with PAGES = 2;
    group by page;
    on put(page, count, v) each page of count { else: store(page, v + 1); }
    ignore begin;"""
    f = follower(tmp_path, PAGES, binding)
    for fields, told in (
        ({"page": [1], "count": 1, "v": 1}, "counts on, so it is a number"),
        ({"page": 1, "count": "two", "v": 1}, "is a number, not 'two'"),
        ({"page": 1, "count": 10**12, "v": 1}, "more than"),
        ({"page": 1, "count": 1, "v": "x"}, "cannot be used with"),
    ):
        log = Writer()
        log.run("put", **fields)
        with pytest.raises(SpecError, match=told):
            followed(f, log, tmp_path)


def test_a_spec_without_a_start_explains_nothing(tmp_path: Path) -> None:
    spec = """spec nowhere
    var n: 0..3 = any;
    assume none: n > 3;
    transition look { skip; }
    event look;
    """
    log = Writer()
    log.run("look")
    f = follower(tmp_path, spec, 'binding for "register.hmm"; on look() { else: look(); }')
    for _ in range(2):
        assert followed(f, log, tmp_path) == []
        assert f.incomplete == "the spec has no start state"


def test_a_spec_of_which_nearly_no_start_counts_is_given_up(tmp_path: Path) -> None:
    """One start state of 10^12, and the last: nobody looks at all that come before it."""
    spec = """spec hidden
    type P = 0..5;
    var a[P]: 0..99 = any;
    assume last: forall p: P { a[p] == 99 };
    transition look { skip; }
    event look;
    """
    log = Writer()
    log.run("look")
    f = follower(tmp_path, spec, 'binding for "register.hmm"; on look() { else: look(); }')
    assert followed(f, log, tmp_path) == []
    assert "too many start states" in f.incomplete

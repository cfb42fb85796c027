"""What the interpreter does, rule by rule of the language; the differential test beside it covers combinations."""

from __future__ import annotations

from itertools import islice

import pytest

from hmmspec.diagnostics import Limit, Source, Span
from hmmspec.lang.load import load_source
from hmmspec.system import expr as E
from hmmspec.system import system as S
from hmmspec.system import types as T
from hmmspec.system.build import build
from hmmspec.system.run import Interpreter, SpecFault
from tests.system.hand import at, both, eq, num, pages, quant, reachable, rule, system, variable

PAGE = T.Symmetric("Page", 3)
MAYBE = T.Union((T.NULL, PAGE))
SMALL = T.Range(0, 3)
p = E.Local("p", PAGE)


def from_text(text: str, instance: str = "default") -> Interpreter:
    return Interpreter(build(load_source(Source("t.hmm", "spec t\n" + text)), None, instance))


# A page alone has 25 states, 10 of them in a frame of the device: N pages, one frame: 15^N + N * 10 * 15^(N-1).
@pytest.mark.parametrize(("n", "d", "states"), [(1, 1, 25), (2, 1, 525), (2, 2, 625), (3, 1, 10_125)])
def test_the_pages_model_has_its_states(n: int, d: int, states: int) -> None:
    found, steps, faults = reachable(Interpreter(pages(n, d)))
    assert (len(found), faults) == (states, 0)
    assert steps > states


# ------------------------------------------------------------ states


def test_a_state_is_bytes_where_every_slot_fits() -> None:
    assert isinstance(next(Interpreter(system([variable("x", T.Range(0, 255))])).initial()), bytes)
    for t, first in ((T.Range(-1, 1), 0), (T.Range(0, 256), 0), (T.Queue(1, T.BOOL), ()), (T.Set(T.Range(0, 8)), 0)):
        assert isinstance(next(Interpreter(system([variable("x", t, first)])).initial()), tuple)


def test_read_and_build_are_inverse() -> None:
    pte = T.Record("Pte", (("kind", T.Enum("K", ("none", "device"))), ("write", T.BOOL)))
    it = Interpreter(system([variable("pte", pte, (1, True), PAGE), variable("q", T.Queue(2, pte), ((0, False),))]))
    s = next(it.initial())
    assert it.read(s, "pte") == ((1, True),) * 3
    assert it.build({v: it.read(s, v) for v in ("pte", "q")}) == s
    assert it.cells(s) == {
        **{f"pte[page{i}].{f}": v for i in range(3) for f, v in (("kind", "device"), ("write", "true"))},
        "q": "[Pte(kind = none, write = false)]",
    }


def test_cells_of_threads_and_locks() -> None:
    it = from_text("""
      type Cpu = symmetric[2]; type Page = symmetric[2]; var x[Page]: bool = false;
      lock ptl; lock folio[Page];
      thread fault[c: Cpu](p: Page) {
        take: await !x[p]; acquire ptl;
        hold: x[p] := true; release ptl;
      }""")
    s = next(it.initial())
    cells = it.cells(s)
    assert cells["ptl"] == "free" and cells["folio[page1]"] == "free"
    assert cells["fault[cpu0]"] == "take" and cells["fault[cpu0].p"] == "null"
    out, _ = it.expand(s)
    after = it.cells(out[0][2])
    assert after["ptl"] == "fault[cpu0]" and after["fault[cpu0]"] == "hold" and after["fault[cpu0].p"] == "page0"


def test_too_large_a_state_is_refused_before_it_is_made() -> None:
    huge = T.Range(0, 10**12)
    with pytest.raises(Limit, match="more than 100000 cells"):
        Interpreter(system([variable("x", T.BOOL, False, huge)]))


def test_start_states_are_made_one_by_one() -> None:
    many = T.Range(0, 10**9)
    any_ = S.Variable("x", T.Array(PAGE, many), 1, S.InitAny())
    it = Interpreter(system([any_, variable("y", T.BOOL, True)]))
    first = list(islice(it.initial(), 3))
    assert [it.read(s, "x") for s in first] == [(0, 0, 0), (0, 0, 1), (0, 0, 2)]


def test_start_states_satisfy_the_assumes() -> None:
    any_ = S.Variable("x", T.Array(T.BOOL, SMALL), 1, S.InitAny((0, 3, 3)))
    same = eq(at("x", E.FALSE, SMALL), at("x", E.TRUE, SMALL))
    it = Interpreter(system([any_], assumes=[E.Not(same)]))
    assert [it.read(s, "x") for s in it.initial()] == [(0, 3), (3, 0)]


def test_a_start_that_errs() -> None:
    bad = S.Variable("x", SMALL, 0, S.InitExpr((), E.Cast(num(7), SMALL)))
    it = Interpreter(system([bad]))
    assert list(it.initial()) == []
    assert it.initial_fault is not None and it.initial_fault.kind == "range"


# ------------------------------------------------------------ evaluation

X = E.Var("x", SMALL)
OWNER = E.Var("owner", MAYBE)
ZERO_DIVISION = eq(E.Arith("/", num(1), X), num(5))


def value(e: E.Expr, x: int = 0, owner: int = 0) -> object:
    it = Interpreter(system([variable("x", SMALL, x), variable("owner", MAYBE, owner)]))
    return it.evaluate(e, next(it.initial()))


def fault_of(e: E.Expr, x: int = 0, owner: int = 0) -> str:
    with pytest.raises(SpecFault) as caught:
        value(e, x, owner)
    return caught.value.fault.kind


def test_operators_stop_when_decided() -> None:
    assert value(E.Logic("&&", E.Compare(">", X, num(0)), ZERO_DIVISION)) is False
    assert value(E.Logic("||", eq(X, num(0)), ZERO_DIVISION)) is True
    assert value(E.Logic("=>", E.Compare(">", X, num(0)), ZERO_DIVISION)) is True
    assert value(E.If(eq(X, num(0)), num(4), E.Arith("/", num(1), X), T.INT)) == 4


def test_not_any_number_of_times() -> None:
    e: E.Expr = E.Compare(">", X, num(0))
    for times in range(1, 6):
        e = E.Not(e)
        assert [value(e, 0), value(e, 1)] == [times % 2 == 1, times % 2 == 0]


def test_operators_do_not_stop_before() -> None:
    # The left side errs, whatever a constant right side would decide.
    assert fault_of(E.Logic("&&", ZERO_DIVISION, E.FALSE)) == "division"
    assert fault_of(E.Logic("||", ZERO_DIVISION, E.TRUE)) == "division"
    assert fault_of(E.Logic("=>", ZERO_DIVISION, E.TRUE)) == "division"


@pytest.mark.parametrize("kind", ["forall", "exists"])
def test_binders_do_not_stop_early(kind: str) -> None:
    # The first value decides; the last one errs.
    i = E.Local("i", T.Range(0, 2))
    safe = E.Compare("<" if kind == "exists" else ">", E.Arith("/", num(6), E.Arith("-", num(2), i)), num(100))
    quantified = quant(kind, "i", T.Range(0, 2), safe)  # type: ignore[arg-type]
    assert fault_of(quantified) == "division"
    filtered = E.Quant(
        kind,  # type: ignore[arg-type]
        (E.Binder("i", T.Range(0, 2), E.OverType(T.Range(0, 2))),),
        E.Compare("<", i, num(2)),
        safe,
        T.BOOL,
    )
    assert value(filtered) is (kind == "exists")


def test_faults_come_in_order_of_evaluation() -> None:
    null = E.Cast(OWNER, PAGE)
    division = E.Cast(E.Arith("/", num(1), X), SMALL)
    same = E.Compare("==", null, null)
    for first, second, kind in ((same, ZERO_DIVISION, "null"), (ZERO_DIVISION, same, "division")):
        assert fault_of(E.Compare("==", first, second)) == kind
    assert fault_of(E.InRange(division, E.Head(E.Const((), T.Queue(1, SMALL)), SMALL), num(1))) == "division"
    assert fault_of(E.InSet(division, E.MakeSet((E.Cast(num(9), SMALL),), T.Set(SMALL)))) == "division"


@pytest.mark.parametrize(
    ("e", "kind"),
    [
        (E.Cast(E.Arith("+", X, num(4)), SMALL), "range"),
        (E.Cast(OWNER, PAGE), "null"),
        (E.Cast(E.Const(3, T.Union((PAGE, T.Enum("M", ("m",))))), PAGE), "member"),
        (E.Head(E.Const((), T.Queue(1, SMALL)), SMALL), "queue"),
        (E.Popped(E.Const((), T.Queue(1, SMALL)), T.Queue(1, SMALL)), "queue"),
        (E.Pushed(E.Const((0,), T.Queue(1, SMALL)), E.Const(0, SMALL), T.Queue(1, SMALL)), "queue"),
        (E.Quant("min", (E.Binder("i", T.INT, E.OverRange(num(1), X)),), None, num(3), T.INT), "empty"),
        (E.Arith("%", num(1), X), "division"),
    ],
)
def test_every_kind_of_spec_error(e: E.Expr, kind: str) -> None:
    assert fault_of(e) == kind


def test_numbers_round_down_and_go_beyond_their_ranges() -> None:
    assert value(E.Arith("/", num(-7), num(2))) == -4
    assert value(E.Arith("%", num(-7), num(2))) == 1
    assert value(E.Arith("*", E.Arith("-", X, num(9)), num(10**20))) == -9 * 10**20


def test_hundreds_of_conjuncts_and_deep_brackets() -> None:
    long = both(*[E.Compare("<", E.Arith("-", X, num(i)), num(1)) for i in range(800)])
    assert value(long) is True
    deep: E.Expr = X
    for i in range(300):
        deep = E.Arith("-", num(i), deep)
    assert value(deep) == 150
    nested: E.Expr = E.FALSE
    for _ in range(150):
        nested = E.Not(E.Logic("||", nested, E.Not(eq(X, num(0)))))
    assert value(nested) is False


# ------------------------------------------------------------ steps


def outcomes(it: Interpreter, name: str) -> list[object]:
    out, _ = it.expand(next(it.initial()))
    return [it.read(s, name) for _, _, s in out]


def set_x(n: int) -> S.Stmt:
    return S.Assign(X, E.Const(n, SMALL))


def test_reads_see_earlier_writes() -> None:
    up = S.Assign(X, E.Cast(E.Arith("+", X, num(1)), SMALL))
    it = Interpreter(
        system([variable("x", SMALL)], [rule(0, {}, E.TRUE, up, S.Let("l", X), up, S.Guard(eq(X, num(2))))])
    )
    assert outcomes(it, "x") == [2]


def test_a_guard_in_the_middle_reads_what_was_written() -> None:
    it = Interpreter(system([variable("x", SMALL)], [rule(0, {}, E.TRUE, set_x(2), S.Guard(eq(X, num(0))))]))
    assert outcomes(it, "x") == []


def test_each_branch_is_a_step_of_its_own() -> None:
    y = E.Var("y", SMALL)
    add = S.Assign(y, E.Cast(E.Arith("+", X, y), SMALL))
    body = (S.Either(((set_x(1),), (set_x(2), S.Guard(E.FALSE)), (set_x(3),), (set_x(1),))), add, add)
    it = Interpreter(system([variable("x", SMALL), variable("y", SMALL)], [rule(0, {}, E.TRUE, *body)]))
    out, bad = it.expand(next(it.initial()))
    # Two branches agree and count once; one is blocked; one leaves the range of y.
    assert [(it.read(s, "x"), it.read(s, "y")) for _, _, s in out] == [(1, 2)]
    assert [f.kind for _, _, f in bad] == ["range"]


def test_choose_evaluates_its_filter_for_every_value() -> None:
    i = E.Local("i", SMALL)
    filter_ = E.Compare("<=", E.Arith("/", num(2), E.Arith("-", num(3), i)), num(1))
    choose = S.Choose((E.Binder("i", SMALL, E.OverType(SMALL)),), filter_)
    it = Interpreter(system([variable("x", SMALL)], [rule(0, {}, E.TRUE, choose, S.Assign(X, i))]))
    out, bad = it.expand(next(it.initial()))
    assert out == [] and [f.kind for _, _, f in bad] == ["division"]


def test_choose_without_a_value_has_no_outcome() -> None:
    choose = S.Choose((E.Binder("i", SMALL, E.OverType(SMALL)),), E.FALSE)
    it = Interpreter(system([variable("x", SMALL)], [rule(0, {}, E.TRUE, choose, set_x(1))]))
    assert it.expand(next(it.initial())) == ([], [])
    assert it.enabled(next(it.initial()), 0) == []


def test_the_filter_of_a_for_sees_the_passes_before() -> None:
    i = E.Local("i", SMALL)
    loop = S.For(
        (E.Binder("i", SMALL, E.OverType(SMALL)),),
        E.Compare("<=", X, i),
        (S.Assign(X, E.Cast(E.Arith("+", X, num(2)), SMALL)),),
    )
    it = Interpreter(system([variable("x", SMALL)], [rule(0, {}, E.TRUE, loop)]))
    out, bad = it.expand(next(it.initial()))
    # 0 -> 2 at i = 0; 2 > 1; then 2 <= 2 would make 4.
    assert out == [] and [f.kind for _, _, f in bad] == ["range"]
    assert bad[0][2].message == "x := 4 is outside 0..3"


def test_sixty_choices_one_after_another_stay_small() -> None:
    flips = tuple(S.Either(((set_x(1),), (S.Guard(eq(X, num(0))),))) for _ in range(60))
    it = Interpreter(system([variable("x", SMALL)], [rule(0, {}, E.TRUE, *flips)]))
    assert len(it.source) < 60_000
    assert sorted(map(str, outcomes(it, "x"))) == ["0", "1"]


def test_blocks_nested_deeper_than_python_allows() -> None:
    body: S.Block = (set_x(1),)
    for _ in range(120):
        body = (S.IfElse(E.Compare("<", X, num(3)), body, (S.Guard(E.FALSE),)),)
    it = Interpreter(system([variable("x", SMALL)], [rule(0, {}, E.TRUE, *body)]))
    assert outcomes(it, "x") == [1]
    loops: S.Block = (S.Assign(X, E.Local("i0", T.Range(0, 1))), set_x(2))
    for n in range(30):
        t = T.Range(0, 1) if n == 0 else T.Range(1, 1)
        loops = (S.For((E.Binder(f"i{n}", t, E.OverType(t)),), None, loops),)
    it = Interpreter(system([variable("x", SMALL)], [rule(0, {}, E.TRUE, *loops)]))
    assert outcomes(it, "x") == [2]


def test_parameters_of_huge_types_are_not_stored() -> None:
    big = T.Range(0, 10**15)
    n = E.Local("n", big)
    r = rule(0, {"n": big}, both(eq(X, num(1)), eq(n, num(5))), set_x(2))
    it = Interpreter(system([variable("x", SMALL)], [r]))
    # x == 1 does not speak of n and is tested before n is counted up.
    assert it.expand(next(it.initial())) == ([], [])


def test_faults_carry_the_property_and_the_place() -> None:
    span = Span(Source("a.hmm", "pins[p] := 7;"), 0, 12)
    pins = at("pins", p, SMALL)
    bad_store = S.Assign(pins, E.Cast(E.Arith("+", pins, num(7)), SMALL), span=span)
    check = S.Check("assert", "never", "this is never so", E.FALSE)
    rules = [rule(0, {"p": PAGE}, E.TRUE, bad_store), rule(1, {}, E.TRUE, check)]
    it = Interpreter(system([variable("pins", SMALL, 0, PAGE)], rules))
    _, bad = it.expand(next(it.initial()))
    assert [(r, a, f.finding, f.name, f.kind) for r, a, f in bad] == [
        *((0, (i,), "spec_error", "spec_error", "range") for i in range(3)),
        (1, (), "assert", "never", ""),
    ]
    assert bad[1][2].message == "pins[page1] := 7 is outside 0..3"
    assert bad[1][2].span == span
    assert bad[3][2].message == "this is never so"


def test_assumes_drop_outcomes() -> None:
    i = E.Local("i", SMALL)
    choose = S.Choose((E.Binder("i", SMALL, E.OverType(SMALL)),), None)
    rules = [rule(0, {}, eq(X, num(0)), choose, S.Assign(X, i)), rule(1, {}, eq(X, num(1)), set_x(3))]
    it = Interpreter(system([variable("x", SMALL)], rules, assumes=[E.Compare("<", X, num(2))]))
    assert outcomes(it, "x") == [0, 1]
    (one,) = [s for _, _, s in it.expand(next(it.initial()))[0] if it.read(s, "x") == 1]
    assert it.expand(one) == ([], [])
    assert it.enabled(one, 1) == [()] and it.dropped_by_assume(one)
    assert not it.dropped_by_assume(next(it.initial()))


def test_whole_arrays_and_records_are_values() -> None:
    pte = T.Record("Pte", (("n", SMALL), ("write", T.BOOL)))
    mm = T.Range(0, 1)
    table = T.Array(PAGE, pte)
    whole = E.Var("pte", T.Array(mm, table))

    def of(m: int) -> E.Expr:
        return E.Index(whole, E.Const(m, mm), table)

    page = E.Cast(OWNER, PAGE)
    one = E.Field(E.Index(of(0), page, pte), "n", SMALL)
    body = (
        S.Assign(one, E.Const(2, SMALL)),
        S.Let("old", E.Index(of(0), page, pte)),
        S.Assign(of(1), of(0)),
        S.Assign(one, E.Const(1, SMALL)),
        S.Guard(E.Not(eq(of(0), of(1)))),
        S.Assign(E.Index(of(0), page, pte), E.Local("old", pte)),
        S.Guard(eq(of(0), of(1))),
    )
    start = S.Variable("pte", T.Array(mm, table), 2, S.InitExpr((), E.Const((0, False), pte)))
    it = Interpreter(system([start, variable("owner", MAYBE, 2)], [rule(0, {}, E.TRUE, *body)]))
    assert outcomes(it, "pte") == [(((0, False), (2, False), (0, False)),) * 2]


# ------------------------------------------------------------ primes, waits


def test_step_predicates_read_the_state_after() -> None:
    it = Interpreter(
        system(
            [variable("x", SMALL)],
            [rule(0, {}, E.TRUE, set_x(2))],
            [S.Define("twice", (), T.INT, E.Arith("*", X, num(2)))],
        )
    )
    s = next(it.initial())
    after = it.expand(s)[0][0][2]
    grew = E.Compare("<", X, E.Var("x", SMALL, True))
    applied = eq(E.Apply("twice", (), T.INT, True), num(4))
    assert it.step_predicate(both(grew, applied))(s, after) is True
    assert it.step_predicate(both(grew, applied))(after, s) is False


def test_lock_attempts_say_who_waits_for_whom() -> None:
    it = from_text("""
      type Cpu = symmetric[2]; var go: bool = false;
      lock a; lock b[Cpu];
      thread t[c: Cpu] {
        first: acquire a;
        second: acquire b[c]; release a; release b[c]; stop;
      }
      thread w { wait: await go; }""")
    rules = {r.name: r.number for r in it.system.rules}
    s = next(it.initial())
    waits = it.lock_attempts(s, rules["t.first"])
    assert [(w.args, w.lock, w.free, w.holders) for w in waits] == [((0,), "a", True, ()), ((1,), "a", True, ())]
    out, _ = it.expand(s)
    after = next(x for r, args, x in out if r == rules["t.first"] and args == (0,))
    (blocked,) = it.lock_attempts(after, rules["t.first"])
    assert (blocked.args, blocked.free, blocked.read) == ((1,), False, False)
    owner = it.system.locks[0].owner_type
    assert [T.show_value(owner, h) for h in blocked.holders] == ["t[cpu0]"]
    assert T.show_value(owner, blocked.me) == "t[cpu1]"
    (next_,) = it.lock_attempts(after, rules["t.second"])
    assert (next_.lock, next_.lock_index, next_.free) == ("b", (0,), True)
    (await_,) = it.lock_attempts(s, rules["w.wait"])
    assert (await_.lock, await_.free) == (None, False)

"""`leads_to` on the quotient with permutations tracked: the same verdicts as on the full graph, and real, fair lassos.

The full graph is the oracle (`symmetry=False`); that a lasso is a fair run that breaks its property is judged here from
the definitions alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Trace
from hmmspec.lang.load import load
from hmmspec.system import expr as E
from hmmspec.system import system as S
from hmmspec.system import types as T
from hmmspec.system.build import build_all
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State
from tests.checker.helpers import checked, statuses, system_of, verdict
from tests.system.pool import CPU, PAGE, SMALL
from tests.system.systems import Choices, FromDraw, FromRandom, Maker

SPECS = Path(__file__).resolve().parents[2] / "specs"

# ---------------------------------------------------------------- is it a fair run that breaks the property?


def wrong_with(system: S.System, p: S.LeadsTo, trace: Trace) -> str:
    """What keeps the trace from being a counterexample; nothing if it is one."""
    interp = Interpreter(system)
    here = next((s for s in interp.initial() if interp.cells(s) == dict(trace.initial)), None)
    if here is None:
        return "no start"
    states, taken = [here], []
    for step in trace.steps:
        shown = dict(step.args)
        ways = [
            (rule, args, t)
            for rule, args, t in interp.expand(states[-1])[0]
            if system.rules[rule].name == step.rule
            and {q.name: T.show_value(q.type, v) for q, v in zip(system.rules[rule].params, args, strict=True)} == shown
            and interp.cells(t) == dict(step.cells)
        ]
        if len(ways) != 1:
            return f"{len(ways)} such steps"
        taken.append(ways[0])
        states.append(ways[0][2])
    if trace.loop is None or states[trace.loop] != states[-1]:
        return "does not close"
    loop = states[trace.loop :]
    for f in system.fairness:
        enabled = [
            {a[: f.prefix] for r, a, _ in [*steps, *faults] if r in f.rules}
            for steps, faults in (interp.expand(s) for s in loop)
        ]
        done = {args[: f.prefix] for rule, args, _ in taken[trace.loop :] if rule in f.rules}
        owed = set.union(*enabled) if f.strong else set.intersection(*enabled)
        if owed - done:
            return f"unfair to {f.name}{owed - done}"
    if not any(unanswered(interp, p, env, states, loop) for env in values_of(p)):
        return "nothing is unanswered"
    return ""


def values_of(p: S.LeadsTo) -> Iterator[dict[str, object]]:
    for values in product(*(range(3) if b.type == T.INT else T.values(b.type) for b in p.binders)):
        yield {b.name: v for b, v in zip(p.binders, values, strict=True)}


def unanswered(
    interp: Interpreter, p: S.LeadsTo, env: dict[str, object], states: list[State], loop: list[State]
) -> bool:
    """Whether in some state, from which on the right side is never true, the left side is."""

    def true(e: E.Expr, s: State) -> bool:
        try:
            return bool(interp.evaluate(e, s, None, env))
        except SpecFault:
            return False

    if any(true(p.right, s) for s in loop):
        return False
    for s in reversed(states):
        if true(p.right, s):
            return False
        if (p.filter is None or true(p.filter, s)) and true(p.left, s):
            return True
    return False


def agree(system: S.System, states: int = 3000) -> dict[str, str] | None:
    """The statuses, the same both ways; None where a limit ended the full search."""
    full = check(system, CheckOptions(symmetry=False, states=states, witness=False))
    if full.limit:
        return None
    reduced = check(system, CheckOptions(witness=False, max_traces=3))
    assert statuses(reduced) == statuses(full)
    judge_lassos(system, reduced)
    return statuses(reduced)


def judge_lassos(system: S.System, report: InstanceReport) -> None:
    leads = {p.name: p for p in system.properties if isinstance(p, S.LeadsTo)}
    for v in report.verdicts:
        if v.property in leads:
            for trace in (v.trace, *v.others):
                if trace is not None:
                    assert wrong_with(system, leads[v.property], trace) == ""


# ---------------------------------------------------------------- by hand


NEXT_IS_THE_OTHER = """
type Page = symmetric[2];
var next: Page = any; var waits[Page]: bool = true;
transition serve(p: Page) when next == p { waits[p] := false; choose q: Page | q != p; waits[q] := true; next := q; }
fair serve;
leads_to live: forall p: Page { waits[p] ~> !waits[p] };
"""
TURN_GOES_ROUND = """
type Page = symmetric[SIZE];
var turn: Page = any; var served: bool = false;
transition pass_on when !served { choose q: Page | q != turn; turn := q; }
transition serve(p: Page) when turn == p && !served { served := true; }
terminal over: served;
KIND serve; fair pass_on;
leads_to live: !served ~> served;
"""


def test_a_fair_cycle_of_the_quotient_that_is_none() -> None:
    """In each representative some page waits and is served; really the page that waits is the next one."""
    report = checked(system_of(NEXT_IS_THE_OTHER))
    assert statuses(report)["live"] == "holds"
    assert report.orbits is not None
    assert report.states is not None
    assert report.orbits < report.states
    assert verdict(report, "live").remark == "on the quotient, permutations of Page tracked"
    assert agree(system_of(NEXT_IS_THE_OTHER)) is not None


@pytest.mark.parametrize(("size", "loop"), [(2, 2), (3, 2), (4, 2)])
def test_a_fair_cycle_that_the_quotient_lacks(size: int, loop: int) -> None:
    """`serve` is always enabled up to renaming, and never for long for any one page: fair only when units are tracked.
    A loop is as short as it can be."""
    text = TURN_GOES_ROUND.replace("SIZE", str(size))
    report = checked(system_of(text.replace("KIND", "fair")))
    assert statuses(report)["live"] == "violated"
    trace = verdict(report, "live").trace
    assert trace is not None
    assert trace.loop is not None
    assert len(trace.steps) - trace.loop == loop
    assert agree(system_of(text.replace("KIND", "fair"))) is not None
    strong = agree(system_of(text.replace("KIND", "strongly fair")))
    assert strong is not None
    assert strong["live"] == "holds"


ONE_AFTER_THE_OTHER = """
type Page = symmetric[4];
var order[Page]: Page = any; var at: Page = any; var on[Page]: bool = false;
assume ring: forall p: Page { order[p] != p && order[order[p]] != p && order[order[order[p]]] != p };
transition hop { on[at] := !on[at]; at := order[at]; }
transition look(p: Page) when on[p] && at != p { skip; }
fair hop; strongly fair look;
leads_to live: forall p: Page { at == p ~> on[p] && !on[order[p]] && at == p };
leads_to never: forall p, q: Page | p != q { at == p ~> at == p && at == q };
"""


@pytest.mark.parametrize("closing", [100_000, 0])
def test_a_loop_is_closed_in_as_many_turns_as_it_needs(closing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The renaming of one turn has order four; both ways of closing the loop."""
    monkeypatch.setattr("hmmspec.checker.explicit.threaded_lasso.CLOSING", closing)
    system = system_of(ONE_AFTER_THE_OTHER)
    found = agree(system)
    assert found is not None
    assert found["never"] == "violated"
    trace = verdict(checked(system), "never").trace
    assert trace is not None
    assert trace.loop is not None
    assert sum(s.rule == "hop" for s in trace.steps[trace.loop :]) % 4 == 0


@pytest.mark.parametrize(("fairness", "status"), [("fair pass_on;", "violated"), ("fair pass_on, swing;", "holds")])
def test_a_run_may_keep_away_from_what_strong_fairness_would_demand(fairness: str, status: str) -> None:
    """With the door shut nobody need be served, and the turn can go round for ever, unless the door has to move."""
    text = """
    type Page = symmetric[3];
    var turn: Page = any; var open: bool = false; var served: bool = false;
    transition pass_on when !open { choose q: Page | q != turn; turn := q; }
    transition swing { open := !open; }
    transition serve(p: Page) when open && turn == p && !served { served := true; }
    strongly fair serve;
    leads_to live: !served ~> served;
    """
    system = system_of(text + fairness)
    found = agree(system)
    assert found is not None
    assert found["live"] == status
    trace = verdict(checked(system), "live").trace
    if trace is not None:
        assert {s.rule for s in trace.steps} == {"pass_on"}


def test_values_of_binders_that_no_renaming_makes_equal() -> None:
    """One counterexample for p == q, one for p != q, one for each number."""
    text = """
    type Page = symmetric[3];
    var x: 0..1 = 0;
    transition spin { x := 1 - x; }
    leads_to pairs: forall p, q: Page { x == 0 ~> x == 0 && x == 1 };
    leads_to numbers: forall p: Page, i: 0..2 | i > 0 { x == 0 ~> x == i + 5 };
    """
    report = checked(system_of(text), max_traces=9)
    assert len(verdict(report, "pairs").others) == 1
    assert len(verdict(report, "numbers").others) == 1
    judge_lassos(system_of(text), report)


def test_ranges_that_depend_on_an_identity() -> None:
    """For each page the numbers up to its own room, as only a System made by hand can say it: which page has much room
    no representative shows for each page."""
    text = """
    type Page = symmetric[3];
    var room[Page]: 0..2 = 0; var seen[Page]: set of 0..2 = {};
    transition grow(p: Page) when room[p] < 2 { room[p] += 1; }
    transition see(p: Page, i: 0..2) when i <= room[p] && !(i in seen[p]) && i < LAST { seen[p] := seen[p] + {i}; }
    terminal all: forall p: Page { room[p] == 2 };
    fair grow, see;
    leads_to live: forall p: Page, i: 0..2 { room[p] >= i ~> i in seen[p] };
    """
    for last, status in (("3", "holds"), ("2", "violated")):
        system = system_of(text.replace("LAST", last))
        p = next(p for p in system.properties if isinstance(p, S.LeadsTo))
        page, number = p.binders
        room = next(x for x in E.walk(p.left) if isinstance(x, E.Index))
        up_to_it = replace(number, type=T.INT, domain=E.OverRange(E.Const(0, T.INT), room))
        system = replace(system, properties=(replace(p, binders=(page, up_to_it), left=E.TRUE),))
        found = agree(system, 20_000)
        assert found is not None
        assert found["live"] == status


def test_errors_are_found_for_the_same_properties() -> None:
    text = """
    type Page = symmetric[3];
    var at: Page? = null; var n[Page]: 0..2 = 0;
    transition go(p: Page) when n[p] < 2 { n[p] += 1; at := p; }
    terminal all: true;
    fair go;
    leads_to live: forall p: Page { 2 / n[p] == 1 && at == p ~> n[p] == 1 };
    leads_to other: forall p: Page { n[p] == 1 ~> n[p] == 2 };
    """
    found = agree(system_of(text))
    assert found is not None
    assert found["spec_error"] == "violated"
    assert found["other"] == "holds"


def test_a_search_that_a_limit_ends_still_shows_real_lassos() -> None:
    text = TURN_GOES_ROUND.replace("SIZE", "3").replace("KIND", "fair") + (
        "var more: 0..50 = 0; transition up when more < 50 { more += 1; }"
    )
    system = system_of(text)
    report = checked(system, states=20)
    assert report.limit
    assert statuses(report)["live"] == "violated"
    judge_lassos(system, report)


# ---------------------------------------------------------------- the specs


@pytest.mark.parametrize(
    ("file", "instance"),
    [
        ("bugs/bug21_everybody_references", "unpatched"),
        ("bugs/bug21_everybody_references", "patched"),
        ("bugs/bug21_everybody_references", "patched_three"),
        ("bugs/bug22_trylock_starves_holder", None),
        ("bugs/bug27_waiter_reference_blocks_migration", None),
        ("cpu_fault", "v1"),
        ("cpu_fault", "v2"),
        ("cpu_fault", "v2_no_preemption"),
        ("cpu_fault", "v3"),
        ("cpu_fault", "v3_no_preemption"),
        ("device_private", "tiny"),
    ],
)
def test_specs_have_the_same_verdicts(file: str, instance: str | None) -> None:
    """Locks, waiters, thread locals and sets that hold identities."""
    for system in build_all(load(str(SPECS / f"{file}.hmm")), [instance] if instance else None):
        assert any(isinstance(p, S.LeadsTo) for p in system.properties)
        assert agree(system, 50_000) is not None, system.instance


def test_what_is_too_large_without() -> None:
    """3,501,001 states, judged on 12,810 representatives."""
    system = build_all(load(str(SPECS / "device_private.hmm")), ["wide"])[0]
    report = checked(system)
    assert (report.states, report.orbits) == (3_501_001, 12_810)
    assert statuses(report)["faults_end"] == "holds"
    unfair = checked(replace(system, fairness=()), max_traces=2)
    assert statuses(unfair)["faults_end"] == "violated"


# ---------------------------------------------------------------- random specs as text


class Sketch:
    """A small spec over three pages and two CPUs, whose steps are drawn from what makes identities go round."""

    def __init__(self, c: Choices) -> None:
        self.c = c
        self.cpus = c.chance(40)
        self.thread = self.cpus and c.chance(50)

    def atom(self, names: list[str]) -> str:
        """A condition; `names` are pages in scope."""
        general = ["n == 0", "n == 1", "turn == null", "on[last]", "size(seen) > 1", "turn == last"]
        if self.cpus:
            general += ["busy[hot]", "exists d: Cpu { busy[d] }"]
        if not names:
            return self.c.pick(general)
        p = self.c.pick(names)
        others = [f"{p} != {q}" for q in names if q != p]
        own = [f"turn == {p}", f"last == {p}", f"on[{p}]", f"!on[{p}]", f"{p} in seen", f"link[{p}] == last", *others]
        return self.c.pick([*own, *own, f"last != {p}", f"link[{p}] != {p}", *general])

    def condition(self, names: list[str]) -> str:
        parts = [self.atom(names) for _ in range(self.c.pick((1, 1, 2, 3)))]
        return self.c.pick((" && ", " && ", " || ")).join(f"({p})" for p in parts)

    def effect(self, names: list[str]) -> str:
        general = ["n := 1 - n;", "turn := null;", "last := link[last];", "on[last] := !on[last];", "seen := {};"]
        general += ["choose z: Page | z != last; last := z;", "turn := last;"]
        if self.cpus:
            general += ["busy[hot] := !busy[hot];", "choose d: Cpu | d != hot; hot := d;"]
        if not names:
            return self.c.pick(general)
        p, q = self.c.pick(names), self.c.pick(names)
        own = [f"turn := {p};", f"last := {p};", f"on[{p}] := !on[{p}];", f"on[{p}] := true;"]
        own += [f"let was = link[{p}]; link[{p}] := link[{q}]; link[{q}] := was;", f"seen := seen + {{{p}}};"]
        return self.c.pick([*own, *own, *general])

    def rule(self, number: int) -> str:
        pages = ["p", "q"][: self.c.pick((0, 1, 1, 1, 2))]
        params = [f"{p}: Page" for p in pages]
        if self.cpus and self.c.chance(40):
            params.insert(self.c.number(0, len(params)), "c: Cpu")
        guard = self.condition(pages) + (" && busy[c] == (n == 0)" if "c: Cpu" in params and self.c.chance(50) else "")
        effects = dict.fromkeys(self.effect(pages) for _ in range(self.c.pick((1, 1, 2))))
        body = " ".join("{ " + x + " }" if x.startswith("let") else x for x in effects).replace(
            "{ let", "if (true) { let"
        )
        head = f"transition s{number}({', '.join(params)})" if params else f"transition s{number}"
        return f"{head} when {guard} {{ {body} }}"

    def text(self) -> str:
        out = [
            "type Page = symmetric[3]; type Cpu = symmetric[2];",
            "var n: 0..1 = 0; var turn: Page? = null; var last: Page = any; var on[Page]: bool = false;",
            "var seen: set of Page = {}; var link[Page]: Page = any;",
            "assume permuted: forall a, b: Page | a != b { link[a] != link[b] };",
        ]
        if self.cpus:
            out.append("var busy[Cpu]: bool = false; var hot: Cpu = any;")
        names = [f"s{i}" for i in range(self.c.number(2, 4))]
        out += [self.rule(i) for i in range(len(names))]
        if self.thread:
            out.append(
                "lock ptl; thread w[c: Cpu](p: Page) { var mine_too: Page? = null;"
                f" take: await ({self.condition(['p'])}); acquire ptl; mine_too := p;"
                f" work: {self.effect(['p'])} release ptl; mine_too := null; restart; }}"
            )
            names.append("w")
        for name in names:
            kind = self.c.pick(("", "fair", "fair", "strongly fair"))
            if kind:
                out.append(f"{kind} {name};")
        out.append("terminal anywhere: true;")
        for k in range(2):
            pages = ["p", "q"][: self.c.pick((0, 1, 1, 2))]
            left, right = self.condition(pages), self.condition(pages)
            where = f"forall {', '.join(pages)}: Page " if pages else ""
            body = f"{left} ~> {right}"
            out.append(f"leads_to live{k}: {where}{{ {body} }};" if pages else f"leads_to live{k}: {body};")
        out.append(f"recoverable back: {self.condition([])};")
        return "\n".join(out)


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_sketches_agree(data: st.DataObject) -> None:
    agree(system_of(Sketch(FromDraw(data.draw)).text()), 800)


@pytest.mark.parametrize("seed", range(4))
def test_random_sketches_agree(seed: int) -> None:
    """Enough of both verdicts to mean something."""
    found: list[str] = []
    for number in range(16):
        seen = agree(system_of(Sketch(FromRandom(random.Random(100 * seed + number))).text()), 1500)
        if seen is not None:
            found += [seen["live0"], seen["live1"]]
    assert found.count("violated") >= 3
    assert found.count("holds") >= 3


@pytest.mark.parametrize("seed", range(2))
def test_where_ties_are_too_many_to_try(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several representatives of one orbit do no harm, nor does a loop that is closed by going round."""
    monkeypatch.setattr("hmmspec.checker.explicit.symmetry.TRIES_AT_MOST", 1)
    monkeypatch.setattr("hmmspec.checker.explicit.threaded_lasso.CLOSING", 0)
    inexact = 0
    for number in range(12):
        system = system_of(Sketch(FromRandom(random.Random(5000 + 100 * seed + number))).text())
        if agree(system, 800) is not None:
            inexact += check(system, CheckOptions()).reduction == "representatives"
    assert inexact > 0


# ---------------------------------------------------------------- random Systems with every kind of node


def with_leads_to(c: Choices) -> S.System:
    """A random System, with fair steps and two `leads_to`."""
    maker = Maker(c)
    system = maker.system()
    fairness = []
    for n in range(c.number(1, 3)):
        first = c.pick(system.rules)
        prefix = c.number(0, len(first.params))
        types = tuple(p.type for p in first.params[:prefix])
        alike = tuple(r.number for r in system.rules if tuple(p.type for p in r.params[:prefix]) == types)
        rules = alike if c.chance(30) else (first.number,)
        fairness.append(S.Fairness(f"fair{n}", c.chance(40), rules, prefix))
    leads: list[S.Property] = []
    for n, types in enumerate([(PAGE,), c.pick(((), (CPU,), (PAGE, PAGE), (PAGE, CPU), (SMALL, PAGE), (T.INT, PAGE)))]):
        binders = []
        scope: dict[str, T.Type] = {}
        for t in types:
            name = maker.name("b")
            low, high = E.Const(0, T.INT), E.Const(2, T.INT)
            binders.append(E.Binder(name, t, E.OverRange(low, high) if t == T.INT else E.OverType(t)))
            scope[name] = t
        filter_ = maker.expr(T.BOOL, scope, 2) if c.chance(30) else None
        left, right = maker.expr(T.BOOL, scope, 2), maker.expr(T.BOOL, scope, 2)
        leads.append(S.LeadsTo(f"live{n}", "", tuple(binders), filter_, left, right))
    anywhere = (S.Predicate("anywhere", "", E.TRUE),)
    properties = (*system.properties, *leads, S.Recoverable("back", "", maker.expr(T.BOOL, {}, 2)))
    return replace(system, fairness=tuple(fairness), properties=properties, terminal=anywhere)


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_systems_agree(data: st.DataObject) -> None:
    agree(with_leads_to(FromDraw(data.draw)), 600)


@pytest.mark.parametrize("seed", range(4))
def test_random_systems_agree(seed: int) -> None:
    found: list[str] = []
    for number in range(12):
        seen = agree(with_leads_to(FromRandom(random.Random(1000 * seed + number))), 800)
        if seen is not None:
            found += [seen["live0"], seen["live1"]]
    assert found.count("violated") >= 1
    assert found.count("holds") >= 1

"""Who holds a lock, and where in a procedure a thread is; and that what is spelled out can be read again."""

from __future__ import annotations

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import Status
from hmmspec.diagnostics import Limit, Source, SpecError
from hmmspec.lang.load import load_source
from hmmspec.system import expr as E
from hmmspec.system.build import build, build_all
from hmmspec.system.run import Interpreter
from hmmspec.system.spelling import spelled
from hmmspec.system.system import Invariant, System
from hmmspec.system.types import BOOL, Enum, Set, Union, cardinality

LOCKS = """\
spec locks
param CPUS = 2;
param PAGES = 2;
type Cpu = symmetric[CPUS];
type Page = symmetric[PAGES];
type Owner = Cpu | enum { nobody };
type Pte = record { by: Owner; write: bool; };
lock ptl;
lock folio[Page];
rwlock mm;
var owner[Page]: Cpu? = null;
var by[Page]: Owner = nobody;
var pte[Page]: Pte = Pte(by = nobody, write = false);
var pages: set of Page = {};
thread fault[c: Cpu](p: Page) {
  get: acquire ptl;
  two: call take(p); owner[p] := c; by[p] := c; pages += {p};
  three: call twice();
  four: call twice();
  drop: owner[p] := null; by[p] := nobody; pages -= {p}; release folio[p]; release ptl; restart;
}
procedure take(x: Page) { var n: 0..1 = 0; wait: acquire folio[x]; n := 1; more: skip; }
procedure twice() { one: skip; two: skip; }
thread reader { r: acquire read mm; q: release mm; restart; }
thread writer { w: acquire mm; z: release mm; restart; }
"""
TRUE = [
    "forall c: Cpu | fault[c] in {three, four, drop} { holder(ptl) == fault[c] }",
    "forall c: Cpu, p: Page | fault[c] == drop && fault[c].p == p { fault[c] == holder(folio[p]) }",
    "forall c: Cpu | fault[c] == drop { holder(ptl) != null && holder(ptl) in {fault[c]} }",
    "reader == q => reader in readers(mm)",
    "writer == z <=> holder(mm) == writer",
    "readers(mm) == {} || holder(mm) == null",
    "forall c: Cpu { inside(fault[c], take.more) => fault[c].take.x == fault[c].p && fault[c].take.n == 1 }",
    "forall c: Cpu { inside(fault[c]) => fault[c] in {two, three, four} }",
    "forall c: Cpu { fault[c] == three => !inside(fault[c], twice.two, 2) }",
    "forall c: Cpu { inside(fault[c], twice.two, 2) => fault[c] == four }",
    "forall c, d: Cpu | c != d { holder(ptl) != fault[c] || holder(ptl) != fault[d] }",
    "forall p: Page { by[p] == nobody <=> owner[p] == null }",
    "forall p: Page { pte[p].by == nobody && !pte[p].write && (by[p] in Cpu => by[p] == owner[p]) }",
]
FALSE = [
    "forall c: Cpu { holder(ptl) != fault[c] }",
    "forall c: Cpu { !inside(fault[c], twice.two, 2) }",
    "forall c: Cpu { !inside(fault[c], take.more) }",
    "!(reader in readers(mm))",
    "forall p: Page { holder(folio[p]) == null }",
]


def of(*invariants: str) -> System:
    text = LOCKS + "".join(f"invariant inv_{i}: {e};\n" for i, e in enumerate(invariants))
    return build_all(load_source(Source("locks.hmm", text)))[0]


def bodies(system: System) -> list[E.Expr]:
    return [p.body for p in system.properties if isinstance(p, Invariant)]


def test_what_they_mean() -> None:
    report = check(of(*TRUE, *FALSE), CheckOptions(engine="python"))
    found = {v.property: v.status for v in report.verdicts if v.property.startswith("inv_")}
    expected = [Status.HOLDS] * len(TRUE) + [Status.VIOLATED] * len(FALSE)
    assert list(found.values()) == expected


def test_what_is_spelled_out_is_read_again() -> None:
    """The same text comes out of what was read, and it says the same in every state that is reached."""
    system = of(*TRUE, *FALSE)
    texts = [spelled(system, e) for e in bodies(system)]
    again = of(*texts)
    assert [spelled(again, e) for e in bodies(again)] == texts
    interp, other = Interpreter(system), Interpreter(again)
    pairs = [(interp.predicate(a), other.predicate(b)) for a, b in zip(bodies(system), bodies(again), strict=True)]
    todo = list(interp.initial())
    seen = set(todo)
    while todo:
        s = todo.pop()
        assert all(a(s) == b(s) for a, b in pairs)
        new = {t for _, _, t in interp.expand(s)[0]} - seen
        seen |= new
        todo += new
    assert len(seen) > 50
    assert "inside(fault[c], twice.two, 2)" in texts[9]
    assert "fault[c].take.x == fault[c].p" in texts[6]


def test_what_only_lowering_says() -> None:
    system = of()
    fault = system.variable("fault.call")
    cpu = next(t for t in system.symmetric if t.name == "Cpu")
    point = fault.type.element  # type: ignore[union-attr]
    assert isinstance(point, Enum)
    at = E.Index(E.Var("fault.call", fault.type), E.Local("c", cpu), point)
    outside = E.Const(0, point)
    assert spelled(system, E.Compare("==", at, outside)) == "!inside(fault[c])"
    assert spelled(system, E.Compare("==", outside, at)) == "!inside(fault[c])"
    some = E.InSet(at, E.Const(0b110, Set(point)))
    assert spelled(system, some) == "inside(fault[c], take.wait) || inside(fault[c], take.more)"
    owner = E.Var("mm", system.variable("mm").type)
    assert isinstance(owner.type, Union)
    assert spelled(system, E.Not(E.IsMember(owner, (0,)))) == "!(holder(mm) == null)"
    assert spelled(system, E.IsMember(owner, (1,))) == "holder(mm) == reader"
    ptl = E.Var("ptl", system.variable("ptl").type)
    assert spelled(system, E.IsMember(ptl, (1,))) == "exists i_0: Cpu { holder(ptl) == fault[i_0] }"
    by = E.Index(E.Var("by", system.variable("by").type), E.Local("p", cpu), system.variable("by").type.element)  # type: ignore[union-attr]
    everyone = (1 << cardinality(by.type)) - 1
    assert spelled(system, E.InSet(by, E.Const(everyone, Set(by.type)))) == "by[p] in Cpu || by[p] == nobody"
    bound = E.Quant("forall", (E.Binder("c", cpu, E.OverType(cpu)),), None, E.Compare("==", at, outside), BOOL)
    assert spelled(system, bound, {"c", "c_"}) == "forall c__: Cpu { !inside(fault[c__]) }"
    for what in (E.Const(0, cpu), E.Const(0b01, Set(cpu)), E.Const(1, ptl.type)):
        with pytest.raises(Limit, match="have no names"):
            spelled(system, E.Compare("==", what, what))
    for whole in (E.Var("fault.p", system.variable("fault.p").type), at):
        with pytest.raises(Limit, match="the language has no word"):
            spelled(system, E.Compare("==", whole, whole))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("holder(ptl) == 3", "HMM030"),
        ("holder(folio) == null", "HMM028"),
        ("holder(owner) == null", "HMM043"),
        ("holder(ptl, mm) == null", "HMM025"),
        ("readers(ptl) == {}", "HMM043"),
        ("holder(ptl) == reader", "HMM030"),
        ("inside(reader)", "HMM046"),
        ("forall c: Cpu { inside(fault[c], take.nowhere) }", "HMM046"),
        ("forall c: Cpu { inside(fault[c], 3) }", "HMM025"),
        ("inside(ptl)", "HMM025"),
        ("forall c: Cpu { fault[c].take.nothing == null }", "HMM027"),
    ],
)
def test_mistakes(text: str, code: str) -> None:
    with pytest.raises(SpecError) as error:
        of(text)
    assert code in [d.code for d in error.value.diagnostics]


def test_a_define_of_that_name_stays_what_it_is() -> None:
    text = "spec s\nvar x: bool = false;\ntransition t { x := !x; }\ndefine holder(b: bool): bool = b;\ninvariant i: holder(true);\n"
    assert check(build(load_source(Source("s.hmm", text))), CheckOptions(engine="python")).exit_code == 0

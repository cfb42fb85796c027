"""How the core is printed: `hmmspec show` and the text of messages."""

from __future__ import annotations

import pytest

from hmmspec.diagnostics import Source
from hmmspec.lang.load import load_source
from hmmspec.system import expr as E
from hmmspec.system import types as T
from hmmspec.system.build import build
from hmmspec.system.show import show_expr, show_system, text_of
from tests.system.hand import num

PAGE = T.Symmetric("Page", 3)
MAYBE = T.Union((T.NULL, PAGE))
B = E.Var("b", T.BOOL)
Q = E.Var("q", T.Queue(2, PAGE))
S_ = E.Var("s", T.Set(PAGE))
X = E.Var("x", T.Range(0, 3))
OWNER = E.Var("owner", MAYBE)
PTE = T.Record("Pte", (("kind", T.Enum("Kind", ("none", "device"))), ("write", T.BOOL)))
p = E.Local("p", PAGE)
each = (E.Binder("p", PAGE, E.OverType(PAGE)),)
some = (E.Binder("p", PAGE, E.OverSet(S_)),)
numbers = (E.Binder("i", T.INT, E.OverRange(num(1), E.Cast(X, T.INT))),)


@pytest.mark.parametrize(
    ("e", "text"),
    [
        (E.Arith("-", num(1), E.Arith("-", num(2), num(3))), "1 - (2 - 3)"),
        (E.Arith("*", E.Arith("+", num(1), X), num(3)), "(1 + x) * 3"),
        (E.Negate(E.Arith("+", num(1), X)), "-(1 + x)"),
        (E.Not(E.Logic("&&", B, E.Not(B))), "!(b && !b)"),
        (E.Logic("=>", E.Logic("=>", B, B), E.Logic("=>", B, B)), "(b => b) => b => b"),
        (E.Compare("==", E.Compare("<", X, num(1)), B), "(x < 1) == b"),
        (E.Quant("forall", each, B, B, T.BOOL), "forall p: Page | b { b }"),
        (E.Quant("count", some, B, None, T.INT), "count(p in s | b)"),
        (E.Quant("sum", numbers, None, E.Local("i", T.INT), T.INT), "sum(i for i: 1..x)"),
        (E.Quant("set", each, B, p, T.Set(PAGE)), "{p: Page | b}"),
        (E.InSet(p, E.MakeSet((p, p), T.Set(PAGE))), "p in {p, p}"),
        (E.InRange(X, num(1), num(2)), "x in 1..2"),
        (E.IsMember(OWNER, (1,)), "owner in Page"),
        (E.Compare("==", E.Cast(OWNER, PAGE), p), "owner == p"),
        (E.Compare("==", OWNER, E.Const(0, MAYBE)), "owner == null"),
        (E.Field(E.MakeRecord((E.Const(1, PTE.fields[0][1]), B), PTE), "write", T.BOOL), "Pte(kind = device, write = b).write"),
        (E.MakeThreadId((p,), T.ThreadId("fault", (PAGE,))), "fault[p]"),
        (E.SetOp("-", S_, E.SetOp("+", S_, S_, S_.type), S_.type), "s - (s + s)"),
        (E.Size(E.Pushed(E.Popped(Q, Q.type), E.Head(Q, PAGE), Q.type)), "size(pushed(popped(q), head(q)))"),
        (E.MinMax("max", (num(1), X)), "max(1, x)"),
        (E.If(B, num(1), num(2), T.INT), "if b then 1 else 2"),
        (E.Arith("+", E.If(B, num(1), num(2), T.INT), num(1)), "(if b then 1 else 2) + 1"),
        (E.Apply("f", (p,), T.BOOL, True), "f'(p)"),
        (E.Index(E.Var("a", T.Array(PAGE, T.BOOL), True), p, T.BOOL), "a'[p]"),
    ],
)  # fmt: skip
def test_expressions(e: E.Expr, text: str) -> None:
    assert show_expr(e) == text


def test_written_text_is_kept_on_one_line() -> None:
    source = Source("a.hmm", "spec a var x: 0..3 = 0; invariant i: x\n    <   2;")
    (i,) = build(load_source(source)).properties
    assert text_of(i.body) == "x < 2"  # type: ignore[union-attr]


def test_a_whole_system() -> None:
    source = Source(
        "a.hmm",
        """spec a
type Page = symmetric[2];
var pins[p: Page]: 0..2 = 0;
var q: queue[2] of Page = [];
transition pin(p: Page) when pins[p] < 2 && size(q) < 2 {
  pins[p] += 1;
  either { push(q, p); } or { skip; }
  for i: 0..1 | i > 0 { if (i == 1) { let n = i + 1; } else { pop(q); } }
  assert low "stays low": pins[p] < 3;
}
transition take { choose p in {x: Page | pins[x] > 0}; pins[p] := 0; }
fair pin;
""",
    )
    text = show_system(build(load_source(source)))
    for part in (
        "// a, instance default",
        "var pins[p: Page]: 0..2 = 0;",
        "// a.hmm:5\ntransition pin(p: Page) when pins[p] < 2 && size(q) < 2 {\n  pins[p] := pins[p] + 1;\n",
        "  either {\n    push(q, p);\n  } or {\n  }\n",
        "  for i: 0..1 | i > 0 {\n    if (i == 1) {\n      let n = i + 1;\n    } else {\n      pop(q);\n    }\n  }\n",
        '  assert low "stays low": pins[p] < 3;\n',
        "  choose p in {x: Page | pins[x] > 0};\n  pins[p] := 0;\n",
        "fair pin;",
    ):
        assert part in text

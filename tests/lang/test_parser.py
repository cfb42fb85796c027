"""Text to tree: what each construct becomes, where its span is, and what is said about mistakes."""

from __future__ import annotations

import logging
from importlib import resources
from pathlib import Path

import pytest
from lark import Lark, logger

from hmmspec.diagnostics import Source, SpecError, render
from hmmspec.lang import syntax as s
from hmmspec.lang import tables
from hmmspec.lang.parser import parse, parse_expression
from tests.lang.samples import FIRST, THREADS, WHOLE


def tree(text: str) -> s.File:
    return parse(Source("t.hmm", text))


def expr(text: str) -> s.Expr:
    return parse_expression(Source("e", text))


def one(text: str) -> s.Declaration:
    return tree(f"spec t\n{text}").declarations[0]


def stmts(text: str) -> s.Block:
    declaration = one(f"transition t {{ {text} }}")
    assert isinstance(declaration, s.Transition)
    return declaration.body


def errors(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        tree(text)
    return [f"{d.code} {d.span.line}:{d.span.column}" for d in caught.value.diagnostics]


def init(name: str, value: s.Expr) -> s.FieldInit:
    return s.FieldInit(s.Ident(name), value)


a, b, c = s.Name("a"), s.Name("b"), s.Name("c")


def test_grammar_has_no_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    # lark raises for two reductions, but settles a shift against a reduction in silence; only its log tells.
    text = resources.files("hmmspec.lang").joinpath("grammar.lark").read_text(encoding="utf-8")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(caplog.handler)
    try:
        Lark(text, parser="lalr", lexer=tables.NoLexer, start=tables.STARTS, debug=True)
        assert "conflict" not in caplog.text
        Lark('start: "i" start | "i" start "e" start | "x"', parser="lalr", debug=True)
        assert "conflict" in caplog.text
    finally:
        logger.removeHandler(caplog.handler)
        logger.setLevel(logging.CRITICAL)


def test_cached_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made: list[str] = []
    real = tables.make
    monkeypatch.setattr(tables, "make", lambda grammar: made.append(grammar) or real(grammar))

    def terminals() -> set[str]:
        tables.parser_tables.cache_clear()
        return {t.name for t in tables.parser_tables().terminals}

    first = terminals()
    (kept,) = (tmp_path / "hmmspec/tables").iterdir()
    assert terminals() == first and len(made) == 1
    assert tree("spec t\nvar x: bool;") == s.File(
        s.Ident("t"), None, None, (s.VarDecl(s.Ident("x"), (), s.BoolType(), None),)
    )
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    assert terminals() == first and len(made) == 2
    # A cache that cannot be written is no reason to fail.
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    assert terminals() == first and len(made) == 3
    tables.parser_tables.cache_clear()


@pytest.mark.parametrize("text", [FIRST, THREADS, WHOLE])
def test_samples_parse(text: str) -> None:
    assert tree(text).declarations


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", s.Binary("+", a, s.Binary("*", b, c))),
        ("a - b - c", s.Binary("-", s.Binary("-", a, b), c)),
        ("a => b => c", s.Binary("=>", a, s.Binary("=>", b, c))),
        ("a <=> b => c", s.Binary("<=>", a, s.Binary("=>", b, c))),
        ("a || b && c", s.Binary("||", a, s.Binary("&&", b, c))),
        ("!a == b", s.Binary("==", s.Unary("!", a), b)),
        ("-a * b", s.Binary("*", s.Unary("-", a), b)),
        ("a in b && c", s.Binary("&&", s.Binary("in", a, b), c)),
        ("a in b + 1..c", s.Binary("in", a, s.RangeExpr(s.Binary("+", b, s.IntLit(1)), c))),
        ("a'[b].x", s.Member(s.Index(s.Name("a", True), b), s.Ident("x"))),
        ("f'(a)", s.Call(s.Ident("f"), (a,), True)),
        ("f()", s.Call(s.Ident("f"), ())),
        ("0x1F + 1_000", s.Binary("+", s.IntLit(31), s.IntLit(1000))),
        ("{}", s.SetLit(())),
        ("{a, b}", s.SetLit((a, b))),
        ("{a in b}", s.SetLit((s.Binary("in", a, b),))),
        ("{a in b | c}", s.SetComp(s.Binder((s.Ident("a"),), b, True), c)),
        ("{a: b | c}", s.SetComp(s.Binder((s.Ident("a"),), s.NamedType("b"), False), c)),
        ("{a: 0..1}", s.SetComp(s.Binder((s.Ident("a"),), s.RangeType(s.IntLit(0), s.IntLit(1)), False), None)),
        ("[]", s.EmptyQueue()),
        ("R(a = b, b = 1)", s.RecordLit(s.Ident("R"), (init("a", b), init("b", s.IntLit(1))))),
        ("if a then b else c", s.IfExpr(a, b, c)),
        ("min(a, b)", s.Call(s.Ident("min"), (a, b))),
        ("held(read b)", s.Held("held", True, b)),
        ("held read(b)", s.Held("held", True, b)),
        ("held(read)", s.Held("held", False, s.Name("read"))),
        ("mine(read[b])", s.Held("mine", False, s.Index(s.Name("read"), b))),
        ("trylock read b", s.Trylock(True, b)),
        ("trylock read", s.Trylock(False, s.Name("read"))),
        ("add + by + has + every + runs", expr("((((add + by) + has) + every) + runs)")),
    ],
)
def test_expressions(text: str, expected: s.Expr) -> None:
    assert expr(text) == expected


def test_quantifiers() -> None:
    p, q = s.Ident("p"), s.Ident("q")
    page = s.NamedType("Page")
    assert expr("forall p, q: Page, c in a | b { c }") == s.Quant(
        "forall", (s.Binder((p, q), page, False), s.Binder((s.Ident("c"),), a, True)), b, c
    )
    assert expr("count(p: Page)") == s.Quant("count", (s.Binder((p,), page, False),), None, None)
    assert expr("sum(a for p: Page | b)") == s.Quant("sum", (s.Binder((p,), page, False),), b, a)
    assert expr("max(a for p in 0..3)") == s.Quant(
        "max", (s.Binder((p,), s.RangeExpr(s.IntLit(0), s.IntLit(3)), True),), None, a
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a := 1;", s.Assign(a, ":=", s.IntLit(1))),
        ("a[b].x += 1;", s.Assign(s.Member(s.Index(a, b), s.Ident("x")), "+=", s.IntLit(1))),
        ("if a { skip; } else if (b) { }", s.If(a, (s.Skip(),), (s.If(b, (), ()),))),
        ("a := call f(b);", s.CallStmt(a, s.Ident("f"), (b,))),
        ("call f();", s.CallStmt(None, s.Ident("f"), ())),
        ("acquire read a[b];", s.Acquire(True, s.Index(a, b))),
        ("acquire read;", s.Acquire(False, s.Name("read"))),
        ("take: skip;", s.Label(s.Ident("take"))),
        ("return;", s.Return(None)),
        ('assert x "why": a;', s.Assert(s.Ident("x"), "why", a)),
        ("either { } or { } or { stop; }", s.Either(((), (), (s.Stop(),)))),
    ],
)
def test_statements(text: str, expected: s.Stmt) -> None:
    assert stmts(text)[0] == expected


def test_types() -> None:
    declaration = one("type T = set of A? | queue[2] of (B | C)? | 0..N - 1;")
    assert declaration == s.TypeDecl(
        s.Ident("T"),
        s.UnionType(
            (
                s.SetType(s.OptionalType(s.NamedType("A"))),
                s.QueueType(s.IntLit(2), s.OptionalType(s.UnionType((s.NamedType("B"), s.NamedType("C"))))),
                s.RangeType(s.IntLit(0), s.Binary("-", s.Name("N"), s.IntLit(1))),
            )
        ),
    )


def test_parameters_of_one_type_in_one_go() -> None:
    assert one("transition t(p, q: Page) { }") == one("transition t(p: Page, q: Page) { }")


def test_header_and_doc() -> None:
    file = tree('spec b refines "a.hmm" by { var_[p: Page] = a; t[c: Cpu].x = b; }')
    assert isinstance(file.header, s.Refines)
    assert file.header.mappings[1].field == s.Ident("x")
    file = tree('spec b patches "a.hmm"\n"""\n    Two\n      lines.\n"""\n{ remove x; add fair y; }\nvar z: bool;')
    assert file.doc == "Two\n  lines."
    assert isinstance(file.header, s.Patches)
    assert file.header.items == (s.Remove(s.Ident("x")), s.Add(s.Fair(False, (s.StepName("y"),))))


def test_patch_items() -> None:
    file = tree('spec b patches "a.hmm" { replace m { a -> b by c; } replace t { a: skip; } replace var x: bool; }')
    assert isinstance(file.header, s.Patches)
    arrows, steps, whole = file.header.items
    assert isinstance(arrows, s.ReplaceIn) and len(arrows.arrows) == 1 and not arrows.body
    assert isinstance(steps, s.ReplaceIn) and len(steps.body) == 2 and not steps.arrows
    assert isinstance(whole, s.Replace)


def test_spans() -> None:
    text = 'spec t\ninvariant fits "x": (a + b) * c <= d;\n'
    prop = tree(text).declarations[0]
    assert isinstance(prop, s.Property) and isinstance(prop.body, s.Binary) and isinstance(prop.body.left, s.Binary)
    assert prop.span.text == text.strip().split("\n")[1]
    assert prop.name.span.text == "fits"
    assert prop.body.left.span.text == "(a + b) * c"
    assert prop.body.left.left.span.text == "a + b"
    assert (prop.body.right.span.line, prop.body.right.span.column) == (2, 36)


def test_every_node_of_a_file_has_a_span() -> None:
    file = tree(WHOLE)
    stack: list[s.Node] = [file]
    while stack:
        node = stack.pop()
        assert node.span.end > node.span.start, node
        for name in node.__dataclass_fields__:
            value = getattr(node, name)
            stack.extend(item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, s.Node))


def test_strings() -> None:
    prop = one(r'invariant x "a \"b\" \\ \n \d": a;')
    assert isinstance(prop, s.Property)
    assert prop.text == 'a "b" \\ \n \\d'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Plain repairs: parsing goes on as if they had been made.
        (
            "spec t\nvar x: bool\nvar y: bool\ntransition t { x = 1; y := 2 }\n",
            "HMM013 2:11, HMM013 3:11, HMM012 4:18, HMM013 4:28",
        ),
        ("spec t\ninvariant i: 0 < a < 3 && b = 4;\n", "HMM011 2:20, HMM012 2:29"),
        ("spec t\nvar event: bool;\nvar lock: bool := true;\n", "HMM006 2:5, HMM006 3:5, HMM012 3:16"),
        ("spec t\nassume x: a and b or c;\nassume y: a ==> b;\n", "HMM001 2:13, HMM001 2:19, HMM001 3:15"),
        ("spec t;\ntransition t { };\nvar x: bool;;\n", "HMM001 1:7, HMM001 2:17, HMM001 3:13"),
        # No plain repair: the rest of the declaration is skipped.
        ("spec t\ntransition t {\n  if (a) b := 1;\n}\nvar x = 3;\n", "HMM014 3:10, HMM001 5:7"),
        ("spec t\nmachine m {\n  states a;\n  a -> a by x;\n}\nassume x: (a;\n", "HMM001 4:3, HMM001 6:13"),
        ("var x: bool;\nvar y bool;\n", "HMM010 1:1, HMM001 2:7"),
        ("spec t\ntransition t {\n", "HMM002 2:14"),
        ('spec t\nassume x: a@b;\nassume y: "abc\n', "HMM003 2:12, HMM004 3:11"),
        (
            "spec t\nassume x: 1.5;\nassume y: 12ab;\nassume z: 99999999999999999999;\n",
            "HMM008 2:13, HMM008 3:11, HMM007 4:11",
        ),
        ("spec t\nassume x: y[a);\n", "HMM015 2:14"),
        ("spec t\nassume x: {a + 1 | b} == c;\n", "HMM016 2:12"),
        (
            "spec t\nassume x: a ~> b;\nassume y: a.. b;\nassume z: 1 + if a then b else c;\n",
            "HMM018 2:13, HMM018 3:12, HMM018 4:15",
        ),
    ],
)
def test_mistakes(text: str, expected: str) -> None:
    assert ", ".join(errors(text)) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spec t\ntransition t { x++; }", "write 'x += 1;'"),
        ("spec t\nassume x: forall p: Page: a;", "write forall p: Page { ... }"),
        ("spec t\nassume x: not a;", "write '!' for 'not'"),
        ("spec t\nassume x: a ? b : c;", "if c then a else b"),
        ("spec t\nassume x: a;\nbool y;", "write 'var NAME: bool = false;'"),
        ("spec t\ninvarient x: a;", "did you mean 'invariant'?"),
        ("spec t\nthread t { aquire l; }", "did you mean 'acquire'?"),
        ("spec t\nthread t { skip; var n: bool; }", "top of the body"),
        ("spec t\ntransition t { f(a); }", "write 'call f(...);'"),
        ("spec t\ntransition t { for (p: Page) { } }", "for p: Page"),
        ("spec t\ntransition t { choose p: Page where a; }", "write '|'"),
        ("spec t\ntransition t { a->b := 1; }", "write '.' to reach a field"),
        ("spec t\nassume x: a && ;", "expected an expression"),
        ("spec t\nvar x: ;", "expected a type"),
        ("spec t\nassume x: (a && b;", "this '(' is still open"),
        ("spec t\nassume x: a \u2264 b;", "write '<='"),
        ("spec t\nvar x: set of T = [a];", "a set is written {a, b}"),
        ("", "a file begins with 'spec NAME'"),
    ],
)
def test_help(text: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        tree(text)
    assert words in "\n".join(map(render, caught.value.diagnostics))


def test_at_most_ten_mistakes() -> None:
    assert len(errors("spec t\n" + "var x bool = = ;\n" * 50)) == 10
    assert len(errors("spec t\n" + "@ $ " * 50)) == 10


@pytest.mark.parametrize("text", ["", "a b", "a +", "x := 1", "(", "a;", "}"])
def test_not_one_expression(text: str) -> None:
    with pytest.raises(SpecError):
        expr(text)

"""Tree to text: printing and parsing again gives the same tree."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmmspec.diagnostics import Source
from hmmspec.lang import syntax as s
from hmmspec.lang.parser import parse, parse_expression
from hmmspec.lang.printer import print_declaration, print_expr, print_file, print_stmt, print_stmts, print_type
from tests.lang.samples import FIRST, THREADS, WHOLE, examples
from tests.lang.trees import Trees

NODES = {
    cls
    for cls in vars(s).values()
    if isinstance(cls, type) and issubclass(cls, s.Node) and cls not in (s.Node, s.Spec, s.Refinement)
}


def classes(node: s.Node) -> set[type[s.Node]]:
    """The classes of all nodes in a tree."""
    found: set[type[s.Node]] = set()
    stack = [node]
    while stack:
        top = stack.pop()
        found.add(type(top))
        for field in dataclasses.fields(top):
            value = getattr(top, field.name)
            stack.extend(item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, s.Node))
    return found


@pytest.mark.parametrize("text", [FIRST, THREADS, WHOLE])
def test_samples(text: str) -> None:
    file = parse(Source("t.hmm", text))
    printed = print_file(file)
    again = parse(Source("p.hmm", printed))
    assert again == file
    assert print_file(again) == printed


def test_random_trees_hold_every_node_class() -> None:
    found: set[type[s.Node]] = set()
    for seed in range(600):
        found |= classes(Trees(seed).file())
        if found >= NODES:
            break
    assert NODES - found == set()
    # The classes that only `load` makes are all that is left out.
    assert {s.Spec, s.Refinement} & found == set()


@examples(10)
@given(st.integers(min_value=0, max_value=10**9))
def test_print_then_parse(seed: int) -> None:
    file = Trees(seed).file()
    assert parse(Source("t.hmm", print_file(file))) == file


@examples(10)
@given(st.integers(min_value=0, max_value=10**9))
def test_expressions_print_then_parse(seed: int) -> None:
    expr = Trees(seed).expr()
    text = print_expr(expr)
    assert parse_expression(Source("e", text)) == expr


@pytest.mark.parametrize(
    "text",
    [
        "a + b * c",
        "(a + b) * c",
        "a - (b - c)",
        "a => b => c",
        "(a => b) => c",
        "a <=> b <=> c",
        "!(a && b) || c",
        "(a < b) == c",
        "-(a + b)",
        "--a",
        "(if a then b else c) + 1",
        "if a then b else if c then d else e",
        "x in 0..3 && (x in S) == b",
        "(a + b)[c].d",
        "{x in S | x > 0}",
        "{x: 0..3 | x != 1}",
        "forall p, q: Page, c in S + T | p != q { f'(p) }",
        "sum(n[p] for p: Page | p in S)",
        "count(p: Page)",
        "min(a, b) + min(a for p: Page)",
        "held read(L[p]) && mine(L)",
        "a && !trylock read L",
        "Pte(kind = none, write = a && b)",
        "[]",
    ],
)
def test_only_needed_parentheses(text: str) -> None:
    assert print_expr(parse_expression(Source("e", text))) == text


def test_parts() -> None:
    text = "spec t\nthread w { a: if b { skip; } else if c { stop; } else { } }\nvar x: (A | B)?;"
    file = parse(Source("t.hmm", text))
    thread, var = file.declarations
    assert isinstance(thread, s.Thread) and isinstance(var, s.VarDecl)
    assert print_stmt(thread.body[1]) == "if (b) {\n  skip;\n} else if (c) {\n  stop;\n}"
    assert print_stmts(thread.body).split("\n")[:2] == ["a:", "  if (b) {"]
    assert print_type(var.type) == "(A | B)?"
    assert print_declaration(var) == "var x: (A | B)?;"


@pytest.mark.parametrize("doc", ["", "x", "Two\n  lines", "  deep\nflat".strip(), 'quote"', '"'])
def test_docs(doc: str) -> None:
    file = s.File(s.Ident("t"), doc, None, ())
    assert parse(Source("t.hmm", print_file(file))).doc == doc

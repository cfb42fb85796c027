"""`fmt`: same tokens, one layout, and a second pass changes nothing."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmmspec.diagnostics import Diagnostics, Source, SpecError
from hmmspec.lang.formatter import format_text
from hmmspec.lang.lexer import scan
from hmmspec.lang.parser import parse
from hmmspec.lang.printer import print_file
from tests.lang.samples import FIRST, THREADS, WHOLE, examples
from tests.lang.trees import Trees


def fmt(text: str) -> str:
    return format_text(Source("t.hmm", text))


@pytest.mark.parametrize("text", [FIRST, THREADS, WHOLE])
def test_samples_are_fixed_points(text: str) -> None:
    assert fmt(text) == text


@examples(10)
@given(st.integers(min_value=0, max_value=10**9))
def test_printed_trees_are_fixed_points(seed: int) -> None:
    text = print_file(Trees(seed).file())
    assert fmt(text) == text


@examples(10)
@given(st.integers(min_value=0, max_value=10**9), st.integers(min_value=0, max_value=10**9))
def test_any_layout(seed: int, layout: int) -> None:
    """Whatever white space and comments stand between the tokens: the tree stays, and one pass is enough."""
    random = Random(layout)
    file = Trees(seed).file()
    tokens = scan(Source("t.hmm", print_file(file)), Diagnostics())
    gaps = [" ", "  ", "\n", "\n\n\n", "\t", "\r\n", " // note\n", "   // far away\n", " /* in */"]
    gaps.append("\n/* two\n   lines */\n")
    text = "".join(tok.text + random.choice(gaps) for tok in tokens)
    once = fmt(text)
    assert parse(Source("t.hmm", once)) == file
    assert fmt(once) == once
    assert not any(line.endswith((" ", "\t", "\r")) for line in once.split("\n"))
    assert once.endswith("\n") and not once.endswith("\n\n")
    comments = [tok.text for tok in scan(Source("t.hmm", text), Diagnostics()) if tok.kind == "comment"]
    kept = [tok.text for tok in scan(Source("t.hmm", once), Diagnostics()) if tok.kind == "comment"]
    assert [" ".join(c.split()) for c in kept] == [" ".join(c.split()) for c in comments]


LAYOUTS = {
    "blank lines and plain spaces": (
        "var x:0..3=0;\n\n\n\nvar y :bool ;   \n",
        "var x: 0..3 = 0;\n\nvar y: bool;\n",
    ),
    "one line stays one line": (
        "transition t(p:Page) when x>-1&&!y{x:=x+1;if(a){b:=f (c) [d];}else{skip;}}",
        "transition t(p: Page) when x > -1 && !y { x := x + 1; if (a) { b := f(c)[d]; } else { skip; } }\n",
    ),
    "a machine": (
        """
machine m[p:Page]{
states a,b;
initial {a ,b};
{a,b}->a by go;
a->b by up when
x;
}
""",
        """
machine m[p: Page] {
  states a, b;
  initial {a, b};
  {a, b} -> a by go;
  a -> b by up when
    x;
}
""",
    ),
    "sets and quantifiers": (
        """
assume x: forall p:Page|y{
z in { a,b }
&& {q:Page|r} == {}
};
""",
        """
assume x: forall p: Page | y {
  z in {a, b}
  && {q: Page | r} == {}
};
""",
    ),
    "labels": (
        """
thread t {
var n: 0..3;
skip;
one: skip;
 stop;
 x :=
 y;
two:
  skip;
// about three
three: stop;
skip;
x :=
y;
}
""",
        """
thread t {
  var n: 0..3;
  skip;
  one: skip;
       stop;
       x :=
         y;
  two:
    skip;
  // about three
  three: stop;
  skip;
  x :=
    y;
}
""",
    ),
    "else and or on lines of their own": (
        """
transition t {
if (a) {
skip;
}
else {
skip;
}
either {
skip;
}
or {
skip;
}
}
""",
        """
transition t {
  if (a) {
    skip;
  }
  else {
    skip;
  }
  either {
    skip;
  }
  or {
    skip;
  }
}
""",
    ),
    "records and columns": (
        """
type R = record {
a: bool;
b: set of
T;
};
var x [T]: bool;
""",
        """
type R = record {
  a: bool;
  b: set of
    T;
};
var x [T]: bool;
""",
    ),
    "comments behind code": (
        """
var a: bool;      // one
var bb:bool;      // two
var c: bool;//three
""",
        """
var a: bool;      // one
var bb: bool;     // two
var c: bool; //three
""",
    ),
    "comments of several lines": (
        """
transition t {
/* a
   b */
skip;
}
""",
        """
transition t {
  /* a
     b */
  skip;
}
""",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name: str) -> None:
    before, after = (f"spec t\n{text}" for text in LAYOUTS[name])
    assert fmt(before) == after
    assert fmt(after) == after


def test_a_file_with_mistakes_is_refused() -> None:
    with pytest.raises(SpecError):
        fmt("spec t\nvar x\n")

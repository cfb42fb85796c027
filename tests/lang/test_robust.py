"""Whatever the input: a tree or a `SpecError`, soon, and never anything else.

HMMSPEC_FUZZ sets how many random inputs are tried in all (2000 when it is not set).
"""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmmspec.diagnostics import CODES, Diagnostic, Diagnostics, Source, SpecError, render
from hmmspec.lang.formatter import format_text
from hmmspec.lang.lexer import OPERATORS, scan
from hmmspec.lang.parser import parse, parse_expression
from hmmspec.lang.printer import print_file
from tests.lang.samples import FIRST, THREADS, WHOLE, examples
from tests.lang.trees import Trees

SAMPLES = [Source("t.hmm", text) for text in (FIRST, THREADS, WHOLE)]
DECLARATIONS = [declaration.span.text for sample in SAMPLES for declaration in parse(sample).declarations]
SEEDS = st.integers(min_value=0, max_value=10**9)
KEYWORDS = """spec param type var define machine states initial transition thread procedure when runs invariant step
leads_to fair strongly event source for instance expect has violates prove every import refines patches replace remove
add by lock rwlock if else while either or choose let push pop skip await acquire release trylock read goto restart stop
return call assert forall exists count sum min max in true false null bool int enum symmetric record set queue of any
held mine then p x 0 7 "t" """.split()


def some_text(random: Random) -> str:
    """A sound file: a few declarations of the samples, or a random tree."""
    if random.random() < 0.3:
        return print_file(Trees(random.randrange(10**9)).file())
    return "spec sample\n" + "\n".join(random.choices(DECLARATIONS, k=random.randint(1, 4)))


def holds(text: str) -> str:
    """Parse, and check what comes of it.  Gives "tree" or the codes of the mistakes."""
    source = Source("t.hmm", text)
    try:
        file = parse(source)
    except SpecError as error:
        return _sound(error.diagnostics, len(text))
    # What parses can be printed and formatted, and stays the same.
    assert parse(Source("p.hmm", print_file(file))) == file
    formatted = format_text(source)
    assert parse(Source("f.hmm", formatted)) == file
    assert format_text(Source("f.hmm", formatted)) == formatted
    return "tree"


def _sound(diagnostics: Sequence[Diagnostic], length: int) -> str:
    assert 1 <= len(diagnostics) <= 10
    for diagnostic in diagnostics:
        assert diagnostic.code in CODES
        assert 0 <= diagnostic.span.start <= diagnostic.span.end <= length
        assert render(diagnostic).startswith("t.hmm:")
    return " ".join(d.code for d in diagnostics)


# ---------------------------------------------------------------- random inputs


@examples(5)
@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    holds(data.decode("latin-1"))
    holds("spec a\n" + data.decode("utf-8", errors="replace"))


@examples(5)
@given(SEEDS)
def test_random_words(seed: int) -> None:
    random = Random(seed)
    words = [random.choice([*KEYWORDS, *OPERATORS, "\n"]) for _ in range(random.randint(1, 60))]
    holds("spec a\n" + " ".join(words))


@examples(5)
@given(SEEDS)
def test_mutations(seed: int) -> None:
    """Sound specs with tokens swapped, dropped, doubled or replaced; and with characters changed."""
    random = Random(seed)
    text = some_text(random)
    tokens = [(tok.start, tok.end) for tok in scan(Source("t.hmm", text), Diagnostics())]
    pieces = []
    at = 0
    for start, end in tokens:
        pieces += [text[at:start], text[start:end]]
        at = end
    pieces.append(text[at:])
    for _ in range(random.randint(1, 3)):
        i, j = (2 * random.randrange(len(tokens)) + 1 for _ in range(2))
        match random.randrange(5):
            case 0:
                pieces[i], pieces[j] = pieces[j], pieces[i]
            case 1:
                pieces[i] = ""
            case 2:
                pieces[i] += " " + pieces[i]
            case 3:
                pieces[i] = random.choice([*KEYWORDS, *OPERATORS])
            case _:
                k = random.randrange(len(pieces[i]) + 1)
                pieces[i] = pieces[i][:k] + random.choice("\0\"'/*{}()\n\u2028\x7f\U0001f600a0_") + pieces[i][k + 1 :]
    holds("".join(pieces))


@examples(5)
@given(SEEDS)
def test_truncations(seed: int) -> None:
    random = Random(seed)
    text = some_text(random)
    end = random.randrange(len(text))
    holds(text[:end])
    begin = random.randrange(len(text))
    holds("spec a\n" + text[begin:])


@examples(10)
@given(SEEDS)
def test_random_expressions(seed: int) -> None:
    random = Random(seed)
    words = [random.choice([*KEYWORDS, *OPERATORS]) for _ in range(random.randint(1, 20))]
    try:
        parse_expression(Source("e", " ".join(words)))
    except SpecError:
        return


# ---------------------------------------------------------------- deep, long and large inputs

N = 10_000
DEEP = {
    "parentheses": "assume x: " + "(" * N + "a" + ")" * N + ";",
    "open parentheses": "assume x: " + "(" * N,
    "closing parentheses": "assume x: a" + ")" * N,
    "braces": "assume x: " + "{" * N + "}" * N + ";",
    "not": "assume x: " + "!" * N + "a;",
    "minus": "assume x: " + "-" * N + "a;",
    "implies": "assume x: " + "a => " * N + "a;",
    "iff": "assume x: " + "a <=> " * N + "a;",
    "and": "assume x: " + "a && " * N + "a;",
    "plus": "assume x: " + "a + " * N + "a;",
    "comparisons": "assume x: " + "a < " * N + "a;",
    "indices": "assume x: " + "a[" * N + "0" + "]" * N + ";",
    "index after index": "assume x: a" + "[0]" * N + ";",
    "fields": "assume x: a" + ".b" * N + ";",
    "calls": "assume x: " + "f(" * N + ")" * N + ";",
    "if expressions": "assume x: " + "if a then b else " * (N // 2) + "a;",
    "if if": "assume x: " + "if " * N + "a;",
    "quantifiers": "assume x: " + "forall p: P { " * N + "a" + " }" * N + ";",
    "leads to": "leads_to x: " + "forall p: P { " * N + "a ~> b" + " }" * N + ";",
    "optional": "type t = a" + "?" * N + ";",
    "sets of sets": "type t = " + "set of " * N + "a;",
    "queues": "type t = " + "queue[2] of " * (N // 2) + "a;",
    "records": "type t = " + "record { a: " * N + "b" + "; }" * N + ";",
    "blocks": "transition t { " + "if a { " * N + "}" * N + " }",
    "else if": "transition t { " + "if a { } else " * (N // 2) + "{ } }",
    "either": "transition t { " + "either { " * N + "} or { }" * N + " }",
    "labels": "thread t { " + "a: " * N + "}",
    "terminators": ";" * N,
    "quotes": '"' * N,
    "comments": "/*" * N,
    "primes": "assume x: a" + "'" * N + ";",
    "dots": "assume x: a" + "." * N + ";",
    "odd characters": "@" * N,
    "long name": "var " + "a" * 500_000 + ": bool;",
    "long number": "assume x: a == " + "9" * 500_000 + ";",
    "long hexadecimal number": "assume x: a == 0x" + "f" * 500_000 + ";",
    "underscores": "assume x: a == 1" + "_" * 100_000 + ";",
    "long text": 'assume x "' + "\\" * 500_000 + '": a;',
    "many mistakes": "var x bool = = ;\n" * 5_000,
    "many repairs": "transition t { x = 1 }\n" * 5_000,
    "a late mistake": "var x: bool;\n" * 4_000 + "var y bool\n" * 50,
    "many tokens": "a " * 200_000,
    "many characters": " " * 2_000_000,
}
HARMLESS = ("labels", "long name", "long text")


@pytest.mark.parametrize("name", DEEP)
def test_deep_and_large(name: str) -> None:
    """Ends within two seconds of computing, as a mistake of the input unless it is harmless."""
    holds("spec warm_up")  # so that reading the grammar does not count
    begin = time.process_time()
    found: Sequence[Diagnostic] = ()
    try:
        parse(Source("t.hmm", "spec a\n" + DEEP[name]))
    except SpecError as error:
        found = error.diagnostics
    assert time.process_time() - begin < 2
    assert (found == ()) == (name in HARMLESS)
    assert all(len(render(d)) < 2_000 for d in found)


@pytest.mark.parametrize(
    "text",
    [
        "assume x: " + "(" * 198 + "a" + ")" * 198 + ";",
        "assume x: " + "a && " * 140 + "a;",
        "assume x: " + "a => " * 140 + "a;",
        "assume x: " + "!" * 140 + "a;",
        "assume x: " + "forall p: P { " * 70 + "a" + " }" * 70 + ";",
        "transition t { " + "if a { " * 48 + "}" * 48 + " }",
        "transition t { " + "if a { } else " * 48 + "{ } }",
        "type t = a" + "?" * 140 + ";",
        "assume x: " + "f(" * 72 + ")" * 72 + ";",
        "assume x: " + "{" * 72 + "}" * 72 + ";",
        "assume x: " + "if a then b else " * 140 + "c;",
        "assume x: a" + "[0].b" * 70 + ";",
        "type t = " + "record { a: " * 48 + "b" + "; }" * 48 + ";",
        "type t = " + "set of " * 140 + "a;",
        "assume x: f(" + "a, " * 1_000 + "a);",
        "assume x: y in {" + "a, " * 1_000 + "a};",
        "type t = enum { " + "a, " * 1_000 + "a };",
        "transition t { " + "skip; " * 1_000 + "}",
        "thread t { " + "a: skip; " * 1_000 + "}",
    ],
)
def test_allowed_depth_is_safe_for_every_pass(text: str) -> None:
    """What the limits let through can be printed, formatted, compared and hashed with half of Python's stack."""
    before = sys.getrecursionlimit()
    # pytest and the test have used some frames already.
    sys.setrecursionlimit(len(inspect.stack(0)) + 500)
    try:
        assert holds("spec a\n" + text) == "tree"
        hash(parse(Source("t.hmm", "spec a\n" + text)))
    finally:
        sys.setrecursionlimit(before)

"""Bindings: what is wrong with one is said with its place, and the repair where one is likely."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.conform.commands import COMMANDS
from hmmspec.conform.follow.load import load_for
from hmmspec.diagnostics import SpecError, render
from tests.conform.small import files

SPEC = """spec little
param PAGES = 2;
type Page = symmetric[PAGES];
type Slot = 0..3;
type Pair = record { a: bool; b: bool; };
var kind[Page]: enum { none, some } = none;
var amount: Slot = 0;
transition put(p: Page, k: enum { none, some }) { kind[p] := k; }
transition fill(s: Slot) { amount := s; }
transition both(x: Pair) when x.a && x.b { skip; }
transition quiet { amount := 0; }
event put, fill, both;
observe shown: Slot = amount;
"""

# What stands after the header -> the code, the text that the caret is under, a word of the message or its help.
WRONG = {
    "on put(page) { else: put(page, some) }": ("HMM130", "}", "';'"),
    "on put(page { else: nothing; }": ("HMM130", "{", "','"),
    "what is this;": ("HMM130", "what", "begins nothing"),
    'on put(page) { when page == "x: nothing; }': ("HMM130", '"x: nothing; }', "not closed"),
    "on put(page) { when 1 < page < 3: nothing; }": ("HMM130", "<", "&&"),
    "on put(page) { else: put(page, some) or forget; }": ("HMM130", None, "stands alone"),
    "on put(page) { else: nothing; when page == 1: nothing; }": ("HMM133", "else", "the last"),
    "on put(page) { else: put(page, 0x); }": ("HMM130", "0x", "neither a number"),
    "on put(page) { else: putt(page, some); }": ("HMM131", "putt", "did you mean 'put'"),
    "on put(page) { else: quiet(); }": ("HMM131", "quiet", "hidden"),
    "on put(page) { else: sees shwn() == 1; }": ("HMM131", "sees shwn() == 1", "did you mean 'shown'"),
    "on put(page) { else: put(page); }": ("HMM132", "put", "takes 2 arguments, not 1"),
    "on put(page) { else: sees shown(page) == 1; }": ("HMM132", None, "takes 0 arguments, not 1"),
    "on put(page) { else: put(pge, some); }": ("HMM133", "pge", "did you mean 'page'"),
    "on put(page) { else: put(page, sme); }": ("HMM133", "sme", "did you mean 'some'"),
    "define k(x) = if x == 0 then none else sme; on put(page) { else: put(page, k(page)); }": ("HMM133", "sme", "some"),
    "on put(page) { else: put(page, k(page)); }": ("HMM133", "k(page)", "no define"),
    "define k(x) = x; on put(page) { else: put(page, k()); }": ("HMM133", "k()", "takes 1 arguments"),
    "on put(page, page) { else: nothing; }": ("HMM133", "page", "twice"),
    "on put(page) each count of 3 { else: nothing; }": ("HMM133", "count", "not among the fields"),
    "on put(page, ok) { else: nothing; }": ("HMM133", "ok", "meaning of its own"),
    "on load(page, pages) { else: nothing; }": ("HMM133", "pages", "did you mean 'page'"),
    "on load(page) returns (stamp) { else: nothing; }": ("HMM133", "stamp", "did you mean 'stamps'"),
    "on put(page) { else: both(page); }": ("HMM134", "page", "nothing in a log"),
    "member Slt;": ("HMM134", "Slt", "did you mean 'Slot'"),
    "on put(page) { else: nothing; } on put(page) { else: nothing; }": ("HMM135", "put", "already"),
    "ignore put; on put(page) { else: nothing; }": ("HMM135", "put", "is ignored already"),
    "ignore put, put;": ("HMM135", "put", "already"),
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_with_its_place(text: str, tmp_path: Path) -> None:
    code, under, word = WRONG[text]
    path = files(tmp_path, SPEC, f'binding for "little.hmm";\n{text}\n', "little")
    with pytest.raises(SpecError) as error:
        load_for(path)
    first = error.value.diagnostics[0]
    told = render(first)
    assert first.code == code, told
    assert first.span.path == str(tmp_path / "little.bind")
    assert first.span.line == 2
    assert word in told
    assert under is None or first.span.text == under


@pytest.mark.parametrize(
    ("header", "code", "word"),
    [
        ('binding for "little.hmm" with PAGE = 3;', "HMM131", "did you mean 'PAGES'"),
        ('binding for "little.hmm" with PAGES = 1 + 2;', "HMM130", "is set to"),
        ('binding for "litle.hmm";', "HMM080", "no file"),
        ("bind little.hmm;", "HMM130", "'binding' was expected"),
        ("", "HMM130", "'binding' was expected"),
    ],
)
def test_headers(header: str, code: str, word: str, tmp_path: Path) -> None:
    files(tmp_path, SPEC, header, "little")
    with pytest.raises(SpecError) as error:
        load_for(str(tmp_path / "little.bind"))
    assert error.value.diagnostics[0].code == code
    assert word in render(error.value.diagnostics[0])


def test_deep_nesting_is_no_crash(tmp_path: Path) -> None:
    deep = "(" * 5000 + "1" + ")" * 5000
    path = files(tmp_path, SPEC, f'binding for "little.hmm"; define d(x) = {deep};', "little")
    with pytest.raises(SpecError, match="nested too deep"):
        load_for(path)


def test_an_event_that_nobody_is_bound_to_is_a_warning(tmp_path: Path) -> None:
    path = files(tmp_path, SPEC, 'binding for "little.hmm"; on put(page) { else: put(page, some); }', "little")
    loaded = load_for(path)
    assert [(d.code, d.message.split("'")[1]) for d in loaded.warnings] == [("HMM139", "both"), ("HMM139", "fill")]


def test_members_of_a_named_range(tmp_path: Path) -> None:
    """A range counts by its numbers, unless the binding says that its members are given out at first mention."""
    text = 'binding for "little.hmm"; {} on fill(s) {{ else: fill(s); }}'
    assert load_for(files(tmp_path, SPEC, text.format("member Slot;"), "little")).bound({}).named == {"Slot"}
    assert load_for(files(tmp_path, SPEC, text.format(""), "little")).bound({}).named == frozenset()


def test_a_spec_without_a_binding_is_told(tmp_path: Path) -> None:
    path = files(tmp_path, SPEC, "", "little")
    (tmp_path / "little.bind").unlink()
    with pytest.raises(SpecError, match="has no binding"):
        load_for(path)


def test_the_house_bindings_know_every_command() -> None:
    """A run of anything that a target can do can be followed under each of them."""
    folder = Path(__file__).resolve().parents[2] / "specs" / "conform"
    found = sorted(folder.glob("*.bind"))
    assert [p.stem for p in found] == ["exclusive", "mirror", "page_life", "pins", "swap_dirty"]
    for path in found:
        loaded = load_for(str(path))
        assert loaded.warnings == ()
        assert set(loaded.event_names) >= set(COMMANDS), f"{path.name}: {set(COMMANDS) - set(loaded.event_names)}"

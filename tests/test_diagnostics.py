"""Every diagnostic code has a broken file that gives it, and nothing else, and a section in docs/diagnostics.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hmmspec.diagnostics import CODES, Diagnostic, Source, SpecError, render
from hmmspec.lang.load import load
from hmmspec.lang.parser import parse
from hmmspec.system.build import build_with_warnings

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "diagnostics"
FILES = sorted(FOLDER.glob("*.hmm"))
PAGE = (ROOT / "docs" / "diagnostics.md").read_text()


def said(path: Path) -> list[Diagnostic]:
    """Everything that is said about a file before a search: mistakes in its text, its names and types, and warnings."""
    try:
        return [warning for built in build_with_warnings(load(str(path))) for warning in built.warnings]
    except SpecError as error:
        return list(error.diagnostics)


def expected(path: Path) -> str:
    first = path.read_text().split("\n", 1)[0]
    assert first.startswith("// expect: "), f"{path.name} does not say what it expects"
    return first.removeprefix("// expect: ")


def made_in_tests() -> dict[str, str]:
    """Code -> test file, from the list in the README of the folder."""
    return dict(re.findall(r"^- (HMM\d+): (\S+)$", (FOLDER / "README.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_gives_its_code(path: Path) -> None:
    code = expected(path)
    found = said(path)
    assert {d.code for d in found} == ({code} if code != "none" else set()), "\n".join(map(render, found))
    if code != "none":
        assert path.name.startswith(code)
        for diagnostic in found:
            # Shown with its place, and with the line if there is one.
            assert f"{path.parent}" in render(diagnostic)


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_made(code: str) -> None:
    listed = made_in_tests().get(code)
    if listed is None:
        assert any(expected(path) == code for path in FILES), f"no file in tests/diagnostics gives {code}"
    else:
        assert code in (ROOT / listed).read_text(), f"{listed} does not mention {code}"


def sections() -> dict[str, tuple[str, str]]:
    """Code -> title and text of its section."""
    parts = re.split(r"^## (HMM\d+) (.*)$", PAGE, flags=re.MULTILINE)[1:]
    return {code: (title, text) for code, title, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_explained(code: str) -> None:
    assert code in sections(), f"docs/diagnostics.md has no section '## {code} {CODES[code]}'"
    title, text = sections()[code]
    assert title == CODES[code]
    assert len(text.split()) >= 10


def test_sections_are_in_order_and_known() -> None:
    found = re.findall(r"^## (\w+)", PAGE, re.MULTILINE)
    assert found == sorted(found)
    assert set(found) <= set(CODES)


@pytest.mark.parametrize("code", [code for code in CODES if code < "HMM020"])
def test_examples_of_the_page(code: str) -> None:
    """The wrong example of a section about the text gives its code; the right one parses."""
    blocks = re.findall(r"```hmm\n(.*?)```", sections()[code][1], re.DOTALL)
    assert len(blocks) == (0 if code == "HMM019" else 2)
    for block, wanted in zip(blocks, [{code}, set()], strict=False):
        text = block if code == "HMM010" else f"spec example\n{block}"
        try:
            parse(Source("example.hmm", text))
            found = set()
        except SpecError as error:
            found = {d.code for d in error.diagnostics}
        assert found == wanted

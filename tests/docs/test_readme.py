"""The README is true: every example parses, every whole file is judged as it says, every list is complete."""

from __future__ import annotations

import re
import shutil
from importlib import resources
from pathlib import Path

import pytest

from hmmspec.cli.main import COMMANDS, main
from hmmspec.diagnostics import Source, SpecError, render
from hmmspec.lang.parser import parse

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLES = [m[1] for m in re.finditer(r"^```hmm\n(.*?)^```", README, re.MULTILINE | re.DOTALL)]
WHOLE = {
    re.split(r"[\s\"]", text.removeprefix("spec "), maxsplit=1)[0]: text
    for text in EXAMPLES
    if text.startswith("spec ")
}
FRAGMENTS = [text for text in EXAMPLES if not text.startswith("spec ")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's whole files side by side, with the spec that one of them patches."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copy(ROOT / "specs" / "device_private.hmm", folder)
    for name, text in WHOLE.items():
        (folder / f"{name}.hmm").write_text(text)
    return folder


@pytest.mark.parametrize("name", WHOLE)
def test_whole_file(name: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["check", str(files / f"{name}.hmm")])
    out = capsys.readouterr()
    assert code == 0, out.out + out.err


@pytest.mark.parametrize("text", FRAGMENTS, ids=lambda text: text.split()[0])
def test_fragment(text: str) -> None:
    try:
        parse(Source("README.md", "spec fragment\n" + text))
    except SpecError as error:
        pytest.fail("\n".join(render(d) for d in error.diagnostics))


def reserved() -> set[str]:
    """The words that the grammar itself uses and does not also allow as names."""
    grammar = resources.files("hmmspec.lang").joinpath("grammar.lark").read_text(encoding="utf-8")
    words = set(re.findall(r'"([a-z_]+)"', grammar))
    allowed = re.search(r"^!name: NAME((?:\s*\| *[\w\"]+)+)", grammar, re.MULTILINE)
    assert allowed is not None
    terminals = dict(re.findall(r'^([A-Z]+): "([a-z_]+)"', grammar, re.MULTILINE))
    free = {terminals.get(word.strip('"'), word.strip('"')) for word in re.findall(r'[\w"]+', allowed[1])}
    return words - free


def test_reserved_words() -> None:
    passage = README[README.index("These words are reserved:") :]
    passage = passage[: passage.index("Words that occur only")]
    assert set(re.findall(r"`(\w+)`", passage)) == reserved()


def test_every_keyword_is_in_an_example_or_a_table() -> None:
    text = README[README.index("## The language") :]
    listed = text[text.index("These words are reserved:") : text.index("Words that occur only")]
    assert {w for w in reserved() if not re.search(rf"\b{w}\b", text.replace(listed, ""))} == set()


def test_every_command_is_told() -> None:
    assert {c for c in COMMANDS if f"`hmmspec {c}" not in README} == set()


def test_every_link_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", README):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        if (path and not (ROOT / path).exists()) or (not path and anchor not in headings):
            wrong.append(target)
    assert wrong == []


def test_the_two_commands_come_first() -> None:
    top = README.splitlines()[:12]
    assert any("make check" in line for line in top)
    assert any("make test" in line for line in top)

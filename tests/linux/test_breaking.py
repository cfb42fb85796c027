"""The breakages: each says all it must, and an edit that does not find its line exactly once fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.linux.breaking import Breakage, DoesNotFit, breakages, broken, scratch_copy
from tests.linux.fake_tree import make_tree
from tests.linux.selftest import outcome

TEXT = "int other(void)\n{\n\tput();\n}\n\nint one(int a,\n\tint b)\n{\n\tget();\n\tput();\n}\n"


def breakage(**more: str) -> Breakage:
    told = {"told": "t", "file": "mm/memory.c", "function": "one", "line": "put();", "becomes": ";", "seen": "s"}
    return Breakage("name", **(told | more))


def test_one_line_of_one_function() -> None:
    assert breakage().apply(TEXT) == TEXT.replace("get();\n\tput();", "get();\n\t;")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"line": "drop();"}, TEXT),
        ({"function": "two"}, TEXT),
        ({}, TEXT.replace("get();", "put();")),
        ({"line": "put("}, TEXT),
        ({}, TEXT + TEXT),
    ],
)
def test_an_edit_that_does_not_fit(more: dict[str, str], text: str) -> None:
    with pytest.raises(DoesNotFit, match="exactly once"):
        breakage(**more).apply(text)


def test_a_scratch_copy_is_broken_and_mended(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    (tree / "mm/memory.c").write_text(TEXT)
    scratch = scratch_copy(tree, tmp_path / "scratch")
    with broken(scratch, breakage()):
        assert "\t;" in (scratch / "mm/memory.c").read_text()
        assert (tree / "mm/memory.c").read_text() == TEXT
    assert (scratch / "mm/memory.c").read_text() == TEXT
    assert sorted(p.name for p in (scratch / "mm").iterdir()) == sorted(p.name for p in (tree / "mm").iterdir())


def test_the_breakages() -> None:
    found = breakages()
    assert len(found) >= 6
    for b in found.values():
        assert b.told and b.seen and b.line != b.becomes and "\n" not in b.line + b.becomes
        assert b.file.startswith(("mm/", "lib/test_hmm"))


def test_what_the_program_says_is_read() -> None:
    text = (
        "ok 1 hmm.hmm_device_private.open_close\r\nnot ok 2 hmm.hmm_device_private.migrate\r\n"
        "ok 3 hmm.x # SKIP DEVICE not there\r\n[    3.1] WARNING: CPU: 0 at mm/x.c\r\nselftest ended with 1\r\n"
    )
    found = outcome(text, 1.0)
    assert (found.passed, found.failed, found.skipped) == (1, ("hmm.hmm_device_private.migrate",), 1)
    assert found.whole and found.warnings == ("WARNING: CPU: 0 at mm/x.c",)

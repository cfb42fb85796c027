"""What is mended in the test device: edits of a text that is known, or none at all."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from hmmspec.linux.features import Features
from hmmspec.linux.mends import MENDS, mended, replaced
from hmmspec.linux.tree import Tree

DEVICE = """
static int one(struct thing *thing,
\t       int more)
{
\tif (thing->a &&
\t    thing->b)
\t\treturn 1;

\tstep(thing);
\tstep(thing);
\treturn 0;
}

static int two(struct thing *thing)
{
\tstep(thing);
\treturn one(thing);
}
"""


def test_lines_that_follow_each_other() -> None:
    changed = replaced(DEVICE, "one", "thing->b)\nreturn 1;", "thing->b)\n\t\treturn 2;")
    assert changed == DEVICE.replace("return 1;", "return 2;")
    assert replaced(DEVICE, "one", "thing->b)\nstep(thing);", "") is None


def test_a_line_is_there_once_or_nothing_is_done() -> None:
    assert replaced(DEVICE, "one", "step(thing);", "") is None, "it is there twice"
    assert replaced(DEVICE, "two", "step(thing);", "leap(thing);") == "leap(thing);\n\treturn one".join(
        DEVICE.rsplit("step(thing);\n\treturn one", 1)
    )
    assert replaced(DEVICE, "two", "step();", "") is None
    assert replaced(DEVICE, "three", "step(thing);", "") is None
    assert replaced(DEVICE + DEVICE, "two", "step(thing);", "") is None, "the function is there twice"


def test_something_before_a_function() -> None:
    changed = replaced(DEVICE, "two", "", "static int between;\n")
    assert changed == DEVICE.replace("static int two", "static int between;\n\nstatic int two")
    assert replaced(changed, "two", "step(thing);", "leap(thing);") is not None


def _tree(text: str, supports: frozenset[str] = frozenset()) -> Tree:
    return cast(Tree, SimpleNamespace(features=Features(supports, {}), read=lambda path: text))


def _device() -> str:
    """A device with all that is mended, as one function after the other with those lines alone."""
    functions: dict[str, list[str]] = {}
    for mend in MENDS:
        for edit in mend.edits:
            functions.setdefault(edit.function, []).append(edit.line)
    parts = []
    for name, lines in functions.items():
        head = next((line for line in lines if f"{name}(" in line and line.startswith("static")), f"static int {name}(")
        tail = next((line for line in lines if line == "struct dmirror *dmirror)"), "void)")
        body = [line for line in lines if line and line not in (head, tail)]
        parts.append("\n".join([head, tail, "{", *("\t" + line.replace("\n", "\n\t") for line in body), "}"]))
    return "\n\n".join(parts) + "\n"


def test_all_edits_of_a_mend_are_made() -> None:
    found = mended(_tree(_device()))
    assert found.words == tuple(mend.word for mend in MENDS)
    (text,) = found.texts.values()
    for mend in MENDS:
        for edit in mend.edits:
            assert edit.becomes in text, edit


def test_a_mend_is_made_whole_or_not_at_all() -> None:
    last = MENDS[-1].edits[-1].line
    found = mended(_tree(_device().replace(last.split("\n")[0], "something_else();")))
    assert found.words == tuple(mend.word for mend in MENDS[:-1])
    (text,) = found.texts.values()
    assert MENDS[-1].edits[0].becomes not in text


def test_what_a_kernel_has_is_not_mended() -> None:
    words = frozenset(mend.word for mend in MENDS)
    assert mended(_tree(_device(), words)).words == ()


def test_the_text_that_is_added_is_there() -> None:
    """Whatever an edit calls and the kernel does not have is defined in a text that the same mend puts in."""
    ours = {
        word
        for path in (Path(__file__).parents[2] / "hmmspec/linux/device").glob("*.c")
        for word in re.findall(r"^static .*?\b(dmirror_\w+)\(", path.read_text(), re.MULTILINE)
    }
    assert len(ours) == 11
    for mend in MENDS:
        added = "\n".join(edit.becomes for edit in mend.edits if not edit.line)
        for edit in mend.edits:
            for word in ours & set(re.findall(r"\b(dmirror_\w+)\(", edit.becomes if edit.line else "")):
                assert re.search(rf"^static .*\b{word}\(", added, re.MULTILINE), word

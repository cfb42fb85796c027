"""One layout for scenario files: indentation and blanks; lines, comments and empty lines stay where they are."""

from __future__ import annotations

from collections.abc import Sequence

from hmmspec.conform.scenario.lexer import Token, goes_on, raw
from hmmspec.conform.scenario.parser import parse
from hmmspec.diagnostics import Diagnostics, Source

_INDENT = 2
_BEFORE_VALUE = {
    "=",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "&&",
    "||",
    "!",
    ",",
    "(",
    "[",
    "{",
    "->",
}
_WORDS = {"if", "in", "or", "each", "expect", "repeat", "else", "as"}


def format_text(source: Source) -> str:
    """The text in its layout.  Raises SpecError for a file that cannot be read."""
    parse(source)
    lines: list[str] = []
    depth = brackets = 0
    continued = False
    for line in _lines(list(raw(source, Diagnostics()))):
        if not line:
            if lines and lines[-1]:
                lines.append("")
            continue
        code = [t for t in line if t.kind != "comment"]
        closing = _closing(code)
        belongs = bool(code) and code[0].text in {"->", "|", "||", "&&"}
        inner = depth - closing + (1 if (continued or belongs) and code else 0)
        text = " " * (_INDENT * max(0, inner)) + _joined(code)
        comment = next((t for t in line if t.kind == "comment"), None)
        if comment is not None:
            # A comment after a statement keeps its column, so that comments below one another stay so.
            column = source.position(comment.span.start)[1] - 1
            text = (text.ljust(max(len(text) + 2, column)) if code else text) + comment.text.rstrip()
        lines.append(text)
        if code:
            depth = max(0, depth + sum((t.text == "{") - (t.text == "}") for t in code if t.kind == "sign"))
            brackets += sum((t.text in "[(") - (t.text in "])") for t in code if t.kind == "sign")
            continued = goes_on(code[-1]) or brackets > 0
    return "\n".join(lines).strip("\n") + "\n"


def _lines(tokens: Sequence[Token]) -> list[list[Token]]:
    out: list[list[Token]] = [[]]
    for token in tokens:
        if token.kind == "newline":
            out.append([])
        else:
            out[-1].append(token)
    return out


def _closing(code: Sequence[Token]) -> int:
    """How many blocks a line ends before it does anything else."""
    count = 0
    for token in code:
        if token.text != "}":
            break
        count += 1
    return count


def _joined(code: Sequence[Token]) -> str:
    out = ""
    for i, token in enumerate(code):
        before = code[i - 1] if i else None
        out += (" " if before is not None and _apart(code, i) else "") + token.text
    return out


def _apart(code: Sequence[Token], i: int) -> bool:
    """Whether a blank stands between the token before and this one."""
    before, here = code[i - 1], code[i]
    if before.kind == "string" or here.kind == "string":
        return here.text not in {",", ")", ":"} and before.text != "("
    if here.text in {",", ")", "]", ".", ":", ";"} or before.text in {"(", "[", ".", "!"}:
        return False
    if before.text == "-":
        # A sign, not a subtraction, where nothing stands before it that could be subtracted from.
        return not (i == 1 or code[i - 2].text in _BEFORE_VALUE or code[i - 2].text in _WORDS)
    if here.text == "(":
        return before.kind != "name" or before.text in _WORDS
    if here.text == "[" and before.text in {"data", "byte", "map"}:
        return not (i >= 2 and code[i - 2].text == ".")
    if {before.text, here.text} == {"{", "}"}:
        return True
    if before.text == "{" or here.text == "}":
        return not _is_set(code, i)
    return True


def _is_set(code: Sequence[Token], i: int) -> bool:
    """Whether the brace at i - 1 or i is that of `{1, 2}`, which stands after `in`."""
    opened = [k for k in range(i) if code[k].text == "{"]
    return bool(opened) and opened[-1] > 0 and code[opened[-1] - 1].text == "in"

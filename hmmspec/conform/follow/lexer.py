"""The words and signs of a binding file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from hmmspec.diagnostics import Diagnostics, InternalError, Source, Span

Kind = Literal["name", "number", "text", "doc", "op", "end"]

MOST_CHARACTERS = 1_000_000

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n]+|//[^\n]*|/\*(?s:.*?)\*/)
    | (?P<doc>\"\"\"(?s:.*?)\"\"\")
    | (?P<text>"[^"\n]*")
    | (?P<number>0[xX][0-9a-fA-F]+(?!\w)|[0-9][0-9_]*(?!\w))
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<op>==|!=|<=|>=|&&|\|\||[-+*/%<>=!&(){}\[\],;:._])
    | (?P<bad>"[^\n]*|/\*|[0-9]\w*|.)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Token:
    """`text` as written, without the quotes of a text."""

    kind: Kind
    text: str
    span: Span


def tokens(source: Source, diagnostics: Diagnostics) -> list[Token]:
    """All tokens, the last of kind `end`; what is none of them is reported (HMM130) and left out."""
    out: list[Token] = []
    if len(source.text) > MOST_CHARACTERS:
        diagnostics.error("HMM130", Span(source, 0, 0), f"a binding has at most {MOST_CHARACTERS} characters")
        return [Token("end", "", Span(source, 0, 0))]
    for found in _TOKEN.finditer(source.text):
        kind, text = found.lastgroup, found.group()
        span = Span(source, found.start(), found.end())
        match kind:
            case "space":
                continue
            case "bad":
                diagnostics.error("HMM130", span, _bad(text))
            case "doc":
                out.append(Token("doc", text[3:-3].strip(), span))
            case "text":
                out.append(Token("text", text[1:-1], span))
            case "name" if text == "_":
                out.append(Token("op", text, span))
            case "name" | "number" | "op":
                out.append(Token(kind, text, span))
            case _:
                raise InternalError(f"a token of kind {kind}")
    end = len(source.text.rstrip())
    out.append(Token("end", "", Span(source, max(0, end - 1), end)))
    return out


def _bad(text: str) -> str:
    if text.startswith('"'):
        return "this text is not closed: '\"' is missing at its end"
    if text == "/*":
        return "this comment is not closed: '*/' is missing"
    if text[0].isdigit():
        return f"'{text}' is neither a number nor a name"
    return f"{text!r} means nothing in a binding"

"""The parser's tables, made by lark from grammar.lark.

Making them takes longer than everything else that a short command does, so they are kept in the user's cache directory.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache as once
from importlib import resources
from typing import Any

import lark
from lark import Lark, Token
from lark.lexer import Lexer

from hmmspec.lang import cache

STARTS = ["file", "rest", "expression"]


class NoLexer(Lexer):
    """Lark wants a lexer; tokens are fed one by one instead."""

    def __init__(self, conf: Any) -> None:
        pass

    def lex(self, lexer_state: Any, parser_state: Any) -> Iterator[Token]:
        return iter(())


@once
def parser_tables() -> Lark:
    """Lark with the grammar of .hmm files, ready for `parse_interactive`."""
    grammar = resources.files("hmmspec.lang").joinpath("grammar.lark").read_text(encoding="utf-8")
    path = cache.file_for("tables", lark.__version__, grammar)
    kept = cache.read(path)
    if kept is not None:
        return Lark.load(io.BytesIO(kept))
    made = make(grammar)
    buffer = io.BytesIO()
    made.save(buffer)
    cache.write(path, buffer.getvalue())
    return made


def make(grammar: str) -> Lark:
    """Lark's tables for a grammar, without the cache."""
    return Lark(grammar, parser="lalr", lexer=NoLexer, start=STARTS, propagate_positions=True, maybe_placeholders=True)

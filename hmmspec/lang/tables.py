"""The parser's tables, made by lark from grammar.lark.

Making them takes longer than everything else that a short command does, so they are kept in the user's cache directory.
A cache that is missing, stale, damaged, somebody else's or not writable is no error: the tables are made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import lark
from lark import Lark, Token
from lark.lexer import Lexer

STARTS = ["file", "rest", "expression"]


class NoLexer(Lexer):
    """Lark wants a lexer; tokens are fed one by one instead."""

    def __init__(self, conf: Any) -> None:
        pass

    def lex(self, lexer_state: Any, parser_state: Any) -> Iterator[Token]:
        return iter(())


@cache
def parser_tables() -> Lark:
    """Lark with the grammar of .hmm files, ready for `parse_interactive`."""
    grammar = resources.files("hmmspec.lang").joinpath("grammar.lark").read_text(encoding="utf-8")
    path = _cache_file(grammar)
    cached = _read(path) if path is not None else None
    if cached is not None:
        return cached
    made = make(grammar)
    if path is not None:
        _write(path, made)
    return made


def make(grammar: str) -> Lark:
    """Lark's tables for a grammar, without the cache."""
    return Lark(grammar, parser="lalr", lexer=NoLexer, start=STARTS, propagate_positions=True, maybe_placeholders=True)


def _cache_file(grammar: str) -> Path | None:
    """Where the tables of this grammar, lark and Python are kept."""
    try:
        base = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(base) if base else Path.home() / ".cache") / "hmmspec"
    except RuntimeError:  # no home directory
        return None
    key = hashlib.sha256(f"{lark.__version__}\n{sys.version}\n{grammar}".encode()).hexdigest()
    return folder / f"grammar-{key[:20]}.bin"


def _read(path: Path) -> Lark | None:
    try:
        # Tables are code in the end: only those that this user wrote are taken.
        if path.stat().st_uid != os.getuid():
            return None
        data = path.read_bytes()
    except OSError:
        return None
    digest, tables = data[:32], data[32:]
    if hashlib.sha256(tables).digest() != digest:
        return None
    return Lark.load(io.BytesIO(tables))


def _write(path: Path, tables: Lark) -> None:
    buffer = io.BytesIO()
    tables.save(buffer)
    payload = buffer.getvalue()
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Written aside and moved into place, so that no other process reads half of it.
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as stream:
            stream.write(hashlib.sha256(payload).digest() + payload)
        Path(stream.name).replace(path)

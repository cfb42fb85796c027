"""Text to syntax tree.

`parse` reads a whole file, `parse_expression` one expression.  Both raise `SpecError` with every mistake that could be
told apart: after one, the parser repairs the text if the repair is plain (a missing `;`), else it goes on at the next
declaration.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from lark import Token, Tree
from lark.exceptions import UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser

from hmmspec.diagnostics import Diagnostics, InternalError, Source, Span
from hmmspec.lang import syntax
from hmmspec.lang.builder import Builder
from hmmspec.lang.depth import check_brackets, check_depth
from hmmspec.lang.explain import Scene, Vocabulary, explain
from hmmspec.lang.lexer import MAX_ERRORS, Tok, scan
from hmmspec.lang.tables import parser_tables


def parse(source: Source) -> syntax.File:
    """The tree of a whole file.  Raises `SpecError` (HMM001 to HMM019)."""
    diags = Diagnostics()
    tokens = _tokens(source, diags)
    if not tokens:
        diags.raise_if_errors()
        diags.error(
            "HMM010",
            Span(source, 0, 0),
            "the file is empty",
            fix="a file begins with 'spec NAME', then come its declarations",
        )
        diags.raise_if_errors()
    start = "file"
    if tokens[0].type != "SPEC":
        diags.error(
            "HMM010",
            _token_span(source, tokens[0]),
            f"a file begins with 'spec NAME', not with '{_shorten(tokens[0])}'",
            fix="put a line such as 'spec my_feature' at the top",
        )
        start = "rest"
    tree = _Run(source, diags).parse(tokens, start)
    node = _finish(source, diags, tree)
    if not isinstance(node, syntax.File):
        raise InternalError("the parser made no file of a text without mistakes")
    return node


def parse_expression(source: Source) -> syntax.Expr:
    """The tree of a text that is one expression, such as a value on the command line.  Raises `SpecError`."""
    diags = Diagnostics()
    tokens = _tokens(source, diags)
    if not tokens:
        diags.raise_if_errors()
        diags.error("HMM010", Span(source, 0, 0), "an expression was expected, but there is nothing")
        diags.raise_if_errors()
    tree = _Run(source, diags).parse(tokens, "expression")
    node: syntax.Expr = _finish(source, diags, tree)
    return node


def _finish(source: Source, diags: Diagnostics, tree: Tree[Token] | None) -> Any:
    """Build and check the nodes, and raise what was found on the way."""
    node = None
    if tree is not None:
        node = Builder(source, diags).build(tree)
        if isinstance(node, syntax.Node):
            check_depth(node, diags)
    diags.items[:] = _quiet(diags)
    diags.raise_if_errors()
    return node


def _quiet(diags: Diagnostics) -> list[Any]:
    """Without the mistakes that are likely to be the echo of an odd character or quote on the same line."""
    lexical = {d.span.line for d in diags.items if d.code in ("HMM003", "HMM004")}
    kept = [d for d in diags.items if d.code not in ("HMM001", "HMM013", "HMM015") or d.span.line not in lexical]
    return kept[:MAX_ERRORS]


def _tokens(source: Source, diags: Diagnostics) -> list[Token]:
    """The tokens of `source` for lark, without comments.  Raises at once where parsing would make no sense."""
    scanned = [tok for tok in scan(source, diags) if tok.kind != "comment"]
    hopeless = any(d.code in ("HMM005", "HMM019") or d.span.text == '"""' for d in diags.items)
    if hopeless or len(diags.items) >= MAX_ERRORS:
        diags.raise_if_errors()
    if len(scanned) > MAX_TOKENS:
        diags.error(
            "HMM019",
            Span(source, 0, 0),
            f"the file has {len(scanned):,} words and signs; the limit is {MAX_TOKENS:,}",
            fix="split it, and put the parts together with import",
        )
        diags.raise_if_errors()
    check_brackets(source, scanned, diags)
    if any(d.code == "HMM009" for d in diags.items):
        diags.raise_if_errors()
    terminals = _terminals()
    return [_lark_token(tok, terminals) for tok in scanned]


# Far more than the longest spec that anybody reads has; the parser takes about two seconds for it.
MAX_TOKENS = 25_000

_KINDS = {"name": "NAME", "number": "NUMBER", "text": "TEXT", "doc": "DOC"}


def _lark_token(tok: Tok, terminals: dict[str, str]) -> Token:
    kind = _KINDS.get(tok.kind) if tok.kind != "name" else terminals.get(tok.text, "NAME")
    return Token(kind or terminals[tok.text], tok.text, start_pos=tok.start, end_pos=tok.end)


# How many tokens the parser may have to be fed again after a mistake.
_SAVE_EVERY = 64


class _Run:
    """One parse of a token list, with its repairs and restarts."""

    def __init__(self, source: Source, diags: Diagnostics) -> None:
        self.source = source
        self.diags = diags

    def parse(self, tokens: Sequence[Token], start: str) -> Tree[Token] | None:
        """Lark's tree, or None when a part of the text had to be skipped (then `diags` says why)."""
        parser = _interactive(start)
        fed: list[Token] = []
        saved, since = _copy(parser), 0  # a parser that was fed `fed[:since]`
        complete = True
        at = 0
        while len(self.diags.items) < MAX_ERRORS:
            token = tokens[at] if at < len(tokens) else Token("$END", "", start_pos=len(self.source.text))
            try:
                tree = parser.feed_token(token)
                if token.type == "$END":
                    return tree if complete else None
                fed.append(token)
                at += 1
                if len(fed) - since >= _SAVE_EVERY:
                    saved, since = _copy(parser), len(fed)
                continue
            except UnexpectedToken:
                pass
            # The failed attempt has changed the parser's stack: bring a saved one up to the mistake.
            parser = _feed(_copy(saved), fed[since:])
            scene = Scene(self.source, token, fed, tokens[at + 1 : at + 3], _accepts(parser), _vocabulary())
            diagnostic, repair = explain(scene)
            if fed and _stands_in(fed[-1]):
                repair = None  # the echo of a text without its closing quote, which is reported already
            else:
                self.diags.items.append(diagnostic)
            if repair is not None:
                texts, drop = repair
                new = [_repair_token(scene, text) for text in texts]
                trial = _feed(_copy(parser), new)
                following = tokens[at + drop].type if at + drop < len(tokens) else "$END"
                if following in _accepts(trial):
                    parser, fed, at = trial, [*fed, *new], at + drop
                    saved, since = _copy(parser), len(fed)
                    continue
            if start == "expression":
                return None
            complete = False
            resume = self._resume(tokens, at)
            if resume is None:
                return None
            parser, fed, at = _interactive("rest"), [], resume
            saved, since = _copy(parser), 0
        return None

    def _resume(self, tokens: Sequence[Token], at: int) -> int | None:
        """The next token that surely begins a declaration: its keyword, first on a line, and not indented."""
        keywords = _vocabulary().declarations
        margin = self._indent(tokens[0]) or 0
        for i in range(at, len(tokens)):
            if tokens[i].type in keywords:
                indent = self._indent(tokens[i])
                if indent is not None and indent <= margin:
                    return i
        return None

    def _indent(self, token: Token) -> int | None:
        """How far a token is indented, or None if it is not the first on its line."""
        start = token.start_pos or 0
        line_start = self.source.text.rfind("\n", 0, start) + 1
        before = self.source.text[line_start:start]
        return None if before.strip() else len(before.expandtabs())


def _stands_in(token: Token) -> bool:
    """Whether the lexer put this text in for one that is not closed: it is shorter than what it covers."""
    return token.type == "TEXT" and (token.end_pos or 0) - (token.start_pos or 0) > len(token)


def _repair_token(scene: Scene, text: str) -> Token:
    """A token that the user left out or mistyped, at the place of the mistake."""
    terminal = _terminals().get(text, "NAME")
    if text == scene.bad:
        terminal = "NAME"  # a keyword where a name is wanted, taken for one
    return Token(terminal, text, start_pos=scene.bad.start_pos, end_pos=scene.bad.end_pos)


def _token_span(source: Source, token: Token) -> Span:
    return Span(source, token.start_pos or 0, token.end_pos or 0)


def _shorten(text: str) -> str:
    return text if len(text) <= 30 else text[:27] + "..."


# ---------------------------------------------------------------- lark


@cache
def _terminals() -> dict[str, str]:
    """Keyword or operator -> the terminal that lark gave it."""
    return {t.pattern.value: t.name for t in parser_tables().terminals}


def _interactive(start: str) -> InteractiveParser:
    return parser_tables().parse_interactive(start=start)


def _accepts(parser: InteractiveParser) -> frozenset[str]:
    return frozenset(parser.accepts())  # type: ignore[no-untyped-call]


def _copy(parser: InteractiveParser) -> InteractiveParser:
    copied: InteractiveParser = parser.copy(deepcopy_values=False)  # type: ignore[no-untyped-call]
    return copied


def _feed(parser: InteractiveParser, tokens: Sequence[Token]) -> InteractiveParser:
    for token in tokens:
        parser.feed_token(token)
    return parser


@cache
def _vocabulary() -> Vocabulary:
    """What the terminals are called, and which of them begin an expression, a type and so on."""

    def after(start: str, text: str) -> frozenset[str]:
        terminals = _terminals()
        feed = [Token(terminals.get(word, "NAME"), word) for word in text.split()]
        return _accepts(_feed(_interactive(start), feed))

    return Vocabulary(
        names={terminal: text for text, terminal in _terminals().items()},
        declarations=after("rest", "") - {"$END"},
        statements=after("rest", "transition t {") - {"RBRACE"},
        expressions=after("expression", ""),
        types=after("rest", "type t ="),
        operators=after("expression", "x") - {"$END"},
        soft=after("rest", "type") - {"NAME"},
    )

"""Text to tokens.  A statement ends where its line ends, unless the line plainly goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hmmspec.diagnostics import Diagnostics, Source, Span
from hmmspec.records import dataclass

_TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\r\f]+)
  | (?P<comment>//[^\n]*)
  | (?P<newline>\n)
  | (?P<number>[0-9][0-9A-Za-z_]*)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<string>"[^"\n]*")
  | (?P<sign>->|\|\||&&|==|!=|<=|>=|[][{}(),;:.|!<>+*/%=-])
    """,
    re.VERBOSE,
)
_NUMBER = re.compile(r"0x[0-9a-fA-F_]*[0-9a-fA-F]|[0-9]+(_[0-9]+)*")
# After these a line goes on, and a line that begins with one of the second list belongs to the one before.
_GOES_ON = {",", "->", "|", "||", "&&", "==", "!=", "<", "<=", ">=", "+", "-", "*", "/", "%", "=", "!", ".", "(", "["}
_BELONGS = {"->", "|", "||", "&&"}
LARGEST = 1 << 62


@dataclass(frozen=True)
class Token:
    """kind: name, number, string, sign, comment, end of a statement (`newline`) or of the file (`end`)."""

    kind: str
    text: str
    span: Span

    def __str__(self) -> str:
        """As messages name it."""
        return {"newline": "the end of the line", "end": "the end of the file"}.get(self.kind, f"'{self.text}'")


def tokens(source: Source, told: Diagnostics) -> list[Token]:
    """The tokens without comments; mistakes go to `told`.  The last token is `end`."""
    out: list[Token] = []
    depth = 0
    for token in raw(source, told):
        if token.kind == "comment":
            continue
        if token.kind == "newline":
            if out and depth == 0 and out[-1].kind != "newline" and not goes_on(out[-1]):
                out.append(token)
            continue
        if token.kind == "sign":
            if token.text in {"[", "("}:
                depth += 1
            elif token.text in {"]", ")"}:
                depth = max(0, depth - 1)
            elif token.text in {"{", "}"}:
                depth = 0  # a bracket that was not closed must not swallow the rest of the file
            if token.text in _BELONGS and out and out[-1].kind == "newline":
                out.pop()
        out.append(token)
    end = Span(source, len(source.text), len(source.text))
    return [*out, Token("newline", "", end), Token("end", "", end)]


def raw(source: Source, told: Diagnostics) -> Iterator[Token]:
    """Every token with comments and line ends, blanks left out."""
    text, at = source.text, 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            span = Span(source, at, at + 1)
            if text[at] == '"':
                end = text.find("\n", at)
                at = end if end >= 0 else len(text)
                told.error("HMM120", Span(source, span.start, at), "a text is not closed", fix='write " at its end')
                continue
            at = _meaningless(source, at, told)
            if text[span.start] == "'":
                yield Token("string", f'"{text[span.start + 1 : at - 1]}"', Span(source, span.start, at))
            continue
        kind = found.lastgroup or ""
        if kind == "number" and not _NUMBER.fullmatch(found[0]):
            told.error(
                "HMM120", Span(source, at, found.end()), f"'{found[0]}' is not a number", fix=_number_fix(found[0])
            )
            yield Token("number", "1", Span(source, at, found.end()))
        elif kind == "number" and number(found[0]) > LARGEST:
            told.error("HMM120", Span(source, at, found.end()), "the number is too large", fix="numbers go up to 2^62")
            yield Token("number", "1", Span(source, at, found.end()))
        elif kind != "blank":
            yield Token(kind, found[0], Span(source, at, found.end()))
        at = found.end()


def _meaningless(source: Source, at: int, told: Diagnostics) -> int:
    """Tell of a character that begins nothing; where to read on: what was meant by it is not told once more."""
    text = source.text
    sign = text[at] if text[at].isprintable() else f"U+{ord(text[at]):04X}"
    fix = {"#": "a comment begins with //", "'": 'a text stands between "', "&": "'and' is written &&"}.get(sign)
    told.error("HMM120", Span(source, at, at + 1), f"the character '{sign}' means nothing here", fix=fix)
    end = text.find("\n", at)
    line = end if end >= 0 else len(text)
    if sign == "#":
        return line
    if sign == "'":
        return text.find("'", at + 1, line) + 1 or line
    return at + 1


def goes_on(last: Token) -> bool:
    """Whether a line that ends with this token belongs together with the next."""
    return last.kind == "sign" and last.text in _GOES_ON


def number(text: str) -> int:
    """The value of a number token: `12`, `1_000`, `0x1f`."""
    plain = text.replace("_", "")
    if plain.startswith("0x"):
        return int(plain, 16)
    return int(plain) if len(plain) < 40 else LARGEST + 1


def _number_fix(text: str) -> str:
    if re.fullmatch(r"[0-9]+[kKmM]i?[bB]?", text):
        return "sizes are numbers of pages of 4096 bytes"
    if text[0] == "0" and text[1:2] in {"x", "X"}:
        return "a number of base 16 looks like 0x1f"
    return "a name begins with a letter, a number has digits only"

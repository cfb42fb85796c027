"""The tokens of a .hmm file, comments among them.

One lexer for the parser (which drops the comments) and for the formatter (which keeps them).  It never stops at a
mistake: it reports it, and goes on with what is left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from hmmspec.diagnostics import Diagnostics, Source, Span

Kind = Literal["name", "number", "text", "doc", "op", "comment"]

# A file longer than this is not a spec that somebody wrote; the parser would need seconds for it.
MAX_CHARACTERS = 1_000_000
# Larger than any count of states or identities that a run could ever deal with.
MAX_NUMBER = 10**18
# Nobody reads more mistakes than this in one go, and what comes after so many is mostly nonsense.
MAX_ERRORS = 10

OPERATORS = ("<=> => == != <= >= := += -= ~> -> .. && || ( ) [ ] { } , ; : . ? | ' + - * / % < > = !").split()

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<comment>//[^\n]*|/\*(?s:.*?)\*/)
    | (?P<badcomment>/\*)
    | (?P<doc>\"\"\"(?s:.*?)\"\"\")
    | (?P<baddoc>\"\"\")
    | (?P<text>"(?:[^"\\\n]|\\.)*")
    | (?P<badtext>"[^\n]*)
    | (?P<number>[0-9][0-9A-Za-z_]*)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<op>OPERATORS)
    | (?P<unknown>.)
    """.replace("OPERATORS", "|".join(re.escape(op) for op in OPERATORS)),
    re.VERBOSE,
)

# What people type, or what a word processor makes of it, and what is meant.
_MEANT = {
    "&": "write '&&' for 'and'",
    "~": "write '!' for 'not', '~>' for 'leads to'",
    "#": "a comment begins with '//'",
    "@": "names are made of letters, digits and '_'",
    "$": "names are made of letters, digits and '_'",
    "\\": "write '!=' for 'differs', '&&' for 'and', '||' for 'or'",
    "\u2018": 'a text stands in double quotes: "..."',
    "\u2019": 'a text stands in double quotes: "..."',
    "\u201c": 'use straight double quotes: "..."',
    "\u201d": 'use straight double quotes: "..."',
    "\u2192": "write '->' for an arrow, '=>' for 'implies'",
    "\u21d2": "write '=>'",
    "\u21d4": "write '<=>'",
    "\u2260": "write '!='",
    "\u2264": "write '<='",
    "\u2265": "write '>='",
    "\u2227": "write '&&'",
    "\u2228": "write '||'",
    "\u00ac": "write '!'",
    "\u2208": "write 'in'",
    "\u2200": "write 'forall'",
    "\u2203": "write 'exists'",
    "\u2205": "write '{}'",
    "\u00a0": "replace the no-break space by a plain space",
    "\u2013": "write '-'",
    "\u2014": "write '-'",
    "\u2026": "write '..'",
}


@dataclass(frozen=True, slots=True)
class Tok:
    """A token, `[start, end)` in the source's text."""

    kind: Kind
    text: str
    start: int
    end: int


def scan(source: Source, diags: Diagnostics) -> list[Tok]:
    """All tokens of `source`, comments too, in order.  Mistakes go to `diags` (HMM003..005, HMM019)."""
    text = source.text
    if len(text) > MAX_CHARACTERS:
        diags.error(
            "HMM019",
            Span(source, 0, 0),
            f"the file has {len(text):,} characters; the limit is {MAX_CHARACTERS:,}",
            fix="split it, and put the parts together with import",
        )
        return []
    tokens: list[Tok] = []
    at = 0
    unknown_end = -1
    while at < len(text):
        if len(diags.items) >= MAX_ERRORS:
            break
        match = _TOKEN.match(text, at)
        assert match is not None and match.lastgroup is not None  # the last alternative takes any character
        kind, end = match.lastgroup, match.end()
        if kind == "space":
            pass
        elif kind == "unknown":
            # A run of odd characters is one mistake, not one for each character.
            if at != unknown_end:
                _unknown(source, at, diags)
            unknown_end = end
        elif kind == "badcomment":
            diags.error("HMM005", Span(source, at, end), "this comment is never closed", fix="close it with '*/'")
            break
        elif kind == "baddoc":
            diags.error("HMM004", Span(source, at, end), 'this """ text is never closed', fix='close it with """')
            break
        elif kind == "badtext":
            diags.error(
                "HMM004",
                Span(source, at, end),
                "this text has no closing quote on its line",
                fix="close it with '\"'; a text cannot go over several lines",
            )
            # The rest of the line was most likely meant as text: a stand-in lets the parser go on behind it.
            tokens.append(Tok("text", '""', at, end))
        else:
            tokens.append(Tok(kind, match.group(), at, end))  # type: ignore[arg-type]
            if kind == "number":
                _check_number(source, tokens[-1], diags)
        at = end
    return tokens


def _unknown(source: Source, at: int, diags: Diagnostics) -> None:
    ch = source.text[at]
    shown = f"'{ch}'" if ch.isprintable() else f"the character U+{ord(ch):04X}"
    diags.error("HMM003", Span(source, at, at + 1), f"{shown} has no meaning here", fix=_MEANT.get(ch))


def _check_number(source: Source, tok: Tok, diags: Diagnostics) -> None:
    shown = tok.text if len(tok.text) <= 40 else f"{tok.text[:20]}..."
    span = Span(source, tok.start, tok.end)
    match number_value(tok.text):
        case "malformed":
            fix = "numbers look like 12, 1_000 or 0x1f; a name begins with a letter"
            diags.error("HMM008", span, f"'{shown}' is not a number", fix=fix)
        case "too large":
            diags.error("HMM007", span, f"the number {shown} is too large; the limit is 10^18")
        case _:
            pass


def number_value(token: str) -> int | Literal["malformed", "too large"]:
    """The value of a number token, or what is wrong with it."""
    base = 16 if token[:2] in ("0x", "0X") else 10
    digits = token[2:] if base == 16 else token
    if not re.fullmatch(r"[0-9a-fA-F]+(_[0-9a-fA-F]+)*" if base == 16 else r"[0-9]+(_[0-9]+)*", digits):
        return "malformed"
    significant = digits.replace("_", "").lstrip("0") or "0"
    # The length first: turning a million digits into a number would take its time.
    if len(significant) > 19:
        return "too large"
    value = int(significant, base)
    return value if value <= MAX_NUMBER else "too large"


def unquote(token: str) -> str:
    """The value of a text token such as `"a \\"b\\""`.  A backslash stands for itself unless `n`, `t`, `"` or `\\`
    follows, so that a Windows path or a regular expression needs no care."""
    escapes = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
    return re.sub(r"\\(.)", lambda m: escapes.get(m.group(1), m.group()), token[1:-1])


def quote(value: str) -> str:
    """A text token that `unquote` turns back into `value`."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def undoc(token: str) -> str:
    r"""The value of a `\"\"\"` text: without the indentation of its lines, and nothing blank around it."""
    lines = token[3:-3].replace("\r\n", "\n").replace("\r", "\n").split("\n")
    depths = [len(line) - len(line.lstrip(" \t")) for line in lines[1:] if line.strip()]
    margin = min(depths, default=0)
    return "\n".join([lines[0].strip()] + [line[margin:].rstrip() for line in lines[1:]]).strip()

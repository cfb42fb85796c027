"""Formulas about identities as SMT-LIB text, for any solver, and the same text for the same formulas.

Parts that occur more than once are defined once, as functions of the quantifier variables that they speak of; so a file
is as large as the graph of its formulas, not as large as its tree.  Variables and definitions are numbered in the order
in which they are written down.

What is said of *the* identity that something holds of (see `terms.The`) becomes "all of which it holds" where it is
asserted and "some of which it holds" where it is denied, as in `translate.Translation`.  A part with such a thing in it
is therefore another one where it is asserted than where it is denied.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula, Formulas
from hmmspec.checker.symbolic.terms import Every, Holds, Logic, Same, Term, The

WIDTH = 120
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
# Words with a meaning of their own in SMT-LIB.
_RESERVED = frozenset("and or not let forall exists par as match ite xor distinct true false assert".split())


@dataclass(frozen=True)
class Asserted:
    """Something that is asserted, with a remark."""

    remark: str
    formula: Formula


@dataclass(frozen=True)
class Problem:
    """What a file says: `facts` together with each of `questions` by itself are (`expected`) 'sat' or 'unsat'."""

    title: str
    facts: tuple[Asserted, ...]
    questions: tuple[Asserted, ...]
    expected: str
    remarks: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)  # readable ones for constants


@dataclass(frozen=True)
class _Part:
    """A node, and whether it is asserted where it stands (None: it makes no difference)."""

    node: int
    asserted: bool | None


@dataclass(frozen=True)
class _Signed:
    part: _Part
    negated: bool

    def flipped(self) -> _Signed:
        return _Signed(self.part, not self.negated)


def script(logic: Logic, problem: Problem) -> str:
    """The text of a problem."""
    return _Writer(logic, problem).text()


def separate(text: str) -> list[tuple[str, str]]:
    """The questions of a file, each as a file of its own: what it asks (the remark before it) and the text."""
    head, *blocks = text.split("\n(push 1)\n")
    if not blocks:
        remark = text.rpartition("\n; ")[2].partition("\n")[0]
        return [(remark, text)]
    out: list[tuple[str, str]] = []
    for block in blocks:
        body = block.rpartition("\n(pop 1)")[0]
        first = body.partition("\n")[0]
        out.append((first.removeprefix("; "), f"{head}\n{body}\n"))
    return out


class _Writer:
    def __init__(self, logic: Logic, problem: Problem) -> None:
        self.logic, self.problem = logic, problem
        self.f: Formulas = logic.f
        self._split: dict[int, bool] = {}  # by node: whether it differs where it is asserted and where it is denied
        self._items: dict[_Part, tuple[_Signed, ...]] = {}
        self._uses: dict[_Part, int] = {}
        self._texts: dict[_Signed, str] = {}
        self._defined: dict[_Part, str] = {}
        self._definitions: list[str] = []
        self._sorts: dict[str, None] = {}
        self._symbols: dict[Hashable, str] = {}
        self._declared: dict[str, str] = {}  # symbol -> declaration
        self._variables: dict[Term, str] = {}

    # ------------------------------------------------------------ the file

    def text(self) -> str:
        p = self.problem
        facts = [a for a in p.facts if a.formula != TRUE]
        asserted = [*facts, *p.questions]
        roots = [self._signed(a.formula, True) for a in asserted]
        self._count(roots)
        bodies = [self._render(r) for r in roots]
        out = [*(f"; {line}" for line in (p.title, *p.remarks)), "(set-logic UF)"]
        out += [f"(declare-sort {_quoted(s)} 0)" for s in self._sorts]
        out += self._declared.values()
        out += self._definitions
        for a, body in zip(facts, bodies, strict=False):
            out += [f"; {a.remark}", _laid_out("(assert ", body, ")")]
        several = len(p.questions) > 1
        for a, body in zip(p.questions, bodies[len(facts) :], strict=True):
            out += ["(push 1)"] if several else []
            out += [f"; {a.remark}", _laid_out("(assert ", body, ")")]
            out += [f"(set-info :status {p.expected})", "(check-sat)"]
            out += ["(pop 1)"] if several else []
        return "\n".join(out) + "\n"

    # ------------------------------------------------------------ parts and how often they occur

    def _signed(self, f: Formula, asserted: bool) -> _Signed:
        node = f >> 1
        positive = asserted ^ bool(f & 1)
        return _Signed(_Part(node, positive if self._differs(node) else None), bool(f & 1))

    def _differs(self, node: int) -> bool:
        if node not in self._split:
            todo = [node]
            while todo:
                n = todo[-1]
                below = [b >> 1 for b in self._below(n)]
                missing = [b for b in below if b not in self._split]
                if missing:
                    todo += missing
                    continue
                todo.pop()
                self._split[n] = isinstance(self.f.atoms.get(n), The) or any(self._split[b] for b in below)
        return self._split[node]

    def _below(self, node: int) -> tuple[Formula, ...]:
        parts = self.f.parts[node]
        if parts is not None:
            return parts
        match self.f.atoms.get(node):
            case Every(_, body):
                return (body,)
            case The(_, which, body):
                return which, body
            case _:
                return ()

    def _inside(self, part: _Part) -> tuple[_Signed, ...]:
        """What a part is made of."""
        if part not in self._items:
            asserted = part.asserted is not False
            match self.f.atoms.get(part.node):
                case The(_, which, body):
                    self._items[part] = self._signed(which, False), self._signed(body, asserted)
                case _:
                    self._items[part] = tuple(self._signed(b, asserted) for b in self._below(part.node))
        return self._items[part]

    def _count(self, roots: Iterable[_Signed]) -> None:
        todo = [r.part for r in roots]
        while todo:
            part = todo.pop()
            self._uses[part] = self._uses.get(part, 0) + 1
            if self._uses[part] == 1:
                todo += [s.part for s in self._inside(part)]

    # ------------------------------------------------------------ text

    def _render(self, root: _Signed) -> str:
        """The text of a signed part, and before it of everything that it needs."""
        todo = [root]
        while todo:
            s = todo[-1]
            if s in self._texts:
                todo.pop()
                continue
            wanted = self._needed(s)
            missing = [w for w in wanted if w not in self._texts]
            if missing:
                todo += reversed(missing)
                continue
            todo.pop()
            self._texts[s] = self._text(s)
        return self._texts[root]

    def _shared(self, part: _Part) -> bool:
        """Whether a part is defined, not written in its place: what is small is not."""
        return self._uses[part] > 1 and bool(self._inside(part))

    def _needed(self, s: _Signed) -> list[_Signed]:
        if self._shared(s.part):
            if s.part in self._defined:
                return []
            return self._needed_in_place(_Signed(s.part, False))
        return self._needed_in_place(s)

    def _needed_in_place(self, s: _Signed) -> list[_Signed]:
        match self.f.atoms.get(s.part.node):
            case Every():
                (body,) = self._inside(s.part)
                return [body.flipped() if s.negated else body]
            case The():
                return self._of_the(s)
            case _:
                return self._conjuncts(s)

    def _conjuncts(self, s: _Signed) -> list[_Signed]:
        """Of a conjunction, those of its parts that are conjunctions and stand only here included; negated where the
        whole is."""
        out: list[_Signed] = []
        todo = list(reversed(self._inside(s.part)))
        while todo:
            x = todo.pop()
            inner = self.f.parts[x.part.node]
            if inner is not None and not x.negated and not self._shared(x.part):
                todo += reversed(self._inside(x.part))
            else:
                out.append(x.flipped() if s.negated else x)
        return out

    def _of_the(self, s: _Signed) -> list[_Signed]:
        """The two sides of `some that is it and has the body`, or of `all that are it have the body` as that of
        which one holds."""
        which, body = self._inside(s.part)
        every = (s.part.asserted is not False) ^ s.negated
        return [which.flipped() if every else which, body.flipped() if s.negated else body]

    def _text(self, s: _Signed) -> str:
        if not self._shared(s.part):
            return self._in_place(s)
        if s.part not in self._defined:
            self._define(s.part)
        name = self._defined[s.part]
        return f"(not {name})" if s.negated else name

    def _define(self, part: _Part) -> None:
        body = self._in_place(_Signed(part, False))
        free = sorted(self.logic.free(2 * part.node), key=lambda t: int(self._variable(t).rpartition("_")[2]))
        name = f"def_{len(self._defined) + 1}"
        params = " ".join(f"({self._variable(t)} {self._sort(t.sort)})" for t in free)
        self._definitions.append(_laid_out(f"(define-fun {name} ({params}) Bool ", body, ")"))
        self._defined[part] = f"({' '.join([name, *(self._variable(t) for t in free)])})" if free else name

    def _in_place(self, s: _Signed) -> str:
        node = s.part.node
        if self.f.parts[node] is not None:
            inside = [self._texts[x] for x in self._conjuncts(s)]
            return f"({'or' if s.negated else 'and'} {' '.join(inside)})"
        match self.f.atoms.get(node):
            case None:
                return "false" if s.negated else "true"
            case Every(names, _):
                (body,) = self._needed_in_place(s)
                return self._quantified(s.negated, names, self._texts[body])
            case The(names, _, _):
                a, b = (self._texts[x] for x in self._of_the(s))
                every = (s.part.asserted is not False) ^ s.negated
                return self._quantified(not every, names, f"({'or' if every else 'and'} {a} {b})")
            case atom:
                text = self._atom(atom)
                return f"(not {text})" if s.negated else text

    def _quantified(self, some: bool, names: Sequence[Term], body: str) -> str:
        bound = " ".join(f"({self._variable(t)} {self._sort(t.sort)})" for t in names)
        return f"({'exists' if some else 'forall'} ({bound}) {body})"

    def _atom(self, atom: Hashable) -> str:
        match atom:
            case Holds(relation, terms):
                sorts = tuple(t.sort for t in terms)
                name = self._symbol((relation, sorts), relation, " ".join(self._sort(s) for s in sorts))
                return f"({' '.join([name, *map(self._identity, terms)])})" if terms else name
            case Same(a, b):
                return f"(= {self._identity(a)} {self._identity(b)})"
            case (str(what), int(number)):
                return self._symbol(atom, f"{self._named(what)} bit {number}", "")
            case _:
                return self._symbol(atom, self._named(str(atom)), "")

    def _identity(self, t: Term) -> str:
        if t.bound:
            return self._variable(t)
        sort = self._sort(t.sort)
        return self._symbol(t, self._named(t.name), "", sort)

    def _named(self, name: str) -> str:
        return self.problem.names.get(name, name)

    def _symbol(self, key: Hashable, wanted: str, sorts: str, result: str = "Bool") -> str:
        if key not in self._symbols:
            symbol, n = _quoted(wanted), 1
            while symbol in self._declared:
                n += 1
                symbol = _quoted(f"{wanted} {n}")
            self._declared[symbol] = f"(declare-fun {symbol} ({sorts}) {result})"
            self._symbols[key] = symbol
        return self._symbols[key]

    def _sort(self, name: str) -> str:
        self._sorts.setdefault(name)
        return _quoted(name)

    def _variable(self, t: Term) -> str:
        if t not in self._variables:
            self._variables[t] = f"{t.sort.lower()}_{len(self._variables) + 1}"
        return self._variables[t]


def _quoted(name: str) -> str:
    """A name as a symbol of SMT-LIB, in which there is no "|"."""
    name = name.replace("|", "/")
    return name if _PLAIN.fullmatch(name) and name not in _RESERVED else f"|{name}|"


def _laid_out(before: str, text: str, after: str) -> str:
    """A long conjunction with one conjunct on each line."""
    whole = before + text + after
    if len(whole) <= WIDTH or not text.startswith(("(and ", "(or ")):
        return whole
    word, parts = _arguments(text)
    lines = [f"{before}({word}", *(f"  {p}" for p in parts)]
    return "\n".join(lines) + ")" + after


def _arguments(text: str) -> tuple[str, list[str]]:
    """Of `(and a b c)`: the word and the arguments."""
    word, _, rest = text[1:-1].partition(" ")
    return word, list(_split(rest))


def _split(text: str) -> Iterator[str]:
    depth, start, quoted = 0, 0, False
    for i, c in enumerate(text):
        if c == "|":
            quoted = not quoted
        elif quoted:
            continue
        elif c == "(":
            depth += 1
        elif c == ")":
            depth -= 1
        elif c == " " and not depth:
            yield text[start:i]
            start = i + 1
    yield text[start:]


__all__ = ["FALSE", "Asserted", "Problem", "script", "separate"]

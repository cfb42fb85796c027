"""Expressions worked out: while a plan is made, and, where they ask for results, after its commands have run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hmmspec.conform.results import Result
from hmmspec.conform.scenario import syntax as s
from hmmspec.conform.scenario.forms import COUNTED, ERRNOS, SIGNALS
from hmmspec.conform.scenario.plan import Value
from hmmspec.diagnostics import Diagnostic, SpecError, did_you_mean

RESULT_FIELDS = ("ok", "error", "returned", *COUNTED, "data", "byte", "map")
LARGEST = 1 << 62
_LISTED = "'hmmspec scenario --behaviours' lists them"


class Unseen(Exception):
    """A value that the target cannot see, or a behaviour that it does not tell: nothing can be judged by it."""


def mistake(code: str, node: s.Node, message: str, fix: str | None = None) -> SpecError:
    """A mistake at a node."""
    return SpecError([Diagnostic(code, message, node.span, fix=fix)])


class Evaluator:
    """Works expressions out.

    values: parameters and the like, by name.  behaviours: what the target tells of itself; None for a name that is
    known but that it does not tell.  results: by name, where there are any (else none can stand in an expression).
    """

    def __init__(
        self,
        values: Mapping[str, Value],
        behaviours: Mapping[str, Value | None],
        results: Mapping[str, Result | None] | None = None,
        known_results: Sequence[str] = (),
        undefined: str = "HMM123",
    ) -> None:
        self._values = values
        self._behaviours = behaviours
        self._results = results
        self._known = known_results
        self._undefined = undefined

    def number(self, expr: s.Expr) -> int:
        """The value of an expression that must be a number.  Raises SpecError, Unseen."""
        value = self.value(expr)
        if isinstance(value, bool) or not isinstance(value, int):
            raise mistake("HMM125", expr, f"a number is expected here, not {_kind(value)}")
        return value

    def truth(self, expr: s.Expr) -> bool:
        """The value of a condition.  Raises SpecError, Unseen."""
        value = self.value(expr)
        if not isinstance(value, bool):
            fix = "compare it: x > 0" if isinstance(value, int) else None
            raise mistake("HMM125", expr, f"a condition is expected here, not {_kind(value)}", fix)
        return value

    def items(self, values: s.Values) -> list[Value]:
        """What a loop goes through."""
        if isinstance(values, s.Listed):
            return [self.value(item) for item in values.items]
        first = self.number(values.first)
        end = first + 1 if values.end is None else self.number(values.end)
        if end - first > 1_000_000:
            raise mistake("HMM125", values, f"{end - first} values are too many", "at most 1000000")
        return list(range(first, end))

    def value(self, expr: s.Expr) -> Value:
        """The value of any expression.  Raises SpecError, Unseen."""
        match expr:
            case s.Number(value):
                return value
            case s.Text(text):
                return text
            case s.Name(name):
                return self._name(expr, name)
            case s.Unary("-", operand):
                return -self.number(operand)
            case s.Unary(_, operand):
                return not self.truth(operand)
            case s.Binary("&&", left, right):
                return self.truth(left) and self.truth(right)
            case s.Binary("||", left, right):
                return self.truth(left) or self.truth(right)
            case s.Binary(op, left, right) if op in ("==", "!="):
                return self._equal(left, right) == (op == "==")
            case s.Binary(op, left, right):
                return self._arithmetic(expr, op, self.number(left), self.number(right))
            case s.Member(item, values):
                return self._member(item, values)
            case s.FieldOf(base, field, index):
                return self._field(expr, base, field, index)
            case s.Function("has", (s.Name(name), *_)):
                found = self._behaviour(expr, name)
                return bool(found) if not isinstance(found, str) else found not in {"", "none", "no"}
            case s.Function(name, args):
                numbers = [self.number(arg) for arg in args]
                return min(numbers) if name == "min" else max(numbers)

    def _name(self, expr: s.Expr, name: str) -> Value:
        if name in ("true", "false"):
            return name == "true"
        if name in self._values:
            return self._values[name]
        if name in ERRNOS or name in SIGNALS:
            return name
        if name in self._behaviours:
            return self._behaviour(expr, name)
        if name in self._known or (self._results is not None and name in self._results):
            raise mistake("HMM125", expr, f"'{name}' is a result: ask one of its fields", f"{name}.ok")
        fix = did_you_mean(name, (*self._values, *self._known, *self._behaviours))
        if self._undefined == "HMM127":
            fix = fix or _LISTED
            raise mistake("HMM127", expr, f"no behaviour and no capability is called '{name}'", fix)
        raise mistake("HMM123", expr, f"'{name}' is not defined", fix)

    def _behaviour(self, expr: s.Expr, name: str) -> Value:
        if name not in self._behaviours:
            fix = did_you_mean(name, self._behaviours) or _LISTED
            raise mistake("HMM127", expr, f"no behaviour and no capability is called '{name}'", fix)
        found = self._behaviours[name]
        if found is None:
            raise Unseen(f"the target does not tell about {name}")
        return found

    def _equal(self, left: s.Expr, right: s.Expr) -> bool:
        one, other = self.value(left), self.value(right)
        if isinstance(one, bool) != isinstance(other, bool) or isinstance(one, str) != isinstance(other, str):
            raise mistake("HMM125", right, f"{_kind(one)} is compared with {_kind(other)}")
        return one == other

    def _arithmetic(self, expr: s.Expr, op: str, left: int, right: int) -> Value:
        if op in ("/", "%") and right == 0:
            raise mistake("HMM125", expr, "division by zero")
        operations: dict[str, Callable[[int, int], Value]] = {
            "+": lambda a, b: a + b,
            "-": lambda a, b: a - b,
            "*": lambda a, b: a * b,
            "/": lambda a, b: a // b,
            "%": lambda a, b: a % b,
            "<": lambda a, b: a < b,
            "<=": lambda a, b: a <= b,
            ">": lambda a, b: a > b,
            ">=": lambda a, b: a >= b,
        }
        value = operations[op](left, right)
        if not isinstance(value, str) and abs(value) > LARGEST:
            raise mistake("HMM125", expr, "the number is too large", "numbers go up to 2^62")
        return value

    def _member(self, item: s.Expr, values: s.Values) -> bool:
        if isinstance(values, s.Listed):
            return any(self._equal(item, one) for one in values.items)
        value = self.number(item)
        first = self.number(values.first)
        return value == first if values.end is None else first <= value < self.number(values.end)

    def _field(self, expr: s.Expr, base: s.Name, field: str, index: s.Expr | None) -> Value:
        if self._results is None or base.name not in self._results:
            if base.name in self._known:
                fix = "results can be asked for in 'expect' and 'outcome' only"
                raise mistake("HMM128", expr, f"the result '{base.name}' is not there yet while a run is planned", fix)
            fix = did_you_mean(base.name, self._results or {}) or f"name a result by 'as {base.name}' after its command"
            raise mistake("HMM123", base, f"there is no result '{base.name}' here", fix)
        if field not in RESULT_FIELDS:
            known = did_you_mean(field, RESULT_FIELDS) or f"it has {', '.join(RESULT_FIELDS)}"
            raise mistake("HMM126", expr, f"a result has no field '{field}'", known)
        lists = field in ("data", "byte", "map")
        if lists != (index is not None):
            fix = f"{base.name}.{field}[0] is that of its first page" if lists else f"{base.name}.{field}"
            told = "wants the number of a page, counted from 0" if lists else "is one value"
            raise mistake("HMM125", expr, f"'{field}' {told}", fix)
        return _of(expr, self._results[base.name], field, 0 if index is None else self.number(index))


def _of(expr: s.Expr, result: Result | None, field: str, index: int) -> Value:
    if field == "returned":
        return result is not None
    if field == "ok":
        return result is not None and result.ok
    if result is None:
        raise Unseen("the command never returned")
    if field == "error":
        return result.error
    if field in COUNTED:
        return found(count_of(result, field))
    pages = {"data": result.stamps, "byte": result.snapshot, "map": result.pagemap}[field]
    if not pages and result.ok:
        raise Unseen(f"the target does not tell '{field}'")
    if not 0 <= index < len(pages):
        raise mistake("HMM125", expr, f"the result has {len(pages)} pages: there is no page {index} in it")
    return pages[index]


def count_of(result: Result, field: str) -> int | None:
    """A number of a result by the name it has in scenarios; None: not seen."""
    if field == "pages":
        return result.cpages
    if field == "faults":
        return result.faults
    return dict(result.counts).get(field)


def found(value: int | None) -> int:
    """The value, or Unseen."""
    if value is None:
        raise Unseen("the target does not tell this number")
    return value


def _kind(value: Value) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "a word" if isinstance(value, str) else f"the number {value}"

"""Instances of a spec with other sizes of the types without bounds, and the states that they reach.

What holds in all reachable states of small instances is what an invariant may say; the explicit engine gives them for
little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hmmspec.checker.explicit.engine import explore
from hmmspec.checker.options import CheckOptions
from hmmspec.diagnostics import Limit, SpecError
from hmmspec.lang import syntax as S
from hmmspec.system.build import build
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import System
from hmmspec.system.types import Symmetric


@dataclass(frozen=True)
class Sizes:
    """How many identities each type without bounds has."""

    of: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return ", ".join(f"{n} {name}" for name, n in self.of)


class Instances:
    """Instances of a spec for sizes of some of its symmetric types.

    Raises Limit where a size is not a param of its own.
    """

    def __init__(self, spec: S.Spec, system: System, every: tuple[str, ...]) -> None:
        self.spec, self.system, self.every = spec, system, every
        self._params = {name: self._param(name) for name in every}
        self._made: dict[Sizes, System] = {}
        self._interpreters: dict[Sizes, Interpreter] = {}

    def _param(self, name: str) -> str:
        for d in self.spec.declarations:
            match d:
                case S.TypeDecl(S.Ident(declared), S.SymmetricType(S.Name(param))) if declared == name:
                    return param
        raise Limit(f"the size of {name} is not a param: there is no proof for every size of it")

    def of(self, sizes: Sizes) -> System:
        """The instance with these sizes, the other params as in this one."""
        if sizes not in self._made:
            values = {name: value for name, value, _ in self.system.params}
            overrides = {self._params[name]: n for name, n in sizes.of}
            instance = self.system.instance
            try:
                self._made[sizes] = build(self.spec, overrides, instance)
            except SpecError as e:
                raise Limit(f"no instance with {sizes}: {e.diagnostics[0].message}") from None
            del values
        return self._made[sizes]

    def interpreter(self, sizes: Sizes) -> Interpreter:
        """What runs it."""
        if sizes not in self._interpreters:
            self._interpreters[sizes] = Interpreter(self.of(sizes))
        return self._interpreters[sizes]

    def sizes(self, largest: int) -> Iterator[Sizes]:
        """All sizes up to so many identities each, the smallest together first."""
        found: list[Mapping[str, int]] = [{}]
        for name in self.every:
            found = [{**f, name: n} for f in found for n in range(1, largest + 1)]
        for f in sorted(found, key=lambda f: (sum(f.values()), tuple(f.values()))):
            yield Sizes(tuple(f.items()))

    def reached(self, sizes: Sizes, states: int) -> list[State]:
        """States that the instance reaches: all, or so many."""
        options = CheckOptions(symmetry=False, states=states, expectations=False, witness=False)
        return list(explore(self.of(sizes), options).states)[:states]


def size_of(system: System, name: str) -> int:
    """How many identities the type has in an instance."""
    found = next(t for t in system.symmetric if t.name == name)
    assert isinstance(found, Symmetric)
    return found.size

"""`dataclass` for modules with dozens of frozen ones: the same classes, made in half the time.

The standard decorator compiles text for each method of each class, and looks up a signature for each class without a
docstring; with two hundred classes that is a good part of what a short command takes.  Here comparison, hash and
`repr` are ordinary closures over the names of the fields.  Type checkers see the standard decorator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, **options):
        """As `dataclasses.dataclass(frozen=True, ..)`; takes its options but not `eq` and `repr`."""
        if cls is None:
            return partial(dataclass, **options)
        cls.__doc__ = cls.__doc__ or cls.__name__
        made = dataclasses.dataclass(cls, eq=False, repr=False, **options)
        _add_methods(made)
        return made


def _add_methods(cls: type[Any]) -> None:
    fields = dataclasses.fields(cls)
    shown = tuple(f.name for f in fields if f.repr)
    compared = _getter([f.name for f in fields if f.compare])

    def equal(self: Any, other: object) -> Any:
        return compared(self) == compared(other) if other.__class__ is self.__class__ else NotImplemented

    def hashed(self: Any) -> int:
        return hash(compared(self))

    def told(self: Any) -> str:
        return f"{self.__class__.__qualname__}({', '.join(f'{n}={getattr(self, n)!r}' for n in shown)})"

    for name, method in (("__eq__", equal), ("__hash__", hashed), ("__repr__", told)):
        # A class with its own comparison has `__hash__` set to None by Python: that is no choice of its author.
        if cls.__dict__.get(name) is None:
            setattr(cls, name, method)


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What makes a tuple of these attributes."""
    if not names:
        return lambda _: ()
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda x: (get(x),)

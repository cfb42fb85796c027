"""The targets that come with hmmspec, and others by the name of their module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from hmmspec.conform.target import Target, make_target, target_names

# Modules that register a target when they are imported.
SHIPPED: Mapping[str, str] = {"ref": "hmmspec.conform.reference", "linux": "hmmspec.conform.linux.target"}


class NoTarget(Exception):
    """There is no such target, or it cannot be made: the message says why."""


def open_target(name: str, options: Mapping[str, object] | None = None) -> Target:
    """The target of a name: one that is shipped or registered, or `package.module:make`, a function that takes the
    options of the command line and gives a Target.  Options of its own may follow: `ref@profile=6.12@checks=off`.
    Raises NoTarget."""
    name, *more = name.split("@")
    make = _maker(name)
    try:
        made = make({**(options or {}), **_options(name, more)})
    except ValueError as error:
        # What a target says of options that it does not know.
        raise NoTarget(f"the target '{name}': {error}") from error
    if not isinstance(made, Target):
        raise NoTarget(f"'{name}' gives a {type(made).__name__}, which is no hmmspec.conform.target.Target")
    return made


def _options(name: str, words: Sequence[str]) -> dict[str, object]:
    """`key=value` each; the same key again makes a list; `on` and `off` are truth values."""
    out: dict[str, object] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or not key.isidentifier():
            raise NoTarget(f"'@{word}' is no option of the target '{name}': write {name}@profile=6.12")
        value: object = {"on": True, "off": False}.get(text, text)
        before = out.get(key)
        out[key] = value if before is None else [*(before if isinstance(before, list) else [before]), value]
    return out


def _maker(name: str) -> Callable[[Mapping[str, object]], object]:
    try:
        if ":" in name:
            module, _, function = name.partition(":")
            found: Callable[[Mapping[str, object]], object] = getattr(import_module(module), function)
            return found
        if name in SHIPPED:
            import_module(SHIPPED[name])
    except (ImportError, AttributeError, ValueError) as error:
        raise NoTarget(f"the target '{name}' cannot be loaded: {error}") from error
    if name not in target_names():
        known = ", ".join(sorted({*SHIPPED, *target_names()}))
        raise NoTarget(f"there is no target '{name}': there is {known}, or your own as package.module:function")
    return lambda options: make_target(name, options)

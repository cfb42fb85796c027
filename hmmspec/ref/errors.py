"""How an operation of the kernel says no: an errno by its name."""

from __future__ import annotations


class Errno(Exception):
    """A system call failed and left nothing changed; `name` is `ENOMEM`, `EFAULT`, .."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

"""How each command is written in a scenario, and what can be expected of it.

NOTE(forms): one table; the parser, the messages, the expansion and the reference in docs/scenarios.md go by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from hmmspec.conform import commands as c
from hmmspec.conform import results
from hmmspec.records import dataclass

Operand = Literal["", "number", "name", "device"]


@dataclass(frozen=True)
class Modifier:
    """A word after the arguments: sets fields to constants and takes an operand for one field."""

    sets: tuple[tuple[str, str], ...] = ()
    field: str = ""
    operand: Operand = ""


@dataclass(frozen=True)
class Form:
    """`subject`: who does it: a process, a device of it, or nobody in particular ('system').

    leads: what stands first, in order: `range`, `stamp` (`= 7`), `number`, or `FIELD:name` / `FIELD:a|b` for a free
    name or one of some words.
    fields: what can be expected of its result, besides the outcome.
    """

    word: str
    command: type[c.Command]
    subject: Literal["process", "device", "system"]
    leads: tuple[str, ...] = ()
    modifiers: Mapping[str, Modifier] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    told: str = ""
    required: tuple[str, ...] = ()  # modifiers that must not be missing

    @property
    def written(self) -> str:
        """How it is written: `mmap [A, B) PROT (private | shared | ..)`."""
        shown = {"range": "[A, B)", "stamp": "= STAMP", "number": "N"}
        parts = [("DEVICE." if self.subject == "device" else "") + self.word]
        for lead in self.leads:
            name, _, choices = lead.partition(":")
            parts.append(shown.get(lead) or (choices if choices != "name" else name.upper()))
        for word, modifier in self.modifiers.items():
            operand = {"": "", "number": " N", "name": " NAME", "device": " DEVICE"}[modifier.operand]
            parts.append(f"{word}{operand}" if word in self.required else f"[{word}{operand}]")
        return " ".join(parts)


def _kind(kind: str, operand: Operand = "") -> Modifier:
    return Modifier((("kind", kind),), "source" if operand else "", operand)


_PROT = "prot:" + "|".join(c.PROTS)
_COUNTS = ("rss", "anon", "swap", "dirty", "huge")

_FORMS = (
    Form("spawn", c.Spawn, "system", ("process:name",), told="a new process that shares nothing with the others"),
    Form("fork", c.Fork, "process", ("child:name",), told="fork; the child has the name given and no device open"),
    Form("exit", c.Exit, "process", told="end, with all it has open and holds"),
    Form(
        "kill",
        c.Kill,
        "process",
        (),
        {"reap": Modifier((("reap", "true"),))},
        told="be killed from outside, whatever it does at that moment; `reap`: its memory is taken away at once",
    ),
    Form(
        "mmap",
        c.Mmap,
        "process",
        ("range", _PROT),
        {
            "private": _kind("private"),
            "shared": _kind("shared"),
            "file": _kind("file", "name"),
            "file_private": _kind("file_private", "name"),
            "hugetlb": _kind("hugetlb"),
            "device": _kind("device", "device"),
            "offset": Modifier((), "offset", "number"),
        },
        told="map these pages, in place of what was there; private anonymous memory unless said",
    ),
    Form("munmap", c.Munmap, "process", ("range",), told="unmap"),
    Form("mprotect", c.Mprotect, "process", ("range", _PROT), told="change the protection"),
    Form(
        "mremap",
        c.Mremap,
        "process",
        ("range",),
        {"to": Modifier((), "to", "number"), "dontunmap": Modifier((("dontunmap", "true"),))},
        told="move the range to page N",
        required=("to",),
    ),
    Form("madvise", c.Madvise, "process", ("range", "advice:" + "|".join(c.ADVICE)), told="give advice"),
    Form("load", c.Load, "process", ("range",), fields=("pages", "data"), told="the CPU reads every page"),
    Form("store", c.Store, "process", ("range", "stamp"), fields=("pages",), told="the CPU writes stamp + k to page k"),
    Form(
        "increment",
        c.Increment,
        "process",
        ("range",),
        fields=("pages", "data"),
        told="the CPU raises each page's stamp by 1; data: what was there before",
    ),
    Form(
        "gup",
        c.Gup,
        "process",
        ("range",),
        {
            **{word: Modifier(((word, "true"),)) for word in ("write", "fast", "pin", "longterm")},
            "hold": Modifier((), "hold", "name"),
        },
        fields=("pages",),
        told="the kernel takes references on the pages, and drops them at once or holds them under a name",
    ),
    Form("peek", c.Peek, "process", ("hold:name",), fields=("data",), told="read what the holder sees"),
    Form("poke", c.Poke, "process", ("hold:name", "stamp"), told="write by way of the hold, as DMA does"),
    Form("unpin", c.Unpin, "process", ("hold:name",), told="drop a hold"),
    Form("pagemap", c.Pagemap, "process", ("range",), fields=("map",), told="what /proc/PID/pagemap shows"),
    Form("clear_soft_dirty", c.ClearSoftDirty, "process", told="clear the soft-dirty bits of all pages"),
    Form(
        "uffd_wp",
        c.UffdWp,
        "process",
        ("range", "on:on|off"),
        told="write-protect by userfaultfd (a write clears the mark by itself), or end that",
    ),
    Form("smaps", c.Smaps, "process", ("range",), fields=_COUNTS, told="pages by kind, as /proc/PID/smaps counts"),
    Form("file_write", c.FileWrite, "system", ("file:name", "range", "stamp"), told="pwrite; makes the file as needed"),
    Form("file_read", c.FileRead, "system", ("file:name", "range"), fields=("data",), told="pread"),
    Form("drain", c.Drain, "system", told="put the pages of the per-CPU batches onto the LRU lists"),
    Form(
        "inject",
        c.Inject,
        "system",
        ("point:" + "|".join(c.POINTS),),
        {"times": Modifier((), "times", "number"), "on": Modifier((), "device", "device")},
        told="the next N passages through that point fail (of that device)",
    ),
    Form("open", c.Open, "device", told="bind the device to the process"),
    Form("close", c.Close, "device", told="end the binding"),
    Form("read", c.DevRead, "device", ("range",), fields=("pages", "faults", "data"), told="read through the mirror"),
    Form(
        "write",
        c.DevWrite,
        "device",
        ("range", "stamp"),
        fields=("pages", "faults"),
        told="write stamp + k to page k through the mirror",
    ),
    Form(
        "migrate_to_device",
        c.MigrateToDevice,
        "device",
        ("range",),
        fields=("pages", "data"),
        told="move pages to device memory, then read the mirror back; ENOENT: some page did not move",
    ),
    Form("migrate_to_system", c.MigrateToSystem, "device", ("range",), fields=("pages",), told="move pages back"),
    Form("snapshot", c.Snapshot, "device", ("range",), fields=("pages", "byte"), told="how the pages are mapped"),
    Form("exclusive", c.Exclusive, "device", ("range",), fields=("pages", "data"), told="make pages device-exclusive"),
    Form("check_exclusive", c.CheckExclusive, "device", ("range",), told="EPERM if a page is still exclusive"),
    Form("release_memory", c.ReleaseMemory, "device", told="hot-remove the device's memory"),
    Form("flags", c.Flags, "device", ("fail_alloc:fail_alloc|none",), told="the next allocation fails, or none does"),
)
FORMS: Mapping[str, Form] = {form.word: form for form in _FORMS}

OUTCOMES = ("ok", "error", "any")
SIGNALS = ("SIGBUS", "SIGSEGV", "SIGKILL")
ERRNOS = tuple(
    """E2BIG EACCES EAGAIN EBADF EBUSY ECANCELED EDEADLK EEXIST EFAULT EHWPOISON EINTR EINVAL EIO EMFILE ENODEV ENOENT
    ENOMEM ENOSPC ENOSYS ENXIO EOPNOTSUPP EOVERFLOW EPERM ERANGE ESRCH ETIMEDOUT ETXTBSY""".split()
)

# The base of a snapshot's byte; LOCAL and REMOTE say which depends on the kind of the device that is asked.
BYTES: Mapping[str, int] = {
    "ERROR": results.DMIRROR_ERROR,
    "NONE": results.DMIRROR_NONE,
    "READ": results.DMIRROR_READ,
    "WRITE": results.DMIRROR_WRITE,
    "PMD": results.DMIRROR_PMD,
    "PUD": results.DMIRROR_PUD,
    "ZERO": results.DMIRROR_ZERO,
    "PRIV_LOCAL": results.DMIRROR_PRIV_LOCAL,
    "PRIV_REMOTE": results.DMIRROR_PRIV_REMOTE,
    "COH_LOCAL": results.DMIRROR_COH_LOCAL,
    "COH_REMOTE": results.DMIRROR_COH_REMOTE,
}
PLACES = {
    ("LOCAL", "private"): "PRIV_LOCAL",
    ("REMOTE", "private"): "PRIV_REMOTE",
    ("LOCAL", "coherent"): "COH_LOCAL",
    ("REMOTE", "coherent"): "COH_REMOTE",
}
MAPS: Mapping[str, int] = {
    "present": results.PAGEMAP_PRESENT,
    "swapped": results.PAGEMAP_SWAPPED,
    "soft_dirty": results.PAGEMAP_SOFT_DIRTY,
    "exclusive": results.PAGEMAP_EXCLUSIVE,
    "file": results.PAGEMAP_FILE,
    "uffd_wp": results.PAGEMAP_UFFD_WP,
}
COUNTED = ("pages", "faults", *_COUNTS)
FIELDS = (*COUNTED, "data", "byte", "map")

# Words that name nothing of a scenario's own.
RESERVED = frozenset(
    """scenario param let device process needs variant seeds procedure for in repeat if else race thread expect outcome
    as or each zero has min max true false private coherent""".split()
)

"""The kernel options that an image wants: which, and what for.

The base is `make tinyconfig`, so that an image is a thousand objects and not ten.  What a tree does not have, or what
its own rules switch off again, is told: `NEEDED` stops the build, the others are named in the image.
"""

from __future__ import annotations

from collections.abc import Mapping

from hmmspec.linux.image import Kind

_BOOT = """64BIT SMP PRINTK PRINTK_TIME BUG KALLSYMS TTY SERIAL_8250 SERIAL_8250_CONSOLE BLK_DEV_INITRD RD_GZIP
BINFMT_ELF BINFMT_SCRIPT MULTIUSER FUTEX EPOLL EVENTFD POSIX_TIMERS HIGH_RES_TIMERS NO_HZ_IDLE FILE_LOCKING
PROC_FS PROC_SYSCTL SYSFS DEVTMPFS DEVTMPFS_MOUNT DEBUG_FS ACPI PCI UNIX NET MAGIC_SYSRQ KERNEL_GZIP"""
_CHANNEL = "VIRTIO_MENU VIRTIO_PCI VIRTIO_CONSOLE"
_MEMORY = """NUMA SPARSEMEM SPARSEMEM_VMEMMAP MEMORY_HOTPLUG MEMORY_HOTREMOVE MIGRATION COMPACTION ZONE_DEVICE
DEVICE_PRIVATE TRANSPARENT_HUGEPAGE TRANSPARENT_HUGEPAGE_MADVISE ADVISE_SYSCALLS SHMEM TMPFS"""
_MORE_MEMORY = """HUGETLBFS MEMFD_CREATE SWAP BLOCK BLK_DEV ZRAM ZSMALLOC CRYPTO CRYPTO_LZO ZRAM_BACKEND_LZO KSM
USERFAULTFD CGROUPS MEMCG IO_URING"""
_SEEN = "PROC_PAGE_MONITOR CHECKPOINT_RESTORE MEM_SOFT_DIRTY"
_TESTS = "DEBUG_KERNEL RUNTIME_TESTING_MENU TEST_HMM"
_MORE_TESTS = "GUP_TEST DEBUG_VM"
_DEBUG = """PROVE_LOCKING LOCKDEP DEBUG_ATOMIC_SLEEP DETECT_HUNG_TASK KASAN KASAN_GENERIC DEBUG_VM DEBUG_VM_PGFLAGS
PAGE_TABLE_CHECK PAGE_TABLE_CHECK_ENFORCED DEBUG_LIST STACKTRACE SCHED_DEBUG"""
_DEBUG_NEEDED = frozenset("PROVE_LOCKING DEBUG_ATOMIC_SLEEP DETECT_HUNG_TASK KASAN DEBUG_VM".split())

# Without these there is nothing to run, or nobody to talk to.
NEEDED = frozenset(f"{_BOOT} {_CHANNEL} {_MEMORY} {_TESTS}".split()) - {
    "KALLSYMS",
    "BINFMT_SCRIPT",
    "MAGIC_SYSRQ",
    "UNIX",
    "KERNEL_GZIP",
}

# Of these, what must be there even if a tree has no such option: no tree does without.
CORE = frozenset("TEST_HMM DEVICE_PRIVATE VIRTIO_PCI VIRTIO_CONSOLE BLK_DEV_INITRD DEVTMPFS PROC_FS SYSFS".split())

# What moves pages by itself, and what only costs time: nothing moves pages but the run.
_OFF = """NUMA_BALANCING TRANSPARENT_HUGEPAGE_ALWAYS TRANSPARENT_HUGEPAGE_NEVER MODULES DEBUG_INFO CC_OPTIMIZE_FOR_SIZE
UNWINDER_ORC MEMORY_HOTPLUG_DEFAULT_ONLINE ZSWAP LRU_GEN_ENABLED WERROR KERNEL_XZ SLUB_TINY"""

_VALUES = {"NR_CPUS": "8", "LOG_BUF_SHIFT": "18"}
_DEBUG_VALUES = {"LOG_BUF_SHIFT": "20", "DEFAULT_HUNG_TASK_TIMEOUT": "60", "FRAME_WARN": "0"}

OBJECTS = {"plain": 1900, "debug": 2000}  # about how many steps a whole build has; only progress asks


def wanted(kind: Kind) -> dict[str, str]:
    """Option -> `y`, `n` or a value, for an image of this kind."""
    names = f"{_BOOT} {_CHANNEL} {_MEMORY} {_MORE_MEMORY} {_SEEN} {_TESTS} {_MORE_TESTS} CC_OPTIMIZE_FOR_PERFORMANCE"
    out = dict.fromkeys(_OFF.split(), "n")
    out |= dict.fromkeys(names.split(), "y") | _VALUES
    out["UNWINDER_FRAME_POINTER"] = "y"  # what the console shows of a finding is to be believed
    if kind == "debug":
        out |= dict.fromkeys(_DEBUG.split(), "y") | _DEBUG_VALUES
    return out


def needed(kind: Kind) -> frozenset[str]:
    """The options without which an image of this kind is not worth its name."""
    return NEEDED | _DEBUG_NEEDED if kind == "debug" else NEEDED


def fragment(options: Mapping[str, str]) -> str:
    """Options as the text of a configuration; the last line about an option counts."""
    lines = []
    for name, value in options.items():
        if value == "n":
            lines.append(f"# CONFIG_{name} is not set")
        elif value in {"y", "m"} or value.removeprefix("-").isdecimal() or value.startswith("0x"):
            lines.append(f"CONFIG_{name}={value}")
        else:
            lines.append(f'CONFIG_{name}="{value}"')
    return "\n".join(lines) + "\n"

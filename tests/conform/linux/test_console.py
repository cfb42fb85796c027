"""What a console says: reports become findings, and nothing else does.  The texts are made up."""

from __future__ import annotations

import pytest

from hmmspec.conform.linux.console import console_findings

BOOT = """\
[    0.000000] Linux version 6.12.0 (someone@somewhere) #1 SMP
[    0.000000] Command line: console=ttyS0 panic=-1
[    0.000000] [Firmware Bug]: something is odd
[    0.000000] RETBleed: WARNING: this processor is old
[    0.004000] Lock dependency validator: ready
[    0.004000] ... MAX_LOCKDEP_SUBCLASSES:  8
[    0.010000] kasan: KernelAddressSanitizer initialized (generic)
[    0.020000] ACPI BIOS Error (bug): nothing found
[    0.100000] clocksource: Marking clocksource 'tsc' as unstable because the skew is too large
[    0.200000] HMM test module loaded. This is only for testing HMM.
[    0.300000] Warning: unable to open an initial console.
[    1.000000] test_hmm: added new 256 MB chunk (total 1 chunks, 256 MB)
""".splitlines()


def warning(function: str = "dmirror_fault", second: int = 5) -> list[str]:
    at = f"[    {second}.000000]"
    return [
        f"{at} ------------[ cut here ]------------",
        f"{at} WARNING: CPU: 1 PID: 77 at lib/test_hmm.c:123 {function}+0x12/0x345",
        f"{at} Modules linked in:",
        f"{at} CPU: 1 UID: 0 PID: 77 Comm: worker Not tainted 6.12.0 #1",
        f"{at} RIP: 0010:{function}+0x12/0x345",
        f"{at} Call Trace:",
        f"{at}  <TASK>",
        f"{at}  ? __warn+0x1/0x2",
        f"{at}  do_something+0x1/0x2",
        f"{at}  </TASK>",
        f"{at} ---[ end trace 0000000000000000 ]---",
    ]


def test_what_a_kernel_says_while_it_boots_is_no_finding() -> None:
    assert console_findings(BOOT) == ()
    assert console_findings([]) == ()


def test_a_warning_is_kept_whole() -> None:
    (found,) = console_findings([*BOOT, *warning(), "[    6.000000] and life goes on"])
    assert found.check == "kernel"
    assert found.name == "WARN dmirror_fault"
    assert "lib/test_hmm.c:123" in found.message
    assert len(found.details) == 11
    assert found.details[0].endswith("[ cut here ]------------")
    assert found.details[-1].startswith("---[ end trace")
    assert not any(line.startswith("[ ") for line in found.details)


def test_the_same_warning_again_is_counted() -> None:
    one, two = console_findings([*warning(), *warning(second=6), *warning("dmirror_write", 7)])
    assert one.message.endswith("(2 times)")
    assert two.name == "WARN dmirror_write"
    assert "times" not in two.message


@pytest.mark.parametrize(
    ("text", "check", "name", "said"),
    [
        ("kernel BUG at mm/rmap.c:77!\nOops: invalid opcode: 0000 [#1] SMP\nRIP: 0010:walk_it+0x1/0x9",
         "kernel", "BUG walk_it", "mm/rmap.c:77"),
        (("BUG: kernel NULL pointer dereference, address: 0000000000000008\n#PF: supervisor read access\n"
         "Oops: Oops: 0000 [#1] PREEMPT SMP\nRIP: 0010:find_it+0x1/0x9\n---[ end trace 00 ]---"),
         "kernel", "oops find_it", "NULL pointer"),
        (("Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP\n"
         "RIP: 0010:follow_it+0x1/0x9"), "kernel", "oops follow_it", "general protection fault"),
        ("BUG: unable to handle page fault for address: ffff888000000000", "kernel", "oops", "page fault"),
        (("BUG: Bad page state in process worker  pfn:1234\npage: refcount:0\nCall Trace:\n <TASK>\n"
         " dump_stack_lvl+0x1/0x2\n bad_page+0x1/0x2\n free_it+0x1/0x2\n </TASK>"),
         "kernel", "page-state free_it", "Bad page state"),
        ("BUG: Bad rss-counter state mm:000000001234 type:MM_ANONPAGES val:1", "kernel", "rss-counter", "MM_ANONPAGES"),
        ("BUG: non-zero pgtables_bytes on freeing mm: 4096", "kernel", "rss-counter", "pgtables_bytes"),
        (("BUG: sleeping function called from invalid context at mm/x.c:3\nCall Trace:\n <TASK>\n"
         " dump_stack_lvl+0x1/0x2\n __might_resched+0x1/0x2\n take_it+0x1/0x2\n </TASK>"),
         "kernel", "lockdep take_it", "sleeping function"),
        (("INFO: task worker:77 blocked for more than 120 seconds.\nCall Trace:\n <TASK>\n __schedule+0x1/0x2\n"
         " schedule+0x1/0x2\n folio_wait+0x1/0x2\n </TASK>"), "hang", "hung-task folio_wait", "blocked for"),
        ("rcu: INFO: rcu_sched self-detected stall on CPU\nRIP: 0010:spin_it+0x1/0x2", "hang", "rcu-stall spin_it",
         "stall"),
        ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [worker:77]\nRIP: 0010:spin_it+0x1/0x2", "hang",
         "lockup spin_it", "stuck for 22s"),
        ("Kernel panic - not syncing: Attempted to kill init!\n---[ end Kernel panic - not syncing ]---", "crash",
         "panic", "Attempted to kill init"),
        ("Out of memory: Killed process 77 (worker) total-vm:1kB", "kernel", "oom", "Killed process"),
        ("worker[77]: segfault at 10 ip 0000 sp 0000 error 4", "kernel", "segfault", "segfault at 10"),
    ],
)  # fmt: skip
def test_each_kind_of_report(text: str, check: str, name: str, said: str) -> None:
    lines = [f"[   12.000001] {line}" for line in text.splitlines()]
    found = console_findings([*BOOT, *lines])
    assert len(found) == 1
    assert (found[0].check, found[0].name) == (check, name)
    assert said in found[0].message
    # Nothing but the prefix of a line matters: levels, no times, who speaks.
    for prefix in ("", "<4>", "[    1.000000][   T77] ", "<4>[    1.000000][    C0] "):
        (same,) = console_findings([prefix + line for line in text.splitlines()])
        assert (same.check, same.name, same.message) == (found[0].check, found[0].name, found[0].message)


KASAN = """\
==================================================================
BUG: KASAN: slab-use-after-free in use_it+0x10/0x20
Read of size 8 at addr ffff888000001234 by task worker/77

Call Trace:
 <TASK>
 dump_stack_lvl+0x1/0x2
 </TASK>

Freed by task 77:
 kfree+0x1/0x2
==================================================================
Disabling lock debugging due to kernel taint
""".splitlines()

LOCKDEP = """\
======================================================
WARNING: possible circular locking dependency detected
6.12.0 #1 Not tainted
------------------------------------------------------
worker/77 is trying to acquire lock:
ffff888000001234 (&first){+.+.}-{4:4}, at: take_first+0x1/0x2

stack backtrace:
Call Trace:
 <TASK>
 dump_stack_lvl+0x1/0x2
 print_circular_bug+0x1/0x2
 __lock_acquire+0x1/0x2
 take_first+0x1/0x2
 </TASK>
""".splitlines()


def test_reports_between_rules() -> None:
    one, two = console_findings([*KASAN, "something else", *LOCKDEP, "and more"])
    assert one.name == "KASAN use_it"
    assert "slab-use-after-free" in one.message
    assert one.details[0] == one.details[-1] == KASAN[0]
    assert two.name == "lockdep take_first"
    assert "circular locking" in two.message
    assert two.details == tuple(LOCKDEP)


def test_a_page_that_is_described_belongs_to_the_warning_that_follows() -> None:
    described = ["page: refcount:0 mapcount:1 mapping:0000 index:0x0 pfn:0x1", "flags: 0x1", "page dumped because: why"]
    (found,) = console_findings([*described, *(x[15:] for x in warning())])
    assert found.details[:3] == tuple(described)
    assert found.name == "WARN dmirror_fault"
    (found,) = console_findings([*described, *["noise"] * 30, *(x[15:] for x in warning())])
    assert "noise" not in found.details


def test_a_rule_without_a_report_belongs_to_nothing() -> None:
    (found,) = console_findings(["=" * 40, "the driver likes rules", "=" * 40, "again", *warning()])
    assert not any("rules" in line for line in found.details)


def test_what_another_processor_says_in_between_is_left_out() -> None:
    mine = [f"[    5.000000][   T77] {line[15:]}" for line in warning()]
    (found,) = console_findings([*mine[:4], "[    5.000000][   T78] chatter", *mine[4:]])
    assert "chatter" not in found.details
    assert len(found.details) == len(mine)


def test_a_report_that_is_cut_off_and_a_panic_after_it() -> None:
    one, two = console_findings([*warning()[:4], "Kernel panic - not syncing: Fatal exception"])
    assert one.name == "WARN dmirror_fault"
    assert two.check == "crash"
    assert len(one.details) == 4

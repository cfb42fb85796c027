"""A kernel tree of a few lines: its make pretends, but keeps objects, options and failures as the real one does."""

from __future__ import annotations

import os
from pathlib import Path

from hmmspec.linux.options import wanted

MAKEFILE = r"""
VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 7
EXTRAVERSION =

# O= is where everything goes.  The parts that every kernel has are compiled by copying them.
src := $(CURDIR)
# What lies in the output folder is found first, as the real one's VPATH has it.
mended := $(wildcard $(O)/lib/test_hmm.c)
objs := mm/memory.o lib/test_hmm.o

.PHONY: tinyconfig olddefconfig bzImage
tinyconfig:
	@test ! -e $(src)/.config || { echo '*** The source tree is not clean'; exit 1; }
	@mkdir -p $(O)
	@printf 'CONFIG_X86=y\n# CONFIG_SMP is not set\n' > $(O)/.config
	@echo configured >> $(O)/configured
olddefconfig:
	@grep -wFf $(src)/known-options $(O)/.config > $(O)/.config.new; echo CONFIG_X86=y >> $(O)/.config.new
	@mv $(O)/.config.new $(O)/.config
bzImage: $(O)/arch/x86/boot/bzImage
$(O)/%.o: $(src)/%.c $(src)/include/linux/migrate.h
	@mkdir -p $(dir $@)
	@echo "  CC      $*.o"
	@! grep -n '#error' $< > $@.err || { sed 's,^,$<:,;s,$$, error: this was asked for,' $@.err; exit 1; }
	@test ! -e $(src)/slow || sleep 60
	@cp $(or $(filter $(O)/$*.c,$(mended)),$<) $@
	@touch $@
	@echo 'deps := $< $(src)/include/linux/migrate.h' > $(dir $@).$(notdir $@).cmd
$(O)/arch/x86/boot/bzImage: $(addprefix $(O)/,$(objs)) $(O)/.config
	@mkdir -p $(dir $@)
	@echo "  LD      vmlinux"
	@cat $^ > $(O)/vmlinux
	@echo "  BUILD   arch/x86/boot/bzImage"
	@cp $(O)/vmlinux $@
"""

UAPI = """
#define HMM_DMIRROR_READ\t\t_IOWR('H', 0x00, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_MIGRATE_TO_DEV\t_IOWR('H', 0x02, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_RELEASE\t\t_IOWR('H', 0x07, struct hmm_dmirror_cmd)
"""

KCONFIG = """
config DEVICE_PRIVATE
\tbool "Device memory that the CPU cannot reach"
\tdepends on ZONE_DEVICE && !M386

config PAGE_TABLE_CHECK
\tbool "Check page tables"
\tdepends on HAVE_PAGE_TABLE_CHECK
\thelp
\t  depends on nothing of this.

config MMU_NOTIFIER
\tbool
"""


def make_tree(folder: Path, *, without: frozenset[str] = frozenset()) -> Path:
    """A fresh tree in `folder`; `without`: options that it does not know."""
    texts = {
        "Makefile": MAKEFILE,
        "Kbuild": "",
        "Kconfig": 'source "mm/Kconfig"\n',
        "arch/x86/Kconfig": "",
        "arch/arm/Kconfig": "",
        "arch/arm/entry.c": "int arm;\n",
        "mm/Makefile": "obj-y := memory.o\n",
        "mm/Kconfig": KCONFIG,
        "mm/memory.c": "int memory;\n",
        "mm/gup_test.h": "#define PIN_LONGTERM_TEST_START 1\n",
        "lib/test_hmm.c": "static int dmirror_fops_release(void)\n{\n\tevict_chunk();\n}\nint spm_addr_dev0;\n",
        "lib/test_hmm_uapi.h": UAPI,
        "include/linux/migrate.h": "/* migration */\n",
        "scripts/kconfig/merge.sh": "",
        "Documentation/index.rst": "words\n",
    }
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    known = {name for kind in ("plain", "debug") for name in wanted(kind)} - without  # type: ignore[arg-type]
    (folder / "known-options").write_text("".join(f"CONFIG_{name}\n" for name in sorted(known)))
    age(folder)
    return folder


def age(folder: Path, seconds: float = 100.0) -> None:
    """Make everything in a tree look older: builds and edits in a test are closer than times can tell."""
    for path in folder.rglob("*"):
        found = path.lstat()
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns - int(seconds * 1e9)), follow_symlinks=False)

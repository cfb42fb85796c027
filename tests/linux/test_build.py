"""The whole way from a tree to an image, on a tree whose make pretends: cache, incremental builds, errors, interruption."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hmmspec.diagnostics import Diagnostic, SpecError
from hmmspec.linux.build import Built, Step, build
from hmmspec.linux.image import Image, Kind, copy_image
from hmmspec.linux.source import find_source
from hmmspec.linux.store import Store, named, newest, open_store, remove
from hmmspec.linux.toolchain import Toolchain
from tests.linux.fake_tree import age, make_tree

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Toolchain("cc", "cc 1.0")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return open_store()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


def made(tree: Path, store: Store, kind: Kind = "plain", told: list[Step] | None = None, **extra: str) -> Built:
    source = find_source(str(tree), store, lambda text: None)
    steps = [] if told is None else told
    return build(source, kind, store, lambda: TOOLS, extra=extra, jobs=2, tell=steps.append)


def refused(tree: Path | str, store: Store, code: str, **extra: str) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        made(Path(tree), store, **extra)
    (found,) = caught.value.diagnostics
    assert found.code == code
    return found


def whole(tree: Path) -> dict[str, tuple[int, bytes]]:
    """Everything about a tree that a build could change."""
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in sorted(tree.rglob("*"))}


# ---------------------------------------------------------------- images


def test_a_tree_becomes_an_image_and_is_not_written_into(tree: Path, store: Store) -> None:
    before = whole(tree)
    told: list[Step] = []
    image = made(tree, store, told=told).image
    assert whole(tree) == before
    assert image.version == "6.12.7" and image.kind == "plain"
    assert image.options["SMP"] == "y" and "NUMA_BALANCING" not in image.options
    assert image.supports == {"private", "coherent", "release", "close_evicts", "gup_longterm"}
    assert image.commands == {"READ": 0, "MIGRATE_TO_DEV": 2, "RELEASE": 7}
    assert "int memory;" in image.kernel.read_text() and "CONFIG_SMP=y" in image.config.read_text()
    assert Image.load(image.folder) == image
    assert sorted(p.name for p in image.folder.iterdir()) == ["bzImage", "config", "image.json"]
    assert [step.phase for step in told[:2]] == ["configuring", "building"] and told[-1].done == 4
    assert told[-1].about is not None and told[-1].about > 1000


def test_the_same_source_is_not_built_twice(tree: Path, store: Store, tmp_path: Path) -> None:
    first = made(tree, store)
    assert not first.cached and first.steps == 4
    again = made(tree, store)
    assert again.cached and again.image == first.image
    # Nor is another copy of it; what takes no part in a build does not count.
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    (copy / "Documentation/index.rst").write_text("other words\n")
    (copy / "arch/arm/entry.c").write_text("int other;\n")
    (copy / "mm/memory.c.orig").write_text("int before;\n")
    assert made(copy, store).cached


def test_an_image_of_an_older_hmmspec_is_told_what_is_known_now(tree: Path, store: Store) -> None:
    image = made(tree, store).image
    edit_json(image.folder / "image.json", "supports", ["private"])
    again = made(tree, store)
    assert again.cached and again.image == image == Image.load(image.folder)


def test_a_changed_file_is_built_and_nothing_else(tree: Path, store: Store) -> None:
    made(tree, store)
    (tree / "mm/memory.c").write_text("int patched;\n")
    told: list[Step] = []
    second = made(tree, store, told=told)
    assert not second.cached and second.steps == 3  # one object, the link, the image
    assert "int patched;" in second.image.kernel.read_text()
    assert [step.phase for step in told][:1] == ["building"] and told[-1].about is None
    # Taking the patch back gives the first image again, and costs nothing.
    (tree / "mm/memory.c").write_text("int memory;\n")
    assert made(tree, store).cached


@pytest.mark.parametrize("path", ["mm/memory.c", "include/linux/migrate.h"])
def test_a_change_with_an_old_time_is_not_missed(tree: Path, store: Store, path: str) -> None:
    made(tree, store)
    before = (tree / path).stat()
    (tree / path).write_text("int old_time;\n")
    os.utime(tree / path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = made(tree, store)
    assert not second.cached
    assert second.steps == (3 if path.endswith(".c") else 4)
    assert ("int old_time;" in second.image.kernel.read_text()) == path.endswith(".c")


def test_an_old_change_of_an_unknown_kind_builds_everything(tree: Path, store: Store) -> None:
    made(tree, store)
    (tree / "mm/table.tbl").write_text("1 read\n")
    age(tree)
    assert made(tree, store).steps == 4


def test_plain_and_debug_are_two_images(tree: Path, store: Store) -> None:
    plain, debug = made(tree, store).image, made(tree, store, "debug").image
    assert plain.hash != debug.hash
    assert "KASAN" in debug.options and "KASAN" not in plain.options
    assert newest("debug") == debug and newest("plain") == plain
    assert {image.hash for image in store.all()} == {plain.hash, debug.hash}


def test_the_users_options_win(tree: Path, store: Store) -> None:
    plain = made(tree, store).image
    image = made(tree, store, KSM="n", NR_CPUS="4").image
    assert image.options["NR_CPUS"] == "4" and "KSM" not in image.options and "KSM" in plain.options
    assert image.hash != plain.hash


def test_what_could_not_be_switched_on_is_named(tmp_path: Path, store: Store) -> None:
    tree = make_tree(tmp_path / "tree", without=frozenset({"PAGE_TABLE_CHECK", "GUP_TEST"}))
    image = made(tree, store, "debug").image
    assert "GUP_TEST: this tree has no such option" in image.lacking
    assert "PAGE_TABLE_CHECK: it depends on HAVE_PAGE_TABLE_CHECK (here: HAVE_PAGE_TABLE_CHECK)" in image.lacking
    assert len(image.lacking) == 2
    assert Image.load(image.folder).lacking == image.lacking


def test_what_is_needed_must_be_there(tmp_path: Path, store: Store) -> None:
    tree = make_tree(tmp_path / "tree", without=frozenset({"DEVICE_PRIVATE", "VIRTIO_CONSOLE"}))
    found = refused(tree, store, "HMM155")
    notes = [note.message for note in found.notes]
    assert "VIRTIO_CONSOLE: this tree has no such option" in notes
    assert "DEVICE_PRIVATE: it depends on ZONE_DEVICE && !M386" in notes
    assert store.all() == []


def test_an_option_that_a_tree_has_no_more(tmp_path: Path, store: Store) -> None:
    tree = make_tree(tmp_path / "tree", without=frozenset({"MIGRATION"}))
    assert made(tree, store).image.lacking == ("MIGRATION: this tree has no such option",)


def test_an_option_that_was_asked_for_must_be_there(tree: Path, store: Store) -> None:
    found = refused(tree, store, "HMM155", NO_SUCH_THING="y")
    assert "NO_SUCH_THING" in found.message and "--config-add" in (found.fix or "")
    assert made(tree, store).image.options["SMP"] == "y"


def test_defects_of_the_test_device_are_mended(tree: Path, store: Store) -> None:
    """In the build, not in the tree; `mend=False` leaves them, and a kernel without them is left alone."""
    device = tree / "lib/test_hmm.c"
    device.write_text(device.read_text() + "static int dmirror_do_fault(void)\n{\n\tentry = page;\n}\n")
    before = whole(tree)
    source = find_source(str(tree), store, lambda text: None)

    def one(*, mend: bool) -> Image:
        return build(source, "plain", store, lambda: TOOLS, extra={}, jobs=1, tell=lambda step: None, mend=mend).image

    for _ in range(2):
        mended, as_is = one(mend=True), one(mend=False)
        assert whole(tree) == before
        assert mended.mended == ("own_faults",) and "own_faults" in mended.supports
        assert as_is.mended == () and "own_faults" not in as_is.supports
        assert "entry = BACKING_PAGE(page);" in mended.kernel.read_text()
        assert "entry = page;" in as_is.kernel.read_text()
        remove(mended)
        remove(as_is)
    device.write_text(device.read_text().replace("entry = page;", "entry = BACKING_PAGE(page);"))
    upstream = made(tree, store).image
    assert upstream.mended == () and "own_faults" in upstream.supports


# ---------------------------------------------------------------- errors


def test_an_error_of_the_compiler_is_shown(tree: Path, store: Store) -> None:
    (tree / "mm/memory.c").write_text("int memory;\n#error\n")
    found = refused(tree, store, "HMM158")
    assert found.message == "the kernel does not compile: mm/memory.c:2:#error error: this was asked for"
    log = Path(found.notes[-1].message.removeprefix("all that make said: "))
    assert "CC      mm/memory.o" in log.read_text()
    assert store.all() == []
    (tree / "mm/memory.c").write_text("int mended;\n")
    told: list[Step] = []
    assert "int mended;" in made(tree, store, told=told).image.kernel.read_text()
    # It goes on counting where the first one stopped: its steps are told as parts of a whole build.
    assert told[0].done >= 1 and told[0].about is not None


@pytest.mark.parametrize("left", [".config", "include/config/auto.conf", "arch/x86/include/generated/asm.h"])
def test_a_tree_that_was_built_in_place(tree: Path, store: Store, left: str) -> None:
    (tree / left).parent.mkdir(parents=True, exist_ok=True)
    (tree / left).touch()
    assert "make mrproper" in (refused(tree, store, "HMM153").fix or "")
    (tree / ".git").mkdir()
    assert "git worktree add" in (refused(tree, store, "HMM153").fix or "")


def test_what_is_no_kernel_tree(tree: Path, store: Store, tmp_path: Path) -> None:
    assert "there is no" in refused(tmp_path / "nothing", store, "HMM151").message
    assert refused(tmp_path, store, "HMM151").fix == f"did you mean '{tree}'?"
    assert refused(tree / "mm", store, "HMM151").fix == f"did you mean '{tree}'?"
    (tree / "Makefile").write_text("all:\n")
    assert "names no version" in refused(tree, store, "HMM151").message


def test_a_tree_that_is_too_old(tree: Path, store: Store) -> None:
    (tree / "lib/test_hmm_uapi.h").write_text("#define HMM_DMIRROR_MIGRATE _IOWR('H', 0x02, struct c)\n")
    found = refused(tree, store, "HMM152")
    assert "6.12.7" in found.message and "MIGRATE_TO_DEV" in found.message
    (tree / "mm/Kconfig").write_text("")
    assert "DEVICE_PRIVATE" in refused(tree, store, "HMM152").message


def test_a_path_that_make_cannot_take(tmp_path: Path, store: Store) -> None:
    assert "space" in refused(make_tree(tmp_path / "two words"), store, "HMM151").message


def test_a_tree_that_cannot_be_read(tree: Path, store: Store) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (tree / "mm/memory.c").chmod(0)
    assert "mm/memory.c" in refused(tree, store, "HMM154").message


def test_a_tree_that_changes_while_it_is_built(tree: Path, store: Store) -> None:
    """The image is of what was there at the end."""
    source = find_source(str(tree), store, lambda text: None)
    edits = iter(["int first;\n", "int second;\n"])

    def edit(step: Step) -> None:
        if step.phase == "building" and step.done == 1 and (text := next(edits, None)):
            (tree / "mm/memory.c").write_text(text)

    image = build(source, "plain", store, lambda: TOOLS, extra={}, jobs=1, tell=edit).image
    assert "int second;" in image.kernel.read_text()
    assert made(tree, store).image == image


def test_a_tree_that_never_rests(tree: Path, store: Store) -> None:
    source = find_source(str(tree), store, lambda text: None)

    def edit(step: Step) -> None:
        if step.done == 1:
            (tree / "mm/memory.c").write_text(f"int at_{time.monotonic_ns()};\n")

    with pytest.raises(SpecError, match="keeps changing"):
        build(source, "plain", store, lambda: TOOLS, extra={}, jobs=1, tell=edit)
    assert store.all() == []


def test_a_full_disk(tree: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tree)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert "rm --all" in (refused(tree, store, "HMM156").fix or "")
    monkeypatch.undo()
    makefile = (tree / "Makefile").read_text()
    (tree / "Makefile").write_text(
        makefile.replace("\t@touch $@\n", "\t@echo 'x.s: No space left on device'; exit 1\n")
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(store.top.parents[1]))
    assert "no room is left" in refused(tree, store, "HMM156").message


# ---------------------------------------------------------------- interruption


def test_interrupted_builds_leave_nothing_half_done(tree: Path, store: Store) -> None:
    """Control-C and SIGTERM: make ends with all it has started, no image is there, and the next build goes on."""
    (tree / "slow").touch()
    program = (
        "import sys\nfrom tests.linux.test_build import made, open_store\nfrom pathlib import Path\n"
        "try:\n    made(Path(sys.argv[1]), open_store())\nexcept KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    for kind in (signal.SIGINT, signal.SIGTERM):
        for old in store.objects.rglob("hmmspec.log"):
            old.unlink()
        process = subprocess.Popen([sys.executable, "-c", program, str(tree)], cwd=ROOT)
        try:
            log = wait_for(store.objects, "hmmspec.log", "CC ")
            process.send_signal(kind)
            assert process.wait(60) == 130
        finally:
            process.kill()
            process.wait()
        assert store.all() == [] and not list(store.images.iterdir())
        assert not [p for p in _command_lines() if str(log.parent) in p]
    (tree / "slow").unlink()
    assert "int memory;" in made(tree, store).image.kernel.read_text()


def test_a_build_that_was_killed_is_gone_on_with(tree: Path, store: Store) -> None:
    """Nobody knows when it ended: no time is trusted, and what it compiled of another text is compiled again."""
    made(tree, store)
    (tree / "mm/memory.c").write_text("int first;\n")
    made(tree, store)
    (folder,) = [path for path in store.objects.iterdir() if path.is_dir()]
    edit_json(folder / "hmmspec.json", "ended", (1 << 62) - 1)
    before = (tree / "mm/memory.c").stat()
    (tree / "mm/memory.c").write_text("int other;\n")
    os.utime(tree / "mm/memory.c", ns=(before.st_atime_ns, before.st_mtime_ns - 10**9))
    assert "int other;" in made(tree, store).image.kernel.read_text()
    # A folder that nobody knows anything of is built anew.
    (folder / "hmmspec.json").write_text("{")
    (tree / "mm/memory.c").write_text("int third;\n")
    assert made(tree, store).steps == 4


def wait_for(folder: Path, name: str, text: str) -> Path:
    for _ in range(2400):
        for path in folder.rglob(name):
            if text in path.read_text():
                return path
        time.sleep(0.05)
    raise AssertionError(f"no {name} with '{text}'")


def _command_lines() -> list[str]:
    out = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            out.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [text for text in out if text.startswith("make ")]


def test_two_builds_of_one_tree_at_once(tree: Path, store: Store) -> None:
    source = find_source(str(tree), store, lambda text: None)

    def meanwhile(step: Step) -> None:
        if step.phase == "building" and step.done == 1:
            assert "another hmmspec" in refused(tree, store, "HMM154").message

    assert not build(source, "plain", store, lambda: TOOLS, extra={}, jobs=1, tell=meanwhile).cached


# ---------------------------------------------------------------- images on disk


def test_images_by_name(tree: Path, store: Store, tmp_path: Path) -> None:
    image = made(tree, store).image
    assert named(image.hash[:8]) == named("plain") == named(str(image.folder)) == image
    for text in ("debug", "0123456789", str(tmp_path)):
        with pytest.raises(SpecError) as caught:
            named(text)
        assert caught.value.diagnostics[0].code == "HMM150"
    copy = copy_image(image, tmp_path / "copied/here")
    assert Image.load(tmp_path / "copied/here") == copy and copy.hash == image.hash
    copy_image(image, tmp_path / "copied/here")  # over itself
    assert [p.name for p in (tmp_path / "copied").iterdir()] == ["here"]
    remove(image)
    assert newest("plain") is None and not list(store.images.iterdir())


@pytest.mark.parametrize(
    "break_it",
    [
        lambda folder: (folder / "bzImage").unlink(),
        lambda folder: (folder / "image.json").unlink(),
        lambda folder: (folder / "image.json").write_text("{"),
        lambda folder: (folder / "image.json").write_text("[]"),
        lambda folder: edit_json(folder / "image.json", "format", 99),
        lambda folder: edit_json(folder / "image.json", "kind", "other"),
        lambda folder: edit_json(folder / "image.json", "version", 6),
    ],
)
def test_an_image_that_is_not_whole_is_built_anew(tree: Path, store: Store, break_it: object) -> None:
    image = made(tree, store).image
    assert callable(break_it)
    break_it(image.folder)
    with pytest.raises(SpecError) as caught:
        Image.load(image.folder)
    assert caught.value.diagnostics[0].code == "HMM150"
    again = made(tree, store)
    assert not again.cached and again.image.kernel.is_file()


def edit_json(path: Path, key: str, value: object) -> None:
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, key: value}))

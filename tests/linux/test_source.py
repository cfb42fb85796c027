"""What `--source` names, what a tree can do, options and tools."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from hmmspec.diagnostics import SpecError
from hmmspec.linux.config import merged, read_fragment
from hmmspec.linux.features import Features, body, features
from hmmspec.linux.identity import snapshot
from hmmspec.linux.options import fragment
from hmmspec.linux.source import find_source
from hmmspec.linux.store import Store, open_store
from hmmspec.linux.toolchain import find_toolchain
from tests.linux.fake_tree import age, make_tree


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return open_store()


def pack(tree: Path, tarball: Path) -> Path:
    tarball.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tarball, "w:gz") as file:
        file.add(tree, tree.name)
    return tarball


def wrong(text: str, store: Store, packaged: tuple[Path, ...] = ()) -> str:
    with pytest.raises(SpecError) as caught:
        find_source(text, store, lambda told: None, packaged)
    (found,) = caught.value.diagnostics
    assert found.code == "HMM151"
    return f"{found.message}; {found.fix}"


def test_a_tarball_is_unpacked_once(tmp_path: Path, store: Store) -> None:
    tarball = pack(make_tree(tmp_path / "linux-6.12"), tmp_path / "linux-6.12.tar.gz")
    told: list[str] = []
    first = find_source(str(tarball), store, told.append)
    assert first.tree.folder.name == "linux-6.12" and first.tree.folder.is_relative_to(store.trees)
    assert "unpacking linux-6.12.tar.gz" in told
    told.clear()
    second = find_source(str(tarball), store, told.append)
    assert second == first and "unpacking linux-6.12.tar.gz" not in told


def test_the_newest_package(tmp_path: Path, store: Store) -> None:
    packaged = tmp_path / "usr/src"
    for version in ("6.1", "6.12", "6.9"):
        tree = make_tree(tmp_path / version / f"linux-source-{version}")
        (tree / "mm/memory.c").write_text(f"int version_{version.replace('.', '_')};\n")
        pack(tree, packaged / f"linux-source-{version}.tar.gz")
    (packaged / "linux-source-7.0.txt").touch()
    source = find_source("debian", store, lambda told: None, [packaged])
    assert source.name == str(packaged / "linux-source-6.12.tar.gz")
    assert "apt-get install linux-source" in wrong("debian", store, (tmp_path / "empty",))


def test_what_is_no_source(tmp_path: Path, store: Store) -> None:
    assert "there is no" in wrong(str(tmp_path / "nothing"), store)
    (tmp_path / "file.c").touch()
    assert "neither a folder nor a tarball" in wrong(str(tmp_path / "file.c"), store)
    (tmp_path / "broken.tar.gz").write_bytes(b"no archive at all")
    assert "cannot be unpacked" in wrong(str(tmp_path / "broken.tar.gz"), store)
    (tmp_path / "other/docs").mkdir(parents=True)
    assert "not a Linux source tree" in wrong(str(pack(tmp_path / "other", tmp_path / "other.tar.gz")), store)
    assert list(store.trees.iterdir()) == []


# ---------------------------------------------------------------- what a tree holds


def test_a_snapshot_sees_every_change(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    memo = tmp_path / "memo.json"
    seen = {snapshot(tree, memo).digest}

    def change(path: str, text: str) -> None:
        (tree / path).write_text(text)

    def same_size_same_time() -> None:
        before = (tree / "mm/memory.c").stat()
        change("mm/memory.c", "int MEMORY;\n")
        os.utime(tree / "mm/memory.c", ns=(before.st_atime_ns, before.st_mtime_ns))

    changes = [
        lambda: change("mm/new.c", ""),
        lambda: change("mm/memory.c", "int other;\n"),
        same_size_same_time,
        lambda: (tree / "mm/memory.c").chmod(0o755),
        lambda: (tree / "mm/new.c").rename(tree / "mm/newer.c"),
        lambda: (tree / "mm/link.c").symlink_to("newer.c"),
        (tree / "mm/newer.c").unlink,
    ]
    for make_change in changes:
        make_change()
        found = snapshot(tree, memo)
        assert found.digest not in seen
        assert found.digest == snapshot(tree).digest, "the memo must not change what is found"
        seen.add(found.digest)


def test_only_what_changed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_tree(tmp_path / "tree")
    memo = tmp_path / "memo.json"
    # Times of the inode cannot be set: the clock of the memo is, so that no file counts as fresh.
    monkeypatch.setattr("hmmspec.linux.identity._RACY", -(10**12))
    before = snapshot(tree, memo)
    read: list[Path] = []
    reading = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or reading(path))  # type: ignore[func-returns-value]
    assert snapshot(tree, memo) == before and read == []
    (tree / "mm/memory.c").write_text("int patched;\n")
    after = snapshot(tree, memo)
    assert read == [tree / "mm/memory.c"]
    assert after.changed({path: stamp[4] for path, stamp in before.files.items()}) == ["mm/memory.c"]
    for damaged in ("", "[]", '{"a": 1}'):
        memo.write_text(damaged)
        assert snapshot(tree, memo).digest == after.digest


def test_the_snapshot_does_not_depend_on_times(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    before = snapshot(tree).digest
    age(tree)
    assert snapshot(tree).digest == before


# ---------------------------------------------------------------- what it can do


def test_features_come_from_the_text() -> None:
    nothing = dict.fromkeys(Features.FILES, "")
    assert features(nothing).supports == frozenset() and features(nothing).commands == {}
    newer = {
        **nothing,
        "lib/test_hmm_uapi.h": "#define HMM_DMIRROR_FLAGS\t_IOWR('H', 0x08, struct c)\n"
        "#define HMM_DMIRROR_READ_UNLOCKABLE _IOWR('H', 9, struct c)\n#define HMM_DMIRROR_FLAG_FAIL_ALLOC (1ULL << 0)\n",
        "lib/test_hmm.c": "static int dmirror_fops_release(struct inode *inode)\n{\n\tkfree(1);\n}\nint f(void)\n{\n\tevict_chunk();\n}\n",
        "include/linux/migrate.h": "MIGRATE_VMA_SELECT_COMPOUND = 1 << 3,\n",
        "mm/memory.c": "vm_fault_t do_swap_page(struct vm_fault *vmf)\n{\n\tif (is_device_private_entry(entry)) {\n"
        "\t\tif (trylock_page(vmf->page)) {\n\t\t\tret = ops->migrate_to_ram(vmf);\n\t\t}\n\t}\n}\n",
    }
    found = features(newer)
    assert found.supports == {"flags", "read_unlockable", "fail_alloc", "thp_device", "fault_trylock"}
    assert found.commands == {"FLAGS": 8, "READ_UNLOCKABLE": 9}


def test_bodies_of_functions() -> None:
    text = (
        "int before(void)\n{\n}\n\nstatic int\nthe_one(int a,\n\tint b)\n{\n\tif (a) {\n\t}\n}\nint after(void)\n{\n}\n"
    )
    assert body(text, "the_one").endswith("\tif (a) {\n\t}\n}")
    assert body("int the_one(int a);\n\nint user(void)\n{\n\tthe_one(1);\n}\n", "the_one") == ""
    assert body(text, "other") == ""


# ---------------------------------------------------------------- options and tools


def test_fragments(tmp_path: Path) -> None:
    path = tmp_path / "more"
    path.write_text('# a remark\n\nCONFIG_KCSAN=y\nCONFIG_NAME="text"\n  CONFIG_NR_CPUS=4\n# CONFIG_KSM is not set\n')
    options = read_fragment(path)
    assert options == {"KCSAN": "y", "NAME": "text", "NR_CPUS": "4", "KSM": "n"}
    assert fragment(options).splitlines() == [
        "CONFIG_KCSAN=y",
        'CONFIG_NAME="text"',
        "CONFIG_NR_CPUS=4",
        "# CONFIG_KSM is not set",
    ]
    base = "CONFIG_KSM=y\n# CONFIG_KCSAN is not set\nCONFIG_SMP=y\n"
    assert merged(base, options, fragment(options)).splitlines()[:2] == ["CONFIG_SMP=y", "CONFIG_KCSAN=y"]
    path.write_text("CONFIG_A=y\nKCSAN please\n")
    for bad in (path, tmp_path / "nothing"):
        with pytest.raises(SpecError) as caught:
            read_fragment(bad)
        assert caught.value.diagnostics[0].code == "HMM155"


def test_everything_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        find_toolchain({"PATH": str(tmp_path)})
    (found,) = caught.value.diagnostics
    assert found.code == "HMM157"
    assert all(word in found.message for word in ("'gcc'", "'make'", "'flex'", "'bison'", "'bc'"))
    assert found.fix is not None and found.fix.startswith("apt-get install gcc make binutils flex bison bc")


def test_a_compiler_without_headers(tmp_path: Path) -> None:
    for name in ("mycc", "make", "ld", "flex", "bison", "bc", "gzip", "awk"):
        (tmp_path / name).write_text("#!/bin/sh\nread line\ncase $line in *libelf*) exit 1;; esac\necho mycc 2\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(SpecError) as caught:
        find_toolchain({"PATH": str(tmp_path), "CC": "mycc -m64"})
    (found,) = caught.value.diagnostics
    assert found.message.endswith("<libelf.h>") and found.fix == "apt-get install libelf-dev"

"""A real kernel, built and booted: minutes, and only where its source, a compiler and QEMU are installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hmmspec.diagnostics import SpecError
from hmmspec.linux.build import build
from hmmspec.linux.image import Image
from hmmspec.linux.mends import MENDS
from hmmspec.linux.source import Source, find_source
from hmmspec.linux.store import open_store
from hmmspec.linux.toolchain import find_toolchain
from tests.linux.breaking import breakages
from tests.linux.selftest import program, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source() -> Source:
    """The distribution's kernel source; the cache is the user's own: it is built once and then found."""
    try:
        find_toolchain()
        return find_source("debian", open_store(), lambda text: None)
    except SpecError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def image(source: Source) -> Image:
    return build(source, "plain", open_store(), find_toolchain, extra={}, jobs=2, tell=lambda step: None).image


def test_the_kernels_own_cases(source: Source, image: Image, tmp_path: Path) -> None:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no qemu-system-x86_64")
    found = run(image.kernel, program(source.tree.folder, tmp_path))
    assert found.whole and not found.failed and not found.warnings, found.text
    assert (found.passed, found.skipped) == (58, 0)


def test_what_is_known_of_this_kernel(source: Source, image: Image) -> None:
    """What the test device lacks is mended: there is no word that the image does not have for this reason."""
    lacking = {mend.word for mend in MENDS} - source.tree.features.supports
    assert set(image.mended) == lacking
    assert {"private", "coherent", "exclusive", "release", "gup_longterm"} <= image.supports


def test_every_breakage_fits_this_kernel(source: Source) -> None:
    for breakage in breakages().values():
        assert breakage.apply(source.tree.read(breakage.file)) != source.tree.read(breakage.file)

"""The certificate that tests of certificates begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.checker.symbolic.certificate import write_certificate
from tests.symbolic.certified import PAGES, by_hand


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "pages.hmm"
    found.write_text(PAGES)
    return found


@pytest.fixture
def written(path: Path) -> Path:
    return write_certificate(path.parent / "certs", *by_hand(path))

"""Data as stamps: what a page holds, told by one number.

NOTE(stamps): a page of 4096 bytes with stamp s holds the 512 64-bit words w[i] = s * (K + 2 i) modulo 2^64 with
K = 0x9E3779B97F4A7C15; s = 0 is the zero page.  The command `Store` with stamp s writes s + k into page k of its range;
`Increment` adds K + 2 i to word i, which makes s + 1 of s, word by word.  Whoever reads decodes each page to its stamp,
or to `TORN` where the words fit no stamp: a finding in itself.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hmmspec.conform.results import STAMPS, TORN

PAGE_SIZE = 4096  # bytes
WORDS = PAGE_SIZE // 8

_GOLDEN = 0x9E3779B97F4A7C15
_INVERSE = pow(_GOLDEN, -1, 1 << 64)
_FACTORS = np.uint64(_GOLDEN) + 2 * np.arange(WORDS, dtype=np.uint64)


def page_of(stamp: int) -> npt.NDArray[np.uint64]:
    """The 512 words of a page with this stamp (see NOTE(stamps))."""
    return _FACTORS * np.uint64(stamp)


def stamp_of(words: npt.NDArray[np.uint64]) -> int:
    """The stamp of a page of 512 words, or `TORN`."""
    stamp = int(words[0]) * _INVERSE % (1 << 64)
    if stamp >= STAMPS or not np.array_equal(words, page_of(stamp)):
        return TORN
    return stamp

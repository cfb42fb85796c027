"""Figures that others have published, as they printed them; `evidence.py` compares the model with them.

Rates are in GB/s (10^9 bytes a second), times in microseconds.
"""

from __future__ import annotations

PCIE_MODEL = "pcie-bench/pcie-model"
# generation, MPS -> TLP ceiling, writes of 64 B, of 4 KiB, reads of 64 B, of 4 KiB, both at once with 4 KiB each way.
PCIE_X16: dict[tuple[int, int], tuple[str, str, str, str, str, str]] = {
    (3, 128): ("13.962", "10.155", "11.758", "10.638", "12.076", "11.311"),
    (3, 256): ("14.213", "10.336", "12.994", "10.829", "13.183", "12.460"),
    (3, 512): ("14.328", "10.420", "13.686", "10.917", "13.789", "13.100"),
    (4, 128): ("27.925", "20.309", "23.516", "21.276", "24.151", "22.623"),
    (4, 256): ("28.425", "20.673", "25.989", "21.657", "26.365", "24.921"),
    (4, 512): ("28.656", "20.841", "27.373", "21.833", "27.579", "26.200"),
}
# Generation 3, x8, MPS 256: transfer size (0: the TLP ceiling) -> Gb/s both at once.
PCIE_X8 = {0: "57.88", 64: "33.08", 128: "42.10", 1500: "50.6"}

# generation, what, GB/s, source; inside the band of its generation.
LARGE_COPIES = (
    (3, "P100, to device, pinned 32 MiB", "12.15", "gearshifft PR 82"),
    (3, "P100, to system", "12.89", "gearshifft PR 82"),
    (3, "RTX 2080 Ti, to device, 100 MB", "13.1", "Helixer issue 22"),
    (3, "AMD (SHOC), to system, pinned 64 MiB", "14.20", "tensorflow-upstream issue 359"),
    (3, "AMD (SHOC), to system, pinned 512 MiB", "14.28", "tensorflow-upstream issue 359"),
    (4, "A100 SXM4, to device", "24.8", "forums.developer.nvidia.com 352186"),
    (4, "A100 SXM4, to system", "25", "forums.developer.nvidia.com 352186"),
    (4, "RTX A6000, peer to peer", "26.34", "nvbandwidth issue 50"),
    (5, "to device, copy engine", "55.63", "nvbandwidth tutorial (dev.smart-guide.co.kr)"),
    (5, "H100, to system, by a kernel", "52.8", "nvbandwidth issue 24"),
)
SM_READ = ("H100, to device, by a kernel", "35.2", "nvbandwidth issue 24")

UVMSMART = "UVMSmart, micro-benchmarks/transferBandwidth.cu"
COPY_CURVE = {
    4: "1.184",
    8: "1.568",
    16: "2.368",
    32: "3.969",
    64: "7.200",
    128: "12.673",
    256: "23.233",
    512: "44.418",
    1024: "87.011",
}
"""KiB -> us, GTX 1080 Ti, PCIe 3 x16, pageable, to device: the engine's time alone."""

# Folio size in KiB -> GB/s of move_pages(), 1 GB in all; 2 MiB folios are PMD-mapped.
GARG_71 = {4: "3.31", 16: "5.61", 64: "6.66", 256: "7.01", 1024: "7.13", 2048: "11.02"}
GARG_70 = {4: "3.55", 16: "5.66", 64: "6.16", 256: "7.12", 1024: "6.93", 2048: "10.88"}
GARG_71_SOURCE, GARG_70_SOURCE = "lkml 2605.1/00684 (Garg), v7.1-rc1", "lkml 2603.2/06223 (Garg), v7.0-rc2"

YAN_SOURCE = "THP migration series v9 (Yan)"
# What, folios, bytes of each, us in all.
YAN = (
    ("one 4 KiB page", 1, 4 << 10, "62.47"),
    ("512 pages in one call", 512, 4 << 10, "1987.38"),
    ("one 2 MiB THP", 1, 2 << 20, "658.54"),
)

XE_SOURCE = "intel-xe 2025-June 085564, 085745 (Brost)"
XE_64M_MS, XE_COPY, XE_5_THREADS = "15.4", "16", ("12.25", "15.25")  # ms, GB/s, GB/s twice
THP_SOURCE = "device THP v3 (dri-devel 2025-08), lib/test_hmm"

PASCAL_SOURCE = "parallelArchitect/pascal-um-benchmark"
PASCAL_RECORDS, PASCAL_MS, PASCAL_TRAFFIC_GIB, PASCAL_RATE = 31_774, "386.6", 3, "8.2"
SINGLE_SOURCE, SINGLE_US = "UVMSmart, gpu-sim.cc, 66645 cycles at 1481 MHz", "45.0"

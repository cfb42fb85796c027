"""The plot of a run of native.py: `plot.py native.json` writes native.png beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

try:
    from matplotlib import pyplot
except ImportError:
    sys.exit("matplotlib is not installed: no plot")


def main(path: Path) -> None:
    """States a second of each checker and mode, by size."""
    shown = [r for r in json.loads(path.read_text(encoding="utf-8"))["rows"] if r["times"]]
    groups = list(dict.fromkeys((r["size"], r["stored"]) for r in shown))
    names = list(dict.fromkeys((r["checker"], r["mode"], r["threads"]) for r in shown))
    figure, axes = pyplot.subplots(figsize=(11, 5.5))
    wide = 0.85 / len(names)
    for k, name in enumerate(names):
        bars = [
            (g + k * wide, r["states"] / r["explore"])
            for g, group in enumerate(groups)
            for r in shown
            if (r["size"], r["stored"]) == group and (r["checker"], r["mode"], r["threads"]) == name
        ]
        label = f"{name[0]} {name[1]}" + (f", {name[2]} threads" if name[2] > 1 else "")
        axes.bar(
            [x for x, _ in bars], [rate for _, rate in bars], wide, label=label, color=f"C{k}" if k < 10 else "black"
        )
    axes.set_yscale("log")
    axes.set_ylabel("states a second, exploration alone")
    axes.set_xticks([g + 0.4 for g in range(len(groups))], [f"{size} {stored}" for size, stored in groups])
    axes.legend(fontsize="small", ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    axes.set_title("benchmarks/pages.hmm (pages, frames)")
    figure.tight_layout()
    figure.savefig(path.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

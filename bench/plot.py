"""A picture of a run of the bench.

    python -m bench.plot run.json run.png [TITLE ...]

One bar a contender in conversations a second, ours filled; contests by their titles, or all that have a peer in them.
"""

import json
import sys
from pathlib import Path
from typing import Any


def plot(run: dict[str, Any], file: Path, titles: list[str]) -> None:
    """Draws the contests of those titles. Touches: the file. Needs matplotlib (pip install 'tinsmith[plot]')."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    with_peers = [one["title"] for one in run["contests"] if "cookbook" in " ".join(one["contenders"])]
    contests = [one for one in run["contests"] if one["title"] in (titles or with_peers)]
    if not contests:
        raise SystemExit(f"expected one of these titles: {[c['title'] for c in run['contests']]}")
    figure, axes = pyplot.subplots(len(contests), figsize=(9, 1 + 2.2 * len(contests)), squeeze=False)
    for contest, axis in zip(contests, axes[:, 0], strict=True):
        shown = {name: one for name, one in contest["contenders"].items() if not one["part"]}
        rates = dict(sorted(((name, one["rows_per_second"]) for name, one in shown.items()), key=lambda rate: rate[1]))
        colours = [
            "tab:blue" if name.startswith(("rows to", "store to", "from the file")) else "silver" for name in rates
        ]
        bars = axis.barh(list(rates), list(rates.values()), color=colours)
        axis.bar_label(bars, [f"{rate:,.0f}" for rate in rates.values()], padding=3)
        axis.set_title(contest["title"], loc="left", fontsize=10)
        axis.set_xlabel("conversations a second")
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.12)
    machine, versions = run["machine"], run["versions"]
    figure.suptitle(f"{machine['cpu']}, {machine['n_cores']} cores, Python {versions['python']}", fontsize=9)
    figure.tight_layout()
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    plot(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]), sys.argv[3:])

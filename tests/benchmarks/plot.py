"""The plot: what observing a task adds, by hand, by Afterword, and by its peers."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.configurations import CONFIGURATIONS
from tests.benchmarks.results import Results

# What each of them tells of a task that succeeded.
_TELLS = {
    "sentry": "nothing",
    "native": "1 span",
    "contrib": "1 span",
    "logfire": "1 span",
    "datadog": "2 spans, dropped",
    "datadog-writing": "2 spans, exported",
    "newrelic": "1 transaction",
    "hand": "span, metrics, log line",
    "afterword": "span, metrics, log line, and every task that never ran",
}
_OURS, _HAND, _PEER = "#0b6e4f", "#c08a2d", "#8a94a6"


def draw(results: Results, path: Path) -> bool:
    """Draw the plot; false if matplotlib is not installed."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    found = {name: results.costs.figure("async", name) for name in _TELLS}
    bars = sorted(
        ((figure, name) for name, figure in found.items() if figure is not None), key=lambda bar: bar[0].median
    )
    figure, axes = plt.subplots(figsize=(9, 0.55 * len(bars) + 1.3), dpi=150)
    for place, (cost, name) in enumerate(bars):
        colour = {"afterword": _OURS, "hand": _HAND}.get(name, _PEER)
        axes.barh(place, max(cost.median, 0), color=colour, height=0.62)
        axes.plot([cost.low, cost.high], [place, place], color="#22262e", linewidth=1.2)
        right = max(cost.high, cost.median, 0)
        axes.annotate(
            f"{max(cost.median, 0):.0f} µs   {_TELLS[name]}",
            (right, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight="bold" if name == "afterword" else "normal",
        )
    axes.set_yticks(range(len(bars)), [CONFIGURATIONS[name].label for _, name in bars])
    axes.set_xlim(0, max(cost.high for cost, _ in bars) * 1.55)
    axes.set_xlabel("µs of CPU time that observing one async background task adds (median, quartiles)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
    return True

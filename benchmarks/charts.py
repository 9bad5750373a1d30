"""Charts as SVG: the same bytes for the same numbers, legible on a light and on a dark page.

The background is transparent, and every colour has a medium lightness.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from plan import SUBJECT, Chart, Series

_GREY = "#808890"
_COLOURS = {
    SUBJECT: "#e8590c",
    "aiomsi_unpaced": "#d9a13a",
    "aiohttp_tuned": "#1c87d6",
    "aiohttp_naive": "#4aa3c7",
    "azure_core": "#9b6bd3",
    "azure_identity": "#8f7be0",
    "azure_mgmt_resource": "#c158b0",
    "httpx": "#2f9e6e",
    "node": "#7aa23a",
}
_STYLE: Any = {
    "svg.hashsalt": "aiomsi",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": _GREY,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _GREY,
    "axes.titlecolor": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(charts: Iterable[Chart], folder: Path) -> None:
    """Write one SVG for each chart."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        for chart in charts:
            figure = Figure(
                figsize=(8, 4 if chart.kind == "lines" else 0.9 + 0.42 * len(chart.series)),
                layout="constrained",
            )
            axes = figure.add_subplot()
            (_draw_lines if chart.kind == "lines" else _draw_bars)(axes, chart)
            axes.set_title(chart.title, loc="left")
            figure.savefig(
                folder / f"{chart.name}.svg",
                transparent=True,
                metadata={"Date": None, "Creator": None},
            )


def _choose_colour(series: Series) -> str:
    return _COLOURS.get(series.name, _GREY)


def _draw_lines(axes: Axes, chart: Chart) -> None:
    for series in chart.series:
        x, y = zip(*series.points, strict=True)
        own = series.name == SUBJECT
        marker = "o" if len(x) < 20 else ""
        axes.plot(
            x,
            y,
            color=_choose_colour(series),
            label=series.name,
            marker=marker,
            markersize=4,
            linewidth=2.2 if own else 1.4,
            zorder=3 if own else 2,
        )
        if series.reach:
            lows, highs = zip(*series.reach, strict=True)
            axes.fill_between(x, lows, highs, color=_choose_colour(series), alpha=0.15, linewidth=0)
    for start, end in chart.shaded:
        axes.axvspan(start, end, color=_GREY, alpha=0.2, linewidth=0)
    if chart.log_x:
        axes.set_xscale(
            "log", base=2 if max(x for s in chart.series for x, _ in s.points) < 10_000 else 10
        )
        axes.set_xticks(sorted({x for series in chart.series for x, _ in series.points}))
        axes.set_xticks([], minor=True)
        axes.xaxis.set_major_formatter(FuncFormatter(_format_number))
    if chart.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(_format_number))
    axes.set_xlabel(chart.x)
    axes.set_ylabel(chart.y)
    axes.grid(axis="y", color=_GREY, alpha=0.25)
    axes.legend(frameon=False, fontsize=10)


def _format_number(value: float, _: int) -> str:
    return f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:g}"


def _draw_bars(axes: Axes, chart: Chart) -> None:
    names = [series.name for series in chart.series]
    values = [series.points[0][1] for series in chart.series]
    reach = [
        series.reach[0] if series.reach else (value, value)
        for series, value in zip(chart.series, values, strict=True)
    ]
    errors = [[value - low for value, (low, _) in zip(values, reach, strict=True)]]
    errors.append([high - value for value, (_, high) in zip(values, reach, strict=True)])
    colours = [_choose_colour(series) for series in chart.series]
    axes.barh(names, values, xerr=errors, color=colours, ecolor=_GREY, height=0.65)
    for place, (value, (_, high)) in enumerate(zip(values, reach, strict=True)):
        axes.text(high, place, f"  {value:,.0f}", va="center")
    axes.invert_yaxis()
    axes.set_xlabel(chart.y)
    axes.margins(x=0.12)

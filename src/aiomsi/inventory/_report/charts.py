"""Charts as SVG, drawn by matplotlib, without a colour or a text of matplotlib's choice.

matplotlib receives no text of a resource: it draws the position of a text in a list, so that it
measures no unknown glyph and parses no formula. `trace` then keeps the shapes alone, with a class
for each colour, so that the page needs no style attribute and has colours for light and dark.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from aiomsi.inventory._report.widgets import make_missing_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Bars = Sequence[tuple[str, int]]
WIDTH = 440
_ROW = 36
_BAR = 9
_POINTS = 72
_PLOT = 150
_AXIS = 22
_ROUND = 4
_INK, _MUTED, _BAR_COLOR, _TRACK = "#000001", "#000002", "#000003", "#000004"
_CLASSES = {_INK: "ink", _MUTED: "muted", _BAR_COLOR: "bar", _TRACK: "track"}
"""The colours that are drawn, and the classes of the page's style sheet."""
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "aiomsi", "text.parse_math": False}
_SVG = "{http://www.w3.org/2000/svg}"
_LONGEST_LABEL = 46


class _Canvas:
    """A figure whose unit is a pixel of the page, with its origin at the top left."""

    def __init__(self, height: float) -> None:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise make_missing_error("matplotlib") from None
        self.height = height
        self.texts: list[str] = []
        self._figure = Figure(figsize=(WIDTH / _POINTS, height / _POINTS))
        self._axes: Axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._axes.set_xlim(0, WIDTH)
        self._axes.set_ylim(height, 0)

    def bar(self, x: float, y: float, width: float, height: float, color: str) -> None:
        from matplotlib.patches import FancyBboxPatch

        style = f"round,pad=0,rounding_size={min(_ROUND, width / 2, height / 2)}"
        shape = FancyBboxPatch((x, y), width, height, style, facecolor=color, linewidth=0)
        self._axes.add_patch(shape)

    def text(self, x: float, y: float, text: str, color: str, align: str = "left") -> None:
        place = str(len(self.texts))
        self.texts.append(text)
        self._axes.text(x, y, place, color=color, ha=align, va="baseline", parse_math=False)

    def save(self) -> str:
        from matplotlib import rc_context

        data = io.BytesIO()
        with rc_context(_STYLE):
            self._figure.savefig(data, format="svg", transparent=True, metadata={"Date": None})
        return data.getvalue().decode()


def draw_bars(bars: Bars) -> str:
    """Return horizontal bars, each with its label and number above it."""
    canvas = _Canvas(_ROW * len(bars))
    most = max(count for _, count in bars)
    for row, (label, count) in enumerate(bars):
        y = row * _ROW
        shown = label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"
        canvas.text(0, y + 14, shown, _INK)
        canvas.text(WIDTH, y + 14, f"{count:,}", _MUTED, "right")
        canvas.bar(0, y + 20, WIDTH, _BAR, _TRACK)
        canvas.bar(0, y + 20, max(WIDTH * count / most, 1), _BAR, _BAR_COLOR)
    return trace(canvas.save(), canvas.height, canvas.texts)


def draw_months(months: Bars) -> str:
    """Return a bar for each month, with lines at round numbers, and the years below."""
    from matplotlib.ticker import MaxNLocator

    canvas = _Canvas(_PLOT + _AXIS)
    most = max(count for _, count in months)
    steps = MaxNLocator(3, integer=True).tick_values(0, most)
    lines = [int(step) for step in steps if step >= 0]
    top, left = max(lines), 8 + 10 * len(f"{max(lines):,}")
    for line in lines:
        y = _PLOT - (_PLOT - 12) * line / top
        canvas.bar(left, y - 0.5, WIDTH - left, 1, _TRACK)
        canvas.text(left - 8, y + 4, f"{line:,}", _MUTED, "right")
    step = (WIDTH - left) / len(months)
    for place, (_, count) in enumerate(months):
        height = (_PLOT - 12) * count / top
        canvas.bar(left + step * (place + 0.1), _PLOT - height, step * 0.8, height, _BAR_COLOR)
    for place, label in label_months([month for month, _ in months]):
        canvas.text(left + step * place, _PLOT + 17, label, _MUTED)
    return trace(canvas.save(), canvas.height, canvas.texts)


def label_months(months: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the positions and texts of the axis: each January, or the first month without one."""
    years = [(place, month[:4]) for place, month in enumerate(months) if month.endswith("-01")]
    yield from years or [(0, months[0])]


def trace(svg: str, height: float, texts: Sequence[str]) -> str:
    """Return an SVG of the shapes and texts of matplotlib's, with classes and without styles.

    Args:
        svg: the document.
        height: the height of the new one.
        texts: the texts, which the document holds as their positions in this list.

    """
    root = ET.fromstring(svg)  # noqa: S314 (matplotlib's, and it holds no foreign text)
    drawn = itertools.chain.from_iterable(_trace_element(each, texts) for each in root.iter())
    box = f'viewBox="0 0 {WIDTH} {height:g}"'
    return f'<svg {box} aria-hidden="true" focusable="false">{"".join(drawn)}</svg>'


def _trace_element(element: ET.Element, texts: Sequence[str]) -> Iterator[str]:
    style = dict(
        part.strip().split(": ", 1) for part in element.get("style", "").split(";") if part.strip()
    )
    color = _CLASSES.get(style.get("fill", ""))
    if color is None:
        return
    if element.tag == f"{_SVG}text":
        place = f'x="{element.get("x")}" y="{element.get("y")}"'
        anchor = style.get("text-anchor", "start")
        text = escape(texts[int(element.text or "")])
        yield f'<text class="{color} {anchor}" {place}>{text}</text>'
    else:
        shape = " ".join(element.get("d", "").split())
        yield f'<path class="{color}" d="{escape(shape)}"/>'

"""A figure's surface: one style for all, a colour and a mark per setup, small SVG that stands alone or in a page."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from harness.report.words import clean, escaped

P = ParamSpec("P")
R = TypeVar("R")

WIDTH = 760
INK, QUIET, FAINT, BROKEN = "#1a1a1a", "#5c5c5c", "#d9d9d9", "#b00020"
# Okabe & Ito's palette, its yellow and light tones replaced by darker ones that hold on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa3377", "#b8860b", "#3b9fd8", "#332288", "#666666")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "tailrace", "path.simplify": True, "path.simplify_threshold": 0.2,
    "font.family": "DejaVu Sans", "font.size": 12.5, "axes.titlesize": 13, "axes.labelsize": 12.5,
    "axes.edgecolor": QUIET, "axes.labelcolor": INK, "text.color": INK, "xtick.color": QUIET, "ytick.color": QUIET,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.8, "axes.axisbelow": True, "lines.linewidth": 2.0, "axes.titlelocation": "left",
    "axes.grid": True, "grid.color": "#ececec", "grid.linewidth": 0.8, "axes.unicode_minus": True,
    "xtick.major.size": 3, "ytick.major.size": 3, "xtick.minor.size": 0, "ytick.minor.size": 0,
    "axes.titley": 1.0,     # else every draw measures all ticks to find room that no tick takes
    "axes.formatter.use_mathtext": False, "text.parse_math": False,
}


@dataclass(frozen=True)
class Chart:
    """One figure: what it shows, the picture as SVG text, and what to conclude from it."""

    title: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Ink:
    """How one setup is drawn, in every figure of a report alike."""

    colour: str
    mark: str
    dash: str


def inks(names: Sequence[str]) -> dict[str, Ink]:
    """A colour, a mark and a line style for each setup, by its place among all of them; all differ up to 32 setups."""
    dashes = ("-", "--", ":", "-.")
    return {name: Ink(COLOURS[i % 8], MARKS[i % 8], dashes[i // 8 % 4]) for i, name in enumerate(names)}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """`draw` in the house style: text takes its size and its literal dollar signs from it when it is made."""
    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)
    return drawn


def paper(height: float, rows: int = 1, columns: int = 1, *, sharex: bool = False, sharey: bool = False,
          left: float = 64, right: float = 20, top: float = 58, bottom: float = 48, gap: float = 0.3,
          between: float = 0.12) -> tuple[Figure, list[Axes]]:
    """A figure WIDTH px wide and its axes, row by row; margins in px. It is bound to no global state."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey, gridspec_kw={
        "left": left / WIDTH, "right": 1 - right / WIDTH, "top": 1 - top / height, "bottom": bottom / height,
        "hspace": gap, "wspace": between})
    return figure, [axes for row in grid for axes in row]


def title(figure: Figure, text: str) -> None:
    """What the figure is about, at its top left, so that it can stand alone."""
    height = figure.get_figheight() * 72
    figure.text(8 / WIDTH, 1 - 17 / height, clean(text), fontsize=14, weight="bold", va="center")


def svg(figure: Figure, label: str) -> str:
    """The figure as one small SVG element: no metadata, no address but the name space, text as text; `label` is what
    a screen reader says."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _small(buffer.getvalue(), label)


def _small(text: str, label: str) -> str:
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r' id="(?!p[0-9a-f]{10}|m[0-9a-f]{10})[^"]*"', "", text)
    text = re.sub(r'<svg[^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>',
                  lambda m: f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                            f'viewBox="0 0 {float(m[1]):g} {float(m[2]):g}" width="{float(m[1]):g}" '
                            f'height="{float(m[2]):g}" role="img" aria-label="{escaped(label)}">', text, count=1)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", rf"font: \1px {_FONT}", text)
    text = re.sub(r' (?:d|x|y)="[^"]*"', lambda m: re.sub(r"(\.\d)\d+", r"\1", m[0]), text)
    return re.sub(r"\s*\n\s*", "\n", text).strip()

"""What the figures of a study share: ink, colours, a canvas that gives SVG text.

A figure is drawn without pyplot. It depends on the numbers alone (no date, no random
ids, no matplotlibrc) and takes its ink from `currentColor`, so that it reads on a
light and on a dark page.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from twotower_jax.study.arms import write_whole

# Okabe and Ito's palette: told apart with any colour vision, on white and on black.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")
INK = "#010203"  # stands for the colour of the text, replaced in the SVG
WIDTH = 4.4  # inches, of every figure
TITLE, LEGEND = 0.36, 0.21  # inches: above the axes; of a line of the legend
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "twotower_jax",
    "text.parse_math": False,
    "font.size": 10,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.formatter.useoffset": False,
    "axes.labelsize": 10,
    "grid.alpha": 0.15,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "grid.color"), INK
    ),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 9.5),
}


class Drawing(NamedTuple):
    """A figure: what it shows in a few words, how to read it, and its SVG text."""

    title: str
    caption: str
    svg: str


class Style(NamedTuple):
    """How the lines and points of one arm look."""

    colour: str
    dash: Any  # matplotlib has no name for the type of "--"
    marker: str


def style(index: int) -> Style:
    """Return the style of the arm at a place; 24 arms are told apart."""
    turn = index // len(PALETTE)
    return Style(
        PALETTE[index % len(PALETTE)],
        DASHES[turn % len(DASHES)],
        MARKERS[turn % len(MARKERS)],
    )


def shorten(name: str, length: int) -> str:
    """Return a name in at most `length` characters."""
    return name if len(name) <= length else name[: length - 1] + "…"


def draw_svg(height: float, title: str, draw: Callable[[Figure], None]) -> str:
    """Draw a figure of WIDTH and a height in inches; return it as SVG text."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # The browser has the fonts for names that matplotlib's own font cannot write.
        warnings.filterwarnings("ignore", message="Glyph")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=(WIDTH, height))
        figure.patch.set_visible(False)
        canvas = FigureCanvasSVG(figure)
        draw(figure)
        figure.text(0.02, 1 - 0.08 / height, title, va="top", weight="bold", size=11)
        buffer = io.StringIO()
        plain = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas.print_svg(buffer, metadata=plain)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")


def draw_plane(
    title: str,
    labels: tuple[str, str],
    names: Sequence[str],
    draw: Callable[[Axes], None],
) -> str:
    """Draw axes with both labels, and below them a legend with a line a name.

    Args:
      title: above the axes.
      labels: of the x and of the y axis.
      names: of the styles 0, 1, ...; none draws no legend.
      draw: fills the axes.
    Returns:
      SVG text.
    """
    plot, bottom = 2.5, 0.58 + LEGEND * len(names)
    height = TITLE + plot + bottom

    def fill(figure: Figure) -> None:
        axes = figure.add_axes((0.17, bottom / height, 0.76, plot / height))
        axes.patch.set_visible(False)
        axes.grid()
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        draw(axes)
        for index, name in enumerate(names):
            at = (LEGEND * (len(names) - index) - 0.09) / height
            _legend_line(figure, at, style(index), shorten(name, 46))

    return draw_svg(height, title, fill)


def _legend_line(figure: Figure, at: float, look: Style, name: str) -> None:
    ends = ([0.03, 0.1], [at, at])
    line = Line2D(*ends, color=look.colour, linestyle=look.dash, linewidth=1.8)
    figure.add_artist(line)
    mark = Line2D([0.065], [at], marker=look.marker, color=look.colour, markersize=5)
    figure.add_artist(mark)
    figure.text(0.125, at, name, va="center", size=9.5)


def own_ids(svg: str, name: str) -> str:
    """Prefix the ids of an SVG, so that several can stand in one page."""
    return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}_", svg)


def write_figures(figures: dict[str, Drawing], folder: str | Path) -> list[Path]:
    """Write each figure to figure_NAME.svg, dark on white, and return the paths.

    A figure of an earlier report that these runs no longer give is removed.
    """
    kinds = r"primary|forest|slices|coverage|popularity|learning|loss|response_\w+"
    for path in Path(folder).glob("figure_*.svg"):
        name = path.stem.removeprefix("figure_")
        if re.fullmatch(kinds, name) and name not in figures:
            path.unlink()
    sheet = '<rect width="100%" height="100%" fill="#ffffff"/>'
    paths = []
    for name, figure in figures.items():
        text = figure.svg.replace("currentColor", "#1f2328")
        text = re.sub(r"(<svg[^>]*>)", rf"\1{sheet}", text, count=1)
        paths.append(write_whole(Path(folder) / f"figure_{name}.svg", text))
    return paths

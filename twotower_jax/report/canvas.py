"""The shared parts of all figures: ink, colours, and a canvas that returns SVG text.

A figure is drawn without pyplot. It depends on the numbers alone (not on the date,
random ids or matplotlibrc). Its ink is `currentColor`, so that it is readable on light
and dark pages.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import AutoLocator, MaxNLocator, NullLocator

from twotower_jax.data.text_files import write_text

TICKS = 5  # at most so many steps between the ticks of an axis


def few_ticks(axes: Axes) -> None:
    """Give linear axes so few ticks that their labels are apart."""
    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(axis.get_major_locator(), AutoLocator):
            axis.set_major_locator(MaxNLocator(nbins=TICKS, steps=[1, 2, 2.5, 5, 10]))


def log_ticks(axes: Axes, values: Iterable[float]) -> None:
    """Make the x axis logarithmic, with ticks at some of the values."""
    axes.set_xscale("log")
    places = sorted(set(values))
    gap = (math.log(places[-1]) - math.log(places[0])) / TICKS
    kept = places[:1]
    for place in places[1:]:
        if math.log(place / kept[-1]) >= gap * (1 - 1e-9):
            kept.append(place)
    axes.set_xticks(kept, [f"{place:,.6g}" for place in kept])
    axes.xaxis.set_minor_locator(NullLocator())


# Okabe and Ito's palette: distinguishable with any colour vision, on white and black.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")
INK = "#010203"  # placeholder of the text colour, replaced in the SVG
WIDTH = 4.4  # width of every figure in inches
TITLE = 0.36  # height of the title above the axes in inches
LEGEND_LINE = 0.21  # height of a line of the legend in inches
NAME = 46  # characters of a name in a legend
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
    """A finished figure."""

    title: str  # its subject
    caption: str  # how to read it
    svg: str  # the SVG text
    # height in points of the legend of all arms at its bottom, which a page shows once
    # for all figures; 0 for none
    legend: float = 0.0

    @property
    def bare(self) -> str:
        """The SVG text without the legend: the page is cut above it."""
        return re.sub(
            r'height="([\d.]+)pt" viewBox="0 0 ([\d.]+) ([\d.]+)"',
            lambda m: (
                f'height="{float(m[1]) - self.legend:g}pt" '
                f'viewBox="0 0 {m[2]} {float(m[3]) - self.legend:g}"'
            ),
            self.svg,
            count=1,
        )


class Style(NamedTuple):
    """The look of an arm's lines and points."""

    colour: str  # a hex colour of PALETTE
    # a line style of matplotlib
    dash: Any  # matplotlib has no name for the type of "--"
    marker: str  # a marker of matplotlib


def style(index: int) -> Style:
    """Style of the arm at a place in the ranking; 24 arms have different styles."""
    turn = index // len(PALETTE)
    return Style(
        PALETTE[index % len(PALETTE)],
        DASHES[turn % len(DASHES)],
        MARKERS[turn % len(MARKERS)],
    )


def shorten(name: str, length: int) -> str:
    """A name in at most `length` characters."""
    return name if len(name) <= length else name[: length - 1] + "…"


def figure_of(axes: Axes) -> Figure:
    """Figure of some axes."""
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes belong to no figure")
    return figure


def draw_figure(height: float, title: str, draw: Callable[[Figure], None]) -> Figure:
    """Figure of width WIDTH, with INK as its text colour."""
    with _settings():
        return _filled(height, title, draw)


def draw_svg(height: float, title: str, draw: Callable[[Figure], None]) -> str:
    """SVG text of a figure of width WIDTH."""
    with _settings():
        figure = _filled(height, title, draw)
        figure.patch.set_visible(False)
        buffer = io.StringIO()
        plain = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(buffer, metadata=plain)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")


@contextmanager
def _settings() -> Iterator[None]:
    """Context of SETTINGS in place of matplotlibrc."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # The browser has the fonts for names that matplotlib's own font cannot write.
        warnings.filterwarnings("ignore", message="Glyph")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


class ShownFigure(Figure):
    """A figure that a notebook shows as SVG, without pyplot."""

    def _repr_svg_(self) -> str:
        buffer = io.StringIO()
        self.savefig(buffer, format="svg")
        return buffer.getvalue()


def _filled(height: float, title: str, draw: Callable[[Figure], None]) -> Figure:
    figure = ShownFigure(figsize=(WIDTH, height))
    draw(figure)
    figure.text(0.02, 1 - 0.08 / height, title, va="top", weight="bold", size=11)
    return figure


def draw_plane(
    title: str,
    labels: tuple[str, str],
    names: Sequence[str],
    draw: Callable[[Axes], None],
) -> str:
    """SVG text of axes with two labels, and of a legend with one line per name."""
    plot, bottom = 2.5, 0.58 + legend_height(names) / 72
    height = TITLE + plot + bottom

    def fill(figure: Figure) -> None:
        axes = figure.add_axes((0.2, bottom / height, 0.73, plot / height))
        axes.patch.set_visible(False)
        axes.grid()
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        draw(axes)
        few_ticks(axes)
        _legend(figure, names, height)

    return draw_svg(height, title, fill)


def draw_key(index: int, name: str) -> str:
    """SVG text of one line of a legend."""

    def fill(figure: Figure) -> None:
        _legend_line(figure, 0.5, style(index), shorten(name, NAME))

    return draw_svg(LEGEND_LINE, "", fill)


def legend_height(names: Sequence[str]) -> float:
    """The height in points of a legend with one line per name."""
    return 72 * LEGEND_LINE * len(names)


def _legend(figure: Figure, names: Sequence[str], height: float) -> None:
    """Draw a line per name at the bottom of a figure of a height in inches."""
    for index, name in enumerate(names):
        at = (LEGEND_LINE * (len(names) - index) - 0.09) / height
        _legend_line(figure, at, style(index), shorten(name, NAME))


def _legend_line(figure: Figure, at: float, look: Style, name: str) -> None:
    ends = ([0.03, 0.1], [at, at])
    line = Line2D(*ends, color=look.colour, linestyle=look.dash, linewidth=1.8)
    figure.add_artist(line)
    mark = Line2D([0.065], [at], marker=look.marker, color=look.colour, markersize=5)
    figure.add_artist(mark)
    figure.text(0.125, at, name, va="center", size=9.5)


def own_ids(svg: str, name: str) -> str:
    """SVG text with prefixed ids, so that several figures fit into one page."""
    return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}_", svg)


def write_figures(figures: dict[str, Drawing], folder: str | Path) -> list[Path]:
    """Write each figure to figure_NAME.svg, dark on white.

    Figures of an earlier report that the runs no longer have are removed.
    """
    kinds = r"primary|forest|slices|coverage|popularity|learning|loss|response_\w+"
    for path in Path(folder).glob("figure_*.svg"):
        name = path.stem.removeprefix("figure_")
        if re.fullmatch(kinds, name) and name not in figures:
            path.unlink()
    return [
        write_drawing(figure, Path(folder) / f"figure_{name}.svg")
        for name, figure in figures.items()
    ]


def write_drawing(figure: Drawing, path: Path) -> Path:
    """Write a figure to a file, dark on white."""
    sheet = '<rect width="100%" height="100%" fill="#ffffff"/>'
    text = figure.svg.replace("currentColor", "#1f2328")
    return write_text(path, re.sub(r"(<svg[^>]*>)", rf"\1{sheet}", text, count=1))

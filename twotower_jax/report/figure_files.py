"""SVG text of figures inside a page, and as files of their own."""

import re
from pathlib import Path

from twotower_jax.data.text_files import write_text
from twotower_jax.report.canvas import Drawing


def own_ids(svg: str, name: str) -> str:
    """SVG text with prefixed ids, so that several figures fit into one page.

    Examples:
      >>> own_ids('<path id="a"/><use href="#a"/>', "loss")
      '<path id="loss_a"/><use href="#loss_a"/>'
    """
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

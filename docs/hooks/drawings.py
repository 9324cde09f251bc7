"""Figures and numbers that the pages show, computed when the site is built.

`![caption](figures/NAME.svg)` becomes the drawing of docs/figures/NAME.py, and that of
`figures/NAME-KEY.svg` its drawing of a key, put into the page as SVG whose text has the
page's colour. `<!-- computed: NAME.KEY -->` becomes an
entry of that module's `values()`, a number or a table.
"""

import functools
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page

DOCS = Path(__file__).parents[1]
FIGURE = re.compile(r"!\[([^\]]*)\]\((?:\.\./)*figures/([\w-]+)\.svg\)")
COMPUTED = re.compile(r"<!-- computed: (\w+)\.([\w-]+) -->")


def module(name: str) -> ModuleType:
    """Return the module of docs/figures that a page names.

    Raises:
      PluginError: when there is none.
    """
    if str(DOCS) not in sys.path:
        sys.path.insert(0, str(DOCS))
    if not (DOCS / "figures" / f"{name}.py").exists():
        raise PluginError(f"docs/figures/{name}.py does not exist")
    return importlib.import_module(f"figures.{name}")


@functools.cache
def drawing(name: str, caption: str) -> str:
    """Return the SVG of a figure."""
    from figures.style import svg

    file, _, key = name.partition("-")
    return svg(module(file).draw(*filter(None, [key])), name, caption)


@functools.cache
def values(name: str) -> dict[str, str]:
    """Return the computed values of a module."""
    return module(name).values()


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put computed values into the text, and make room for figures."""

    def computed(match: re.Match[str]) -> str:
        name, key = match.groups()
        if key not in values(name):
            raise PluginError(f"docs/figures/{name}.py computes no {key!r}")
        return values(name)[key]

    markdown = COMPUTED.sub(computed, markdown)
    return FIGURE.sub(
        lambda match: f'<div data-figure="{match[2]}">{match[1]}</div>', markdown
    )


def on_page_content(html: str, page: Page, **_: object) -> str:
    """Put the drawings in."""
    del page

    def figure(match: re.Match[str]) -> str:
        name, caption = match.groups()
        return (
            f"<figure>{drawing(name, caption)}"
            f"<figcaption>{caption}</figcaption></figure>"
        )

    return re.sub(r'<div data-figure="([\w-]+)">(.*?)</div>', figure, html)

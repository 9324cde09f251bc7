"""Formulas: $...$ and $$...$$ become MathML when the site is built.

Browsers show MathML without a script, so formulas need no network. Code is left alone.
A formula is replaced by a token before Markdown is rendered and put in afterwards,
because Markdown takes a line that begins with MathML for a block of HTML.
"""

import re
from html import escape

from latex2mathml.converter import convert
from mkdocs.structure.pages import Page

# Fenced code, inline code, then displayed and inline formulas.
PART = re.compile(
    r"(?P<code>^```.*?^```|`+[^`\n]+?`+)"
    r"|\$\$(?P<display>.+?)\$\$"
    r"|(?<![\\$\w])\$(?P<inline>[^$\s](?:[^$\n]*[^$\s\\])?)\$(?![\w$])",
    re.MULTILINE | re.DOTALL,
)
TOKEN = re.compile(r"<p>FORMULA(\d+)ALUMROF</p>|FORMULA(\d+)ALUMROF")
FUNCTION = re.compile(r"(<mi>log</mi>)(?=<m(?:i|sub|sup|subsup)>)")

_formulas: dict[str, list[tuple[str, bool]]] = {}


def mathml(text: str, display: bool) -> str:
    """Return a formula as MathML, with its TeX as the label for screen readers."""
    found = convert(text.strip(), display="block" if display else "inline")
    found = FUNCTION.sub(r'\1<mspace width="0.17em"/>', found)
    label = escape(" ".join(text.split()), quote=True)
    return found.replace("<math ", f'<math aria-label="{label}" ', 1)


def displayed(text: str) -> str:
    """Return a displayed formula, whose parts between quads may stand in own lines."""
    parts = "".join(mathml(part, True) for part in text.split(r"\qquad"))
    return f'<div class="formula">{parts}</div>'


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Replace formulas by tokens."""
    formulas = _formulas[page.file.src_uri] = []

    def token(match: re.Match[str]) -> str:
        if match["code"] is not None:
            return match.group()
        display = match["display"] is not None
        formulas.append((match["display"] if display else match["inline"], display))
        return f"FORMULA{len(formulas) - 1}ALUMROF"

    return PART.sub(token, markdown)


def on_page_content(html: str, page: Page, **_: object) -> str:
    """Put the formulas in."""
    formulas = _formulas[page.file.src_uri]

    def formula(match: re.Match[str]) -> str:
        text, display = formulas[int(match[1] or match[2])]
        return displayed(text) if match[1] and display else mathml(text, display)

    return TOKEN.sub(formula, html)

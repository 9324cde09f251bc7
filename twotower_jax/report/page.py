"""The look of the report: its style sheet, texts, tables and definitions."""

import re
from collections.abc import Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --page: #ffffff; --box: #f6f8fa; --note: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1;
  --line: #3d444d; --page: #0d1117; --box: #151b23; --note: #d29922; } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb;
  --page: #fff; --box: #fff; --note: #7a5200; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 84rem; color: var(--ink);
  background: var(--page); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; break-after: avoid; }
p, li, dd { overflow-wrap: anywhere; }
p, dd, figcaption { text-wrap: pretty; }
.answer { font-size: 1.15rem; margin: .3rem 0 .8rem; }
.pair { display: grid; gap: 1rem 2rem; margin-top: 1rem; }
.pair > * { min-width: 0; } .pair h2 { margin-top: 0; }
@media (min-width: 70rem) { .pair { grid-template-columns: 30rem 1fr; } }
details { border-top: 1px solid var(--line); padding: .5rem 0; }
summary { cursor: pointer; } summary h2 { display: inline; }
.soft { color: var(--soft); font-size: .9rem; }
.note { border-left: 4px solid var(--note); padding: .4rem .8rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { color: var(--soft); } dd { margin: 0; }
.terms { font-size: .85rem; color: var(--soft); } .terms dt { font-weight: 600; }
.box { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .85rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .45rem; text-align: right; }
th { color: var(--soft); font-weight: 600; background: var(--box);
  vertical-align: bottom; }
tr + tr td, tbody tr td, tbody tr th { border-top: 1px solid var(--line); }
.text { text-align: left; }
td.text { min-width: 5rem; }
td.arm { min-width: 9rem; max-width: 16rem; overflow-wrap: break-word; }
.long td:not(.arm) { min-width: 7.5rem; }
.long td:first-child:not(.arm) { min-width: 0; }
@media (max-width: 40rem) { body { padding: 1rem .75rem 2rem; }
  dl { grid-template-columns: 1fr; } dd { margin-bottom: .3rem; }
  table { font-size: .72rem; } th, td { padding: .35rem .25rem; }
  td.text { min-width: 0; } td.arm { min-width: 5.2rem; overflow-wrap: anywhere; } }
.figures { display: grid; gap: 1.5rem; }
@media (min-width: 46rem) { .figures { grid-template-columns: 1fr 1fr; } }
figure { margin: 0; break-inside: avoid; }
.legend { grid-column: 1 / -1; } .legend div { display: flex; flex-wrap: wrap; }
.legend figcaption { margin: 0 0 .3rem; max-width: none; }
figure svg { width: 100%; max-width: 36rem; height: auto; display: block; }
figcaption { font-size: .8rem; margin-top: .2rem; max-width: 36rem; }
figure .key { width: 26rem; max-width: 100%; }
figure svg text { font-family: inherit !important; }
@media print { html, body { font-size: 11px; } body { max-width: none; padding: 0; }
  .box { overflow: visible; border: 0; } table { font-size: 9px; }
  th, td { padding: .2rem .3rem; } tr { break-inside: avoid; }
  .figures { grid-template-columns: 1fr 1fr; } }
"""

# Spaces where no line ends: between a number and its unit, after ±, in "p Holm", and
# before the x of "seeds x queries" and "3 x 50".
JOINED = re.compile(
    r"(?<=\d) (?=%|(?:nats|seconds)\b)|(?<=±) (?=\d)|(?<=\bp) (?=Holm\b)"
    r"|(?<=[\ds]) (?=x )"
)


def text_html(text: str) -> str:
    """HTML of a plain text, which keeps a number and its unit on one line.

    Examples:
      >>> text_html("3 < 5, at 95 %")
      '3 &lt; 5, at 95&nbsp;%'
    """
    return JOINED.sub("&nbsp;", escape(text))


def box(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    text: Sequence[int],
    long: bool = False,
) -> list[str]:
    """HTML of a table that scrolls in its own box."""
    kinds = [' class="text"' if i in text else "" for i in range(len(heads))]
    cells = ['"text arm"' if i == text[0] else '"text"' for i in range(len(heads))]
    opened = [
        f"<td class={cell}>" if kind else "<td>"
        for kind, cell in zip(kinds, cells, strict=True)
    ]
    kind = ' class="long"' if long else ""
    lines = [f'<div class="box" tabindex="0"><table{kind}>', "<thead><tr>"]
    lines += [
        f"<th{kind}>{_head_html(h)}</th>" for kind, h in zip(kinds, heads, strict=True)
    ]
    lines.append("</tr></thead>\n<tbody>")
    for row in rows:
        inner = (f"{td}{text_html(v)}</td>" for td, v in zip(opened, row, strict=True))
        lines.append(f"<tr>{''.join(inner)}</tr>")
    return [*lines, "</tbody></table></div>"]


def _head_html(text: str) -> str:
    """A heading that may break inside a metric or key: true_|recall@20."""
    return re.sub(r"(?<=[._/])(?=\w)", "<wbr>", text_html(text))


def note(text: str, kind: str = "soft") -> str:
    """HTML of a paragraph."""
    return f'<p class="{kind}">{text_html(text)}</p>'


def definitions(facts: Mapping[str, str], kind: str = "facts") -> list[str]:
    """HTML of a list of names with their values or meanings."""
    lines = [
        f"<dt>{text_html(name)}</dt><dd>{text_html(text)}</dd>"
        for name, text in facts.items()
    ]
    return [f'<dl class="{kind}">', *lines, "</dl>"]


def folded(section: Sequence[str], opened: bool = False) -> list[str]:
    """HTML of a section that is opened by its heading, its first line."""
    if not section:
        return []
    head, *rest = section
    opening = "<details open>" if opened else "<details>"
    return [f"{opening}<summary>{head}</summary>", *rest, "</details>"]

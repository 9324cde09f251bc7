"""The report of a study: one HTML file without network or script.

The content depends on the runs alone, so that writing the report twice gives the same
bytes.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from twotower_jax.cards.card import Card
from twotower_jax.data.text_files import write_text
from twotower_jax.errors import InputError
from twotower_jax.report.canvas import Drawing, draw_key, own_ids, write_figures
from twotower_jax.report.differences import (
    baselines_section,
    common_section,
    contrasts_section,
    controls_section,
    rival_section,
)
from twotower_jax.report.figures import study_figures
from twotower_jax.report.objective import objective_section
from twotower_jax.report.page import STYLE, folded, note, text_html
from twotower_jax.report.sections import (
    arms_section,
    configuration_section,
    cost_section,
    detail_section,
    metrics_section,
    stages_section,
)
from twotower_jax.report.selected import selection_section
from twotower_jax.study.answer import answer
from twotower_jax.study.cautions import cautions
from twotower_jax.study.comparison import write_comparison
from twotower_jax.study.description import write_description
from twotower_jax.study.load import Study
from twotower_jax.study.runs import Runs
from twotower_jax.study.tables import rank_arms, write_study

LEGEND = "Legend: the arms by rank"


def write_report(
    study: Study,
    out: str | Path | None = None,
    cards: Mapping[str, Card | str] | None = None,
) -> Path:
    """Write study.json, study.csv, comparison.csv, the figures and report.html."""
    folder = study.runs.folders[0] if out is None else Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; give a folder for the report")
    figures = study_figures(study)
    folder.mkdir(parents=True, exist_ok=True)
    write_description(study.description, folder)
    write_study(study.table, folder)
    write_comparison(study.comparison, study.controlled, folder)
    write_figures(figures, folder)
    title = f"Study {folder.resolve().name}"
    body = _body(study, figures, cards or {})
    text = _page(title, study.description.question or title, body)
    return write_text(folder / "report.html", text)


def _page(title: str, heading: str, body: Sequence[str]) -> str:
    """The whole HTML file."""
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>",
        f"</head>\n<body>\n<h1>{escape(heading)}</h1>",
        *body,
        "</body>\n</html>\n",
    ]
    return "\n".join(lines)


def _body(
    study: Study, figures: dict[str, Drawing], cards: Mapping[str, Card | str]
) -> list[str]:
    """The answer with one figure and its tables, and all the rest folded."""
    order, first = rank_arms(study.table, study.metric), first_figure(study, figures)
    rest = {name: one for name, one in figures.items() if name != first}
    details = [
        rival_section(study, order),
        _figures(rest, order),
        objective_section(cards, order),
        detail_section(study, order),
        contrasts_section(study, order),
        metrics_section(study, order),
        selection_section(study.runs, study.table),
        stages_section(study.runs),
        configuration_section(study.runs, order),
        cost_section(study, order),
        _skipped(study.runs),
    ]
    return [
        *_introduction(study),
        '<div class="pair">',
        *_inline(figures[first]),
        *("<div>", *arms_section(study, order), "</div>", "</div>"),
        *controls_section(study, order),
        *baselines_section(study, order),
        *common_section(study),
        *(line for section in details for line in folded(section)),
    ]


def first_figure(study: Study, figures: Mapping[str, Drawing]) -> str:
    """The curve of a study that sweeps one number, else its differences or values."""
    curves = [name for name in figures if name.startswith("response_")]
    if len(curves) == 1 and study.one_number:
        return curves[0]
    return "forest" if "forest" in figures else "primary"


def _introduction(study: Study) -> list[str]:
    """The answer, the warnings, the source and the tuning."""
    text = answer(study)
    lines = [note(text, "answer")] if text else []
    lines += [note(text, "note") for text in cautions(study)]
    if study.description.source:
        lines.append(note(f"Source: {study.description.source}"))
    if study.tuning.tuned and len(study.pairing.arms) > 1:
        lines.append(note(study.tuning.text))
    return lines


def _inline(drawing: Drawing) -> list[str]:
    """A figure within the page."""
    label = escape(drawing.title)
    return [
        f'<figure><div role="img" aria-label="{label}">{drawing.bare}</div>',
        f'<figcaption class="soft">{text_html(drawing.caption)}</figcaption></figure>',
    ]


def _figures(figures: dict[str, Drawing], order: Sequence[str]) -> list[str]:
    """Further figures inline, with one legend of the arms for all of them."""
    shown = list(figures.values())
    inner = _legend(order) if any(one.legend for one in shown) else []
    inner += [line for one in shown for line in _inline(one)]
    text = "Each figure is also a file beside this report, figure_*.svg."
    if not inner:
        return []
    return ["<h2>Figures</h2>", note(text), '<div class="figures">', *inner, "</div>"]


def _legend(order: Sequence[str]) -> list[str]:
    """A line and mark per arm, side by side as far as the page is wide."""
    keys = [
        own_ids(draw_key(rank - 1, f"{rank}  {arm}"), f"legend{rank}").replace(
            "<svg", '<svg class="key"', 1
        )
        for rank, arm in enumerate(order, start=1)
    ]
    caption = f"{LEGEND}, with their numbers, colours and marks in the figures."
    return [
        f'<figure class="legend"><figcaption class="soft">{caption}</figcaption>',
        f'<div role="img" aria-label="{LEGEND}">',
        *keys,
        "</div></figure>",
    ]


def _skipped(runs: Runs) -> list[str]:
    """The list of folders that are not finished runs."""
    if not runs.skipped:
        return []
    items = [
        f"<li>{escape(name)}: {text_html(reason)}</li>" for name, reason in runs.skipped
    ]
    return [f"<h2>Skipped folders ({len(items)})</h2>", "<ul>", *items, "</ul>"]

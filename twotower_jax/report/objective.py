"""Objectives of arms: a section of the report, a figure and lines of the console."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from twotower_jax.cards.card import Card
from twotower_jax.cards.store import find_cards
from twotower_jax.cards.words import (
    bank_sentence,
    gradient_sentence,
    optimum_sentence,
)
from twotower_jax.config import Config, from_record
from twotower_jax.errors import InputError
from twotower_jax.report.canvas import Drawing, draw_plane, own_ids, style
from twotower_jax.report.page import box, definitions, note
from twotower_jax.study.load import Study
from twotower_jax.study.naming import is_baseline

ABOUT = (
    "The optimum of each arm's loss in a small world with known click probabilities, "
    "where every score is free. The drift is the optimal score minus log P (plus log w "
    "where positives are resampled), in nats: where it is 0, the samples change the "
    "variance of the gradient and not the model that is learned. Variance: of the "
    "gradient of a batch, in units of the full softmax over the same rows."
)


def study_cards(study: Study, folder: Path) -> dict[str, Card | str]:
    """The cards of the arms of a study."""
    runs = {run.name: run for run in study.runs.finished}
    pairs = study.table.select("arm", "run").unique("arm", keep="first")
    configs: dict[str, Config] = {}
    cards: dict[str, Card | str] = {}
    for arm, name in pairs.iter_rows():
        if is_baseline(runs[name].config):
            cards[arm] = "a baseline is not trained by samples and has no objective."
            continue
        try:
            configs[arm] = from_record(runs[name].config)
        except InputError as error:
            cards[arm] = f"this version cannot read its configuration ({error})"
    return cards | find_cards(configs, folder)


def objective_section(
    cards: Mapping[str, Card | str], order: Sequence[str]
) -> list[str]:
    """HTML of the section "Objective" of a report."""
    named = [(arm, cards[arm]) for arm in order if arm in cards]
    rows = [(arm, card) for arm, card in named if isinstance(card, Card)]
    if not rows:
        return []
    groups = list(rows[0][1].drift)
    heads = ["#", "arm", "slope", *groups, "variance", "pairs per row", "optimum"]
    body = [
        [
            str(order.index(arm) + 1),
            arm,
            f"{card.slope_target:.2f}",
            *(f"{card.drift[name]:+.2f}" for name in groups),
            f"{card.variance:.2f}",
            f"{card.pairs:,}",
            _place(card),
        ]
        for arm, card in rows
    ]
    words = {
        arm: _sentences(card) if isinstance(card, Card) else f"No card: {card}"
        for arm, card in named
    }
    return [
        "<h2>Objective</h2>",
        note(ABOUT),
        *box(heads, body, text=(1, len(heads) - 1)),
        *definitions(words, "terms"),
    ]


def _place(card: Card) -> str:
    """Return where the optimum is, in a cell of the table."""
    if card.moved:
        return "moved"
    return "not followed (bank)" if card.banked else "as the full softmax"


def _sentences(card: Card) -> str:
    sentences = optimum_sentence(card), bank_sentence(card), gradient_sentence(card)
    return " ".join(one for one in sentences if one)


def card_figure(title: str, card: Card) -> Drawing:
    """Figure of a card: drift by log P, of retrieved items and of the others."""

    def draw(axes: Axes) -> None:
        axes.axhline(0, color="#7f868f", linewidth=1)
        for index, curve in enumerate(card.curves.values()):
            look = style(index)
            x, y = zip(*curve, strict=True)
            axes.plot(
                x,
                y,
                marker=look.marker,
                color=look.colour,
                linestyle=look.dash,
                markersize=5,
            )
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -0.5), max(high, 0.5))

    labels = ("log P(i | u)", "optimum minus target, nats")
    svg = draw_plane(f"Drift: {title}", labels, list(card.curves), draw)
    caption = "Each point is the mean of a tenth of the items by log P."
    return Drawing(title, caption, own_ids(svg, "drift"))

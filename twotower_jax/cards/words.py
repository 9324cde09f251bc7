"""The words of a card: one plain sentence on the optimum, one on the gradient."""

from twotower_jax.cards.card import DRIFT, SLOPE, Card
from twotower_jax.cards.optimum import UNBOUNDED

GROUPS = {
    "head": "head items",
    "mid": "mid items",
    "tail": "tail items",
    "retrieved": "retrieved items",
    "own positives": "the user's own positives",
}


def optimum_sentence(card: Card) -> str:
    """One sentence on the optimum of an objective."""
    if card.moved:
        return f"The optimum is not {_target(card)}{_instead(card)}: {_moves(card)}."
    if card.banked:
        return (
            f"The optimum is {_target(card)}, but training does not follow this "
            "objective."
        )
    if card.resampled:
        return (
            "The optimum is log P + log w, as the resampling of positives intends: the "
            "negatives change the variance of the gradient alone."
        )
    return (
        "The optimum is log P: the samples change the variance of the gradient alone."
    )


def bank_sentence(card: Card) -> str:
    """One sentence on the push that a bank withholds from items."""
    if not card.banked:
        return ""
    return (
        f"Entries of the bank have {card.banked:.0%} of the push on items and pass no "
        "gradient, so that items are pushed less than this objective asks; lower "
        "negatives.bank.size."
    )


def gradient_sentence(card: Card) -> str:
    """One sentence on the variance of the gradient."""
    return (
        f"The variance of the gradient is {card.variance:.2f} times that of the full "
        f"softmax over the same rows, with {card.pairs:,} scored pairs per row; at "
        "equal cost it is lower than that of the full softmax for catalogues above "
        f"{card.break_even:,.0f} items."
    )


def _target(card: Card) -> str:
    return "log P + log w" if card.resampled else "log P"


def _instead(card: Card) -> str:
    """The fit of the optimum, where it differs from log P."""
    a, b = round(card.on_probability, 2), round(card.on_popularity, 2)
    if max(abs(a - 1), abs(b)) <= SLOPE or card.resampled:
        return ""
    return f" but about {_fit(card)}"


def _fit(card: Card) -> str:
    a, b = card.on_probability, card.on_popularity
    return f"{a:.2f} log P {'-' if b < 0 else '+'} {abs(b):.2f} log popularity"


def _moves(card: Card) -> str:
    """The groups that move the farthest up and the farthest down."""
    ranked = sorted(card.drift, key=lambda name: card.drift[name])
    ends = [name for name in (ranked[0], ranked[-1]) if abs(card.drift[name]) > DRIFT]
    if not ends:
        return f"its slope is {card.slope_target:.2f}"
    ends.sort(key=lambda name: -abs(card.drift[name]))
    return ", ".join(f"{GROUPS[name]} move {_nats(card.drift[name])}" for name in ends)


def _nats(value: float) -> str:
    if abs(value) > UNBOUNDED:
        return "up without bound" if value > 0 else "down without bound"
    return f"by {value:+.2f} nats"


def card_lines(card: Card) -> list[str]:
    """The card as lines of text."""
    fit = _fit(card)
    slopes = f"slope on log P {card.slope:.2f}"
    if card.resampled:
        slopes += f", on log P + log w {card.slope_target:.2f}"
    if card.constant is not None:
        fit += f" {card.constant:+.2f}"
    drift = "   ".join(f"{name} {value:+.2f}" for name, value in card.drift.items())
    lines = [
        f"optimum   {fit}   ({slopes})",
        f"drift     {drift}   (nats, error {card.error:.2f})",
        f"gradient  variance {card.variance:.2f} of the full softmax's per row, "
        f"{card.pairs:,} scored pairs per row",
        optimum_sentence(card),
        gradient_sentence(card),
    ]
    if card.banked:
        lines.append(bank_sentence(card))
    if card.scaled:
        lines.append(f"other values in the small world: {'; '.join(card.scaled)}")
    return lines

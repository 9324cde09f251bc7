"""The card of a loss from elsewhere: its optimum, its use of log q, and alarms."""

from dataclasses import dataclass

import numpy as np

from twotower_jax.evaluation.metrics import BUCKETS
from twotower_jax.evaluation.slices import popularity_buckets
from twotower_jax.objective.alarms import Findings, find_alarms, force_alarms
from twotower_jax.objective.batches import Layout, mean_slope
from twotower_jax.objective.black_box import BlackBox, Candidates
from twotower_jax.objective.catalogue import Catalogue
from twotower_jax.objective.loss_optimum import FreeOptimum

# Push on a draw of the own item, as a share of that in other rows, that counts.
HIT = 0.02


@dataclass(frozen=True)
class LossCard:
    """The optimum of a loss, for one user of a small catalogue.

    Attributes:
      slope: Slope of the optimum on log P(i | u), over common items.
      drift: {group: mean of the optimum minus log P, less the mean over common items}.
      error: Largest standard deviation of a drift over sets of draws.
      response: Derivative of the loss by a negative's log q, in units of that by its
        logit; -1 where log q is subtracted from the logit.
      positive_response: The same of the positive; 0 where it is not corrected.
      hits: Whether a draw that equals the positive is a negative of its row.
      alarms: Sentences on faults; none for a loss whose optimum is log P.
    """

    slope: float
    drift: dict[str, float]
    error: float
    response: float
    positive_response: float
    hits: bool
    alarms: tuple[str, ...]

    def __str__(self) -> str:
        """Return the card as lines of text."""
        drift = "   ".join(f"{name} {value:+.2f}" for name, value in self.drift.items())
        corrected = "corrected" if self.positive_response < -0.5 else "not corrected"
        hits = "negatives of their row" if self.hits else "masked"
        lines = [
            f"slope on log P  {self.slope:.2f}",
            f"drift           {drift}   (nats, error {self.error:.2f})",
            f"log q           response {self.response:+.2f}, right is -1; positives "
            f"are {corrected}",
            f"hits            draws equal to the positive are {hits}",
            *(f"ALARM: {alarm}" for alarm in self.alarms),
        ]
        if not self.alarms:
            lines.append("no alarm: the optimum is log P")
        return "\n".join(lines)


def loss_card(
    box: BlackBox,
    catalogue: Catalogue,
    layout: Layout,
    optimum: FreeOptimum,
    masks_hits: bool | None,
) -> LossCard:
    """The card of an optimum.

    Args:
      box: The loss.
      catalogue: The catalogue.
      layout: Batches for scores of log P, where the use of log q is measured.
      optimum: The optimum.
      masks_hits: Whether draws that equal the positive are meant to be masked.

    Returns:
      The card.
    """
    found = _findings(box, catalogue, layout, optimum.scores)
    start = np.log(catalogue.probability)
    groups = _groups(catalogue, layout).values()
    means = [[move[group].mean() for group in groups] for move in optimum.moves]
    items = np.flatnonzero(_common(catalogue, layout)).tolist()
    pushes = [mean_slope(box, layout.pushes(start, i), "scores") for i in items]
    strong = items[int(np.argmax(pushes))]
    own = mean_slope(box, layout.hits(start, strong), "scores")
    hits = abs(own) > HIT * max(pushes)
    # Finite differences over the jumps of a moved loss have signs without a meaning.
    alarms = find_alarms(found) or force_alarms(optimum.pull, optimum.push)
    if masks_hits and hits:
        alarms.append(
            "draws that equal the positive are negatives of their row: the mask has no "
            "effect"
        )
    return LossCard(
        slope=found.slope,
        drift=found.drift,
        error=float(np.std(means, axis=0).max()),
        response=_usual(found.response),
        positive_response=_response(box, layout.pulls(start, strong)),
        hits=hits,
        alarms=tuple(alarms),
    )


def _findings(
    box: BlackBox, catalogue: Catalogue, layout: Layout, scores: np.ndarray
) -> Findings:
    """Return the measurements of a loss at its optimum [N]."""
    log_p, common = np.log(catalogue.probability), _common(catalogue, layout)
    drift = scores - log_p
    drift = drift - drift[common].mean()
    x = log_p[common] - log_p[common].mean()
    groups = _groups(catalogue, layout)
    items = np.flatnonzero(np.isfinite(layout.expected))
    items = items[np.argsort(layout.log_q[items], kind="stable")].tolist()
    return Findings(
        slope=1 + float((x * drift[common]).sum() / (x * x).sum()),
        drift={name: float(drift[group].mean()) for name, group in groups.items()},
        log_q=layout.log_q[items],
        response=np.array([_response(box, layout.pushes(log_p, i)) for i in items]),
        error=layout.error[items],
        temperature=box.temperature,
    )


def _common(catalogue: Catalogue, layout: Layout) -> np.ndarray:
    """Return the items that are not rare and whose draws are known, [N] bool."""
    return ~catalogue.rare & np.isfinite(layout.expected)


def _groups(catalogue: Catalogue, layout: Layout) -> dict[str, np.ndarray]:
    """Return the items [N] bool of each group that has some."""
    common = _common(catalogue, layout)
    buckets = popularity_buckets(np.where(catalogue.rare, 0, catalogue.counts))
    groups = {name: common & (buckets == code) for code, name in enumerate(BUCKETS)}
    groups["rare"] = catalogue.rare & np.isfinite(layout.expected)
    return {name: group for name, group in groups.items() if group.any()}


def _response(box: BlackBox, batches: list[Candidates]) -> float:
    """Return the derivative by log q of the marked cells over that by their logits."""
    by_score = mean_slope(box, batches, "scores")
    return mean_slope(box, batches, "log_q") / by_score if by_score else np.nan


def _usual(response: np.ndarray) -> float:
    """Return the median response; nan where no negative has one."""
    return float(np.nanmedian(response)) if np.isfinite(response).any() else np.nan

"""`twotower_jax.audit`: the optimum of a loss function of any library."""

import numpy as np

from twotower_jax.errors import InputError, unknown
from twotower_jax.objective import batches
from twotower_jax.objective.batches import Sampler
from twotower_jax.objective.black_box import BlackBox, LossFunction
from twotower_jax.objective.loss_card import LossCard, find_free_optimum, loss_card


def audit(
    loss: LossFunction,
    *,
    negatives: str | Sampler = "popularity",
    draws: int = 64,
    temperature: float = 1.0,
    log_q: str = "probability",
    masks_hits: bool | None = None,
) -> LossCard:
    """The optimum of a loss function of any library, with alarms.

    The function is called as ``loss(scores, candidate_ids, log_q)`` with arrays of
    shape [B, C]: float32, int32 and float32, of JAX if it can be traced and of numpy
    otherwise. It returns one number, the mean or the sum over the rows. Column 0 holds
    the positive of each row, the other columns are the row's draws. With
    ``negatives="in_batch"`` the arrays are square, column b holds the positive of row
    b, and all rows have the same ids.

    Scores are those of the model, before the temperature. They are free, so that the
    objective alone decides the optimum, which should be log P(i | u) times the
    temperature, up to a constant. Finite differences, for a function that JAX cannot
    trace, see through a stopped gradient.

    Args:
      loss: The function.
      negatives: "popularity" or "uniform" draws, "in_batch", or a sampler: a function
        of counts [N], scores [N], shape and generator that returns ids of the shape,
        and the log q [N] that the library declares for every item.
      draws: Draws per row; not read in-batch, where rows have 63 negatives.
      temperature: Temperature by which the loss divides the scores.
      log_q: "probability" of one draw, or "count", the expected number in a row.
      masks_hits: Whether the loss is meant to mask draws of the positive, or None.

    Returns:
      The card. ``print`` shows it; ``alarms`` is empty where the optimum is log P.

    Raises:
      InputError: The function fails or does not return one finite number, or an
        argument is out of range.

    Examples:
      >>> import jax
      >>> def corrected(scores, candidate_ids, log_q):
      ...     return -jax.nn.log_softmax(scores / 0.1 - log_q)[:, 0].mean()
      >>> audit(corrected, temperature=0.1).alarms
      ()
    """
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise InputError(f"draws={draws!r} must be a whole number, at least 1")
    if not 0 < temperature < float("inf"):
        raise InputError(f"temperature={temperature!r} must be a number above 0")
    if log_q not in ("probability", "count"):
        raise unknown("log_q", log_q, ["probability", "count"])
    box = BlackBox(loss, temperature)
    # Rare items need the exact q of a sampler that knows the popularity.
    catalogue = batches.make_catalogue(rare=negatives in ("popularity", "in_batch"))

    def make(scores: np.ndarray, set_number: int) -> batches.Layout:
        number = batches.BATCH - 1 if negatives == "in_batch" else draws
        shift = float(np.log(number)) if log_q == "count" else 0.0
        if negatives == "in_batch":
            return batches.in_batch(catalogue, shift, set_number)
        proposal = batches.make_proposal(catalogue, negatives, scores)
        return batches.slots(catalogue, proposal, draws, shift, set_number)

    start = np.log(catalogue.probability)
    layout = make(start, 0)
    box.check(layout.batches(start, positive=0)[0])
    optimum = find_free_optimum(box, catalogue, make)
    return loss_card(box, catalogue, layout, optimum, masks_hits)

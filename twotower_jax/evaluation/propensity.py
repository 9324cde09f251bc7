"""Weights of the positives of a log by how rarely their items are shown.

Only an item that was shown can be clicked, so the held-out clicks overstate the items
that are shown often, and recall rewards an arm for preferring them. A click on item i
with the propensity p_i (the probability that the click was observed, given that the
user would click) stands for 1 / p_i clicks. A log does not contain p_i; here it is
proportional to a power of the item's clicks in training, p_i ∝ n_i^power.

References:
  Yang et al., Unbiased Offline Recommender Evaluation for Missing-Not-At-Random
  Implicit Feedback, RecSys 2018: the power of the clicks, there (gamma + 1) / 2 with
  gamma from 1.5 to 3, and weights that are normalised per user.
  Saito et al., Unbiased Recommender Learning from Missing-Not-At-Random Implicit
  Feedback, WSDM 2020: the power 1/2, and propensities that are clipped.
  Swaminathan & Joachims, The Self-Normalized Estimator for Counterfactual Learning,
  NeurIPS 2015.
"""

import numpy as np

from twotower_jax.evaluation.ragged import Ragged


def inverse_propensities(
    counts: np.ndarray, positives: Ragged, power: float, clip: float
) -> np.ndarray:
    """Weight of every item as a positive of a split, 1 on average.

      v_i = max(n_i, 1)^-power,   w_i ∝ min(v_i, clip * mean(v))

    The mean over the split is that of recall: over the positives of each query, then
    over the queries. It makes ``ips_recall`` a self-normalised estimate: a list that
    contains all positives has 1 on average over the queries, and equal weights give
    recall. Weights that are normalised within each query (Yang et al.) would all be 1
    where each query has one positive, as in leave-last-out. The price: a query whose
    relevant items are rarely shown counts more than others.

    Args:
      counts: [I] training interactions of each item; an item without one counts as 1.
      clip: largest weight in units of the mean, at least 1; the mean is taken before
        clipping, and the weights are normalised again after it.

    Returns:
      [I] float64.

    Examples:
      >>> positives = Ragged(np.array([0, 1, 2]), np.array([0, 1]))
      >>> inverse_propensities(np.array([9, 1]), positives, 0.5, 10.0).tolist()
      [0.5, 1.5]
      >>> inverse_propensities(np.array([9, 1]), positives, 0.5, 1.0).tolist()
      [0.6666666666666666, 1.3333333333333333]
    """
    weights = np.maximum(np.asarray(counts, np.float64), 1.0) ** -power
    weights = np.minimum(weights, clip * _mean(weights, positives))
    return weights / _mean(weights, positives)


def _mean(weights: np.ndarray, positives: Ragged) -> float:
    """Return the mean over queries of the mean over the positives of each query."""
    number = positives.sizes[positives.rows]
    queries = np.count_nonzero(positives.sizes)
    return float((weights[positives.items] / number).sum() / queries)

"""Sources of negatives: a choice is one file with its draws and its expected counts.

A source draws candidates and states how often to expect any item (`Source`). A
`Mixture` draws from several and corrects by the log of the sum of their counts, which
is exact whatever the sources are.
"""

import numpy as np

from twotower_jax.negatives.bank import CrossBatch
from twotower_jax.negatives.dns import BestOf, dns_log_prob
from twotower_jax.negatives.easy import Easy, EasyLaw, KnownLaw
from twotower_jax.negatives.expected_count import (
    log_effective,
    log_expected_count,
    log_frequency,
    log_inclusion,
)
from twotower_jax.negatives.frequency import Counted, Streamed
from twotower_jax.negatives.funnel import Funnel
from twotower_jax.negatives.in_batch import Catalogue, InBatch
from twotower_jax.negatives.masks import MASKS, RowMasks, user_positives
from twotower_jax.negatives.mined import Mined
from twotower_jax.negatives.mixture import CORRECTIONS, Draws, Mixture, Terms
from twotower_jax.negatives.proposals import PROPOSALS, Proposal, make_proposal
from twotower_jax.negatives.resampled import Resampled
from twotower_jax.negatives.slots import HARD_SOURCES, HardRatio, RowSlots
from twotower_jax.negatives.source import Batch, Keys, Shared, Slots, Source, Stored


def uniform_negatives(num: int, num_items: int) -> Easy:
    """Source of uniform draws from the catalogue, shared by all rows.

    Args:
      num: draws per batch.
      num_items: size of the catalogue.

    Examples:
      >>> uniform_negatives(256, 1000).num
      256
    """
    proposal = make_proposal("uniform", np.zeros(num_items))
    return Easy(EasyLaw(proposal, num_items), num)


def popular_negatives(num: int, clicks: np.ndarray, alpha: float = 0.75) -> Easy:
    """Source of draws by (clicks + 1)^alpha, shared by all rows.

    Args:
      num: draws per batch.
      clicks: [num_items] training positives of each item.
      alpha: exponent; .75 is that of word2vec.

    Examples:
      >>> popular_negatives(8, np.array([3, 0])).law.num_items
      2

    References:
      Mikolov et al., Distributed Representations of Words and Phrases and their
      Compositionality, NIPS 2013, section 2.2.
    """
    proposal = make_proposal("popularity", clicks, alpha=alpha)
    return Easy(EasyLaw(proposal, len(clicks)), num)


__all__ = [
    "CORRECTIONS",
    "HARD_SOURCES",
    "MASKS",
    "PROPOSALS",
    "Batch",
    "BestOf",
    "Catalogue",
    "Counted",
    "CrossBatch",
    "Draws",
    "Easy",
    "EasyLaw",
    "Funnel",
    "HardRatio",
    "InBatch",
    "Keys",
    "KnownLaw",
    "Mined",
    "Mixture",
    "Proposal",
    "Resampled",
    "RowMasks",
    "RowSlots",
    "Shared",
    "Slots",
    "Source",
    "Stored",
    "Streamed",
    "Terms",
    "dns_log_prob",
    "log_effective",
    "log_expected_count",
    "log_frequency",
    "log_inclusion",
    "make_proposal",
    "popular_negatives",
    "uniform_negatives",
    "user_positives",
]

"""Sources of negatives: a choice is one file with its draws and its expected counts.

A `Mixture` draws from any of them and corrects by the log of the sum of their counts.
"""

from typing import TYPE_CHECKING

from twotower_jax.lazy import lazy_exports
from twotower_jax.negatives.dns import BestOf, dns_log_prob
from twotower_jax.negatives.funnel import Funnel
from twotower_jax.negatives.hard import (
    HARD,
    Hard,
    HardDraws,
    HardInputs,
    HardRatio,
    HardStep,
    Pooled,
    RowSlots,
)
from twotower_jax.negatives.mined import Mined
from twotower_jax.negatives.resampled import Resampled
from twotower_jax.negatives.samplers import (
    EASY,
    LogUniform,
    Popularity,
    Sampler,
    Uniform,
)
from twotower_jax.negatives.source import (
    Batch,
    Dense,
    Keys,
    Listed,
    Shared,
    Slots,
    Source,
    Stored,
)

if TYPE_CHECKING:
    from twotower_jax.negatives.bank import CrossBatch
    from twotower_jax.negatives.easy import (
        Easy,
        EasyLaw,
        KnownLaw,
        Proposal,
        make_proposal,
        popular_negatives,
        uniform_negatives,
    )
    from twotower_jax.negatives.frequency import (
        Counted,
        Streamed,
        log_effective,
        log_expected_count,
        log_frequency,
    )
    from twotower_jax.negatives.in_batch import Catalogue, InBatch
    from twotower_jax.negatives.masks import RowMasks, user_positives
    from twotower_jax.negatives.mixture import CORRECTIONS, Draws, Mixture, Terms

# Imported on use: the choices above are read before JAX may be.
MODULES = {
    "bank": "CrossBatch",
    "easy": (
        "Easy EasyLaw KnownLaw Proposal make_proposal popular_negatives "
        "uniform_negatives"
    ),
    "frequency": ("Counted Streamed log_effective log_expected_count log_frequency"),
    "in_batch": "Catalogue InBatch",
    "masks": "RowMasks user_positives",
    "mixture": "CORRECTIONS Draws Mixture Terms",
}
__getattr__ = lazy_exports(__name__, MODULES)

"""The optimum of any loss of samples, of this package or of another library.

Free scores take the place of the towers in a small catalogue with known click
probabilities. `audit` finds the scores at which the loss is smallest, and says by how
much they differ from the log of the probabilities.
"""

from typing import TYPE_CHECKING

from twotower_jax.registry import lazy_exports

if TYPE_CHECKING:
    from twotower_jax.objective.alarms import Findings, find_alarms, force_alarms
    from twotower_jax.objective.batches import InBatch, Slots
    from twotower_jax.objective.black_box import BlackBox
    from twotower_jax.objective.catalogue import (
        Catalogue,
        Proposal,
        make_catalogue,
        make_proposal,
    )
    from twotower_jax.objective.loss_audit import audit
    from twotower_jax.objective.loss_card import LossCard
    from twotower_jax.objective.loss_optimum import FreeOptimum, find_free_optimum

__all__ = [
    "BlackBox",
    "Catalogue",
    "Findings",
    "FreeOptimum",
    "InBatch",
    "LossCard",
    "Proposal",
    "Slots",
    "audit",
    "find_alarms",
    "find_free_optimum",
    "force_alarms",
    "make_catalogue",
    "make_proposal",
]

MODULES = {
    "alarms": ("Findings", "find_alarms", "force_alarms"),
    "batches": ("InBatch", "Slots"),
    "black_box": ("BlackBox",),
    "catalogue": ("Catalogue", "Proposal", "make_catalogue", "make_proposal"),
    "loss_audit": ("audit",),
    "loss_card": ("LossCard",),
    "loss_optimum": ("FreeOptimum", "find_free_optimum"),
}
__getattr__ = lazy_exports(__name__, MODULES)

"""The optimum of any loss of samples, of this package or of another library.

Free scores take the place of the towers in a small catalogue with known click
probabilities. `audit` finds the scores at which the loss is smallest, and says by how
much they differ from the log of the probabilities.
"""

from typing import TYPE_CHECKING

from twotower_jax.registry import lazy_exports

if TYPE_CHECKING:
    from twotower_jax.objective.batches import (
        Catalogue,
        InBatch,
        Proposal,
        Slots,
        make_catalogue,
        make_proposal,
    )
    from twotower_jax.objective.black_box import BlackBox
    from twotower_jax.objective.loss_audit import audit
    from twotower_jax.objective.loss_card import (
        Findings,
        FreeOptimum,
        LossCard,
        find_alarms,
        find_free_optimum,
        force_alarms,
    )

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
    "batches": "Catalogue InBatch Proposal Slots make_catalogue make_proposal",
    "black_box": "BlackBox",
    "loss_audit": "audit",
    "loss_card": (
        "Findings FreeOptimum LossCard find_alarms find_free_optimum force_alarms"
    ),
}
__getattr__ = lazy_exports(__name__, MODULES)

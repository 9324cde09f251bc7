"""The optimum of any loss of samples, of this package or of another library.

Free scores take the place of the towers in a small catalogue with known click
probabilities; `audit` compares the optimum with their log.
"""

from twotower_jax.objective.loss_audit import audit
from twotower_jax.objective.loss_card import LossCard

__all__ = ["LossCard", "audit"]

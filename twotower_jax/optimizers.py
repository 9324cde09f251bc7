"""Optimizers: the choices of ``optimizer=``, each an elementwise optax transformation.

Dense parameters and gathered rows of tables are both updated by it, see
`twotower_jax.training.updates`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from twotower_jax.lazy import optax
from twotower_jax.registry import Choice, Choices, key

OPTIMIZERS: Choices[Optimizer] = Choices("optimizer.name")


@dataclass(unsafe_hash=True)
class Optimizer(Choice):
    """An update rule of tables and dense parameters."""

    choices: ClassVar[Choices[Optimizer]] = OPTIMIZERS
    # whether a step updates all rows of the tables, not its batch's alone
    every_row: ClassVar[bool] = False

    name: str = ""
    learning_rate: float = key(0.01, above=0, doc="learning rate at the first step")
    l2: float = key(
        0.0,
        low=0,
        doc="L2 penalty per example, of the table rows of its query and "
        "positive; negatives have none; 0: no penalty",
        example="1.0e-5",
    )
    decay: bool = key(
        False,
        traced=False,
        doc="let the learning rate fall linearly to 0 at the last step",
    )

    def transformation(self) -> optax.GradientTransformation:
        """The update without the learning rate: elementwise, of an optax."""
        raise NotImplementedError


@OPTIMIZERS.add
@dataclass(unsafe_hash=True)
class Adagrad(Optimizer):
    """Adagrad, row-sparse on the tables; equal to dense Adagrad.

    References:
      Duchi et al., Adaptive subgradient methods, JMLR 2011.
    """

    name: str = "adagrad"
    learning_rate: float = key(0.2, above=0, doc="learning rate at the first step")
    initial_accumulator: float = key(0.1, low=0, doc="initial sum of squared gradients")
    eps: float = key(
        1e-7, above=0, doc="added to the denominator of an update", example="1.0e-6"
    )

    def transformation(self) -> optax.GradientTransformation:
        """Division by the root of the sum of squared gradients."""
        return optax.scale_by_rss(self.initial_accumulator, self.eps)


@OPTIMIZERS.add
@dataclass(unsafe_hash=True)
class Adam(Optimizer):
    """Adam, lazy on the tables: rows outside the batch and their moments stay.

    References:
      Kingma & Ba, Adam: a method for stochastic optimization, ICLR 2015.
    """

    name: str = "adam"
    eps: float = key(
        1e-8, above=0, doc="added to the denominator of an update", example="1.0e-6"
    )
    b1: float = key(0.9, low=0, high=1, doc="decay of the first moment")
    b2: float = key(0.999, low=0, high=1, doc="decay of the second moment")

    def transformation(self) -> optax.GradientTransformation:
        """Mean of the gradient over the root of its mean square."""
        return optax.scale_by_adam(self.b1, self.b2, self.eps)


@OPTIMIZERS.add
@dataclass(unsafe_hash=True)
class AdamDense(Adam):
    """Adam that moves every row of the tables in every step, as PyTorch does; slow."""

    name: str = "adam_dense"
    every_row: ClassVar[bool] = True
    learning_rate: float = key(0.001, above=0, doc="learning rate at the first step")


@OPTIMIZERS.add
@dataclass(unsafe_hash=True)
class Sgd(Optimizer):
    """Plain gradient descent."""

    name: str = "sgd"

    def transformation(self) -> optax.GradientTransformation:
        """The gradient itself."""
        return optax.identity()

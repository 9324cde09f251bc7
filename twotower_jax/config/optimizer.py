"""Section ``optimizer``: the update of tables and dense parameters."""

from dataclasses import dataclass

from twotower_jax.config.schema import check_keys, key


@dataclass(unsafe_hash=True)
class OptimizerConfig:
    """The optimizer of the tables, row-sparse but for adam_dense, and of the layers."""

    name: str = key(
        "adam",
        doc="update rule; `optimizer=NAME` sets it and its learning rate",
        example="optimizer=adagrad",
    )
    learning_rate: float = key(
        0.01,
        above=0,
        doc="learning rate at the first step",
        example="0.003",
    )
    initial_accumulator: float = key(
        0.1,
        low=0,
        doc="adagrad: initial sum of squared gradients",
        example="optimizer=adagrad optimizer.initial_accumulator=0.01",
    )
    eps: float = key(
        1e-8,
        above=0,
        doc="added to the denominator of an update",
        example="1.0e-6",
    )
    b1: float = key(
        0.9,
        low=0,
        high=1,
        doc="adam: decay of the first moment",
        example="0.5",
    )
    b2: float = key(
        0.999,
        low=0,
        high=1,
        doc="adam: decay of the second moment",
        example="0.99",
    )
    l2: float = key(
        0.0,
        low=0,
        doc="L2 penalty per example, of the table rows of its query and "
        "positive; negatives have none; 0: no penalty",
        example="1.0e-5",
    )
    decay: bool = key(
        False, doc="let the learning rate fall linearly to 0 at the last step"
    )

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "optimizer")

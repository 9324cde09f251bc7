"""Section ``loss.two_way``: the softmax of the batch's users for each item."""

from dataclasses import dataclass

from twotower_jax.config.schema import check_keys, key


@dataclass(unsafe_hash=True)
class TwoWayConfig:
    """The in-batch softmax from items to users, beside that from users to items."""

    weight: float = key(
        0.0,
        low=0,
        doc="weight of the softmax over the users of the batch for each item; 0: none",
        example="loss.two_way.weight=1",
    )
    correct: str = key(
        "none",
        choices=("none", "users"),
        doc="correction of that softmax; users: by their shares of the positives",
        example="loss.two_way.weight=1 loss.two_way.correct=users",
    )

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "loss.two_way")

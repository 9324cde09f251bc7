"""Section ``loss.self_supervised``: two views of an item should be near each other."""

from dataclasses import dataclass

from twotower_jax.config.schema import check_keys, key


@dataclass(unsafe_hash=True)
class SelfSupervisedConfig:
    """The softmax from one view of an item to the other, on uniform items."""

    weight: float = key(
        0.0,
        low=0,
        doc="weight of the softmax between two views of an item, each of which shows "
        "half of its features; 0: none",
        example="loss.self_supervised.weight=0.1",
    )
    num: int = key(
        1024,
        low=2,
        doc="items per step, drawn uniformly from the catalogue",
        example="loss.self_supervised.weight=0.1 loss.self_supervised.num=256",
    )
    temperature: float = key(
        0.1,
        above=0,
        doc="divides the cosine of two views",
        example="loss.self_supervised.weight=0.1 loss.self_supervised.temperature=0.2",
    )

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "loss.self_supervised")

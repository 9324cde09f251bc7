"""Section ``towers``: the two towers."""

from dataclasses import dataclass

from twotower_jax.config.schema import check_keys, key
from twotower_jax.errors import InputError


@dataclass(unsafe_hash=True)
class TowersConfig:
    """The two towers: their features, width and depth."""

    kind: str = key("two_tower", doc="kind of model")
    dim: int = key(64, low=1, doc="dimension of the embeddings")
    hidden: tuple[int, ...] = key(
        (), low=1, doc="widths of the hidden layers; []: sum of the features"
    )
    query: tuple[str, ...] = key(
        (),
        doc="features of the query: id, history, and those of the data; []: chosen "
        "from the data",
    )
    candidate: tuple[str, ...] = key(
        (),
        doc="features of the candidate: id, and those of the data; []: all of them",
    )
    history_length: int = key(20, low=1, doc="last clicks in the feature history")
    history_pooling: str = key(
        "mean",
        choices=("mean", "recency", "attention"),
        doc="vector of a history from those of its items: their mean; a mean with "
        "weights 2^(-place / history_half_life), place 0 the latest; softmax attention "
        "of a learned vector",
    )
    history_half_life: float = key(
        5.0,
        above=0,
        doc="places after which the weight of an item has halved (recency)",
    )
    history_table: str = key(
        "own",
        choices=("own", "shared"),
        doc="tables of the items of a history: their own, or shared with the candidate "
        "tower",
    )
    history_features: tuple[str, ...] = key(
        ("id",), doc="features of an item of a history: id, and those of the items"
    )
    normalize: bool = key(True, doc="divide embeddings by their L2 norm")
    init_scale: float = key(
        0.05, above=0, doc="initial tables are uniform in [-init_scale, init_scale]"
    )

    def __post_init__(self) -> None:
        """Check each value, then the features."""
        check_keys(self, "towers")
        for side in ("query", "candidate"):
            names = getattr(self, side)
            if len(set(names)) < len(names):
                raise InputError(
                    f"towers.{side}={list(names)} must name each feature once"
                )
        names = self.history_features
        if not names or len(set(names)) < len(names):
            raise InputError(
                f"towers.history_features={list(names)} must name at least one "
                "feature, each once"
            )
        if "history" in self.candidate:
            raise InputError(
                "towers.candidate names 'history', which is a feature of the query; "
                "move it to towers.query"
            )

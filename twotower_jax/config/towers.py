"""Section ``towers``: the two towers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twotower_jax.errors import InputError
from twotower_jax.registry import check_keys, key, section


def reads_history(values: Mapping[str, Any]) -> bool:
    """Return whether a history is, or may become, a feature of the query."""
    return not values["towers.query"] or "history" in values["towers.query"]


def _pools_by(pooling: str) -> Callable[[Mapping[str, Any]], bool]:
    """Return whether histories are pooled in one way."""
    return lambda v: reads_history(v) and v["towers.history_pooling"] == pooling


@dataclass(unsafe_hash=True)
class SequenceConfig:
    """The transformer of the pooling ``transformer``."""

    layers: int = key(
        2,
        low=1,
        doc="layers of attention and feed-forward part",
        example="towers=sequence towers.sequence.layers=1",
    )
    heads: int = key(
        1,
        low=1,
        doc="attention heads; their number divides towers.dim",
        example="towers=sequence towers.sequence.heads=2",
    )
    dropout: float = key(
        0.2,
        low=0,
        high=0.9,
        doc="share of the numbers within the transformer that are set to 0, anew in "
        "each step of the training; 0: none",
        example="towers=sequence towers.sequence.dropout=0.5",
    )
    longer: str = key(
        "refuse",
        choices=("refuse", "newest"),
        doc="training sequences longer than history_length: refuse the log, or train "
        "on the newest positives of each and count the others",
        example="towers=sequence towers.sequence.longer=newest",
    )

    def __post_init__(self) -> None:
        """Check each value."""
        check_keys(self, "towers.sequence")


@dataclass(unsafe_hash=True)
class TowersConfig:
    """The two towers: their features, width and depth."""

    kind: str = key(
        "two_tower",
        doc="model: two towers, or a baseline without towers",
        example="towers=ease",
    )
    dim: int = key(
        64,
        low=1,
        doc="dimension of the embeddings",
        example="128",
    )
    hidden: tuple[int, ...] = key(
        (),
        low=1,
        doc="widths of the hidden layers; []: sum of the features",
        example="towers=mlp towers.hidden=[256,128]",
    )
    query: tuple[str, ...] = key(
        (),
        doc="features of the query: id, history, and those of the data; []: chosen "
        "from the data",
        example="[id,history]",
    )
    candidate: tuple[str, ...] = key(
        (),
        doc="features of the candidate: id, and those of the data; []: all of them",
        example="[id]",
    )
    history_length: int = key(
        20,
        low=1,
        decides=reads_history,
        doc="last clicks of the user in the feature history",
        example="towers=history towers.history_length=50",
    )
    history_pooling: str = key(
        "mean",
        choices=("mean", "recency", "attention", "transformer"),
        decides=reads_history,
        doc="vector of a history from those of its items: their mean; a mean with "
        "weights 2^(-place / history_half_life), place 0 the latest; softmax attention "
        "of a learned vector; the newest place of a causal transformer, which reads "
        "them in their order",
    )
    history_half_life: float = key(
        5.0,
        above=0,
        decides=_pools_by("recency"),
        doc="places after which the weight of an item has halved (recency)",
        example="towers=history towers.history_pooling=recency "
        "towers.history_half_life=10",
    )
    history_table: str = key(
        "own",
        choices=("own", "shared"),
        decides=reads_history,
        doc="tables of the items of a history: their own, or shared with the candidate "
        "tower",
    )
    history_features: tuple[str, ...] = key(
        ("id",),
        decides=reads_history,
        doc="features of an item of a history: id, and those of the items",
        example="[id,category]",
    )
    sequence: SequenceConfig = section(SequenceConfig, decides=_pools_by("transformer"))
    normalize: bool = key(
        True,
        doc="divide embeddings by their L2 norm: cosines; false: dot products",
        example="towers.normalize=false loss.temperature=1",
    )
    query_dropout: float = key(
        0.0,
        low=0,
        high=0.9,
        doc="share of the numbers of a query embedding that are set to 0, anew in each "
        "step of the training; 0: none",
        example="0.1",
    )
    init: str = key(
        "random",
        choices=("random", "spectral"),
        doc="start of the tables of ids and histories: random, or singular vectors of "
        "the training clicks (spectral), with which large logs need fewer steps",
        example="towers=factors towers.init=spectral",
    )
    init_scale: float = key(
        0.05,
        above=0,
        doc="initial tables are uniform in [-init_scale, init_scale]",
        example="0.01",
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
        self._check_sequence()
        self._check_init()
        if "history" in self.candidate:
            raise InputError(
                "towers.candidate names 'history', which is a feature of the query; "
                "move it to towers.query"
            )

    def _check_init(self) -> None:
        """Check that spectral vectors have tables, and are the embeddings at first."""
        if self.init != "spectral":
            return
        if self.hidden or self.history_pooling == "transformer":
            layers = (
                f"towers.hidden={list(self.hidden)}"
                if self.hidden
                else "towers.history_pooling=transformer"
            )
            raise InputError(
                f"towers.init=spectral starts with embeddings whose cosines fit the "
                f"clicks, which {layers} would transform; use towers.init=random, or "
                "towers without layers such as towers=factors"
            )
        for side, names in (("query", ("id", "history")), ("candidate", ("id",))):
            own = getattr(self, side)
            if own and not set(names) & set(own):
                raise InputError(
                    f"towers.init=spectral fills the tables of {' and '.join(names)}, "
                    f"and towers.{side}={list(own)} has none; use towers.init=random"
                )

    def _check_sequence(self) -> None:
        """Check the transformer, and that nothing is set for one that is not there."""
        if self.history_pooling != "transformer":
            if self.sequence != SequenceConfig():
                raise InputError(
                    f"towers.sequence={_changed(self.sequence)} has no use with "
                    f"towers.history_pooling={self.history_pooling}; set it to "
                    "transformer (towers=sequence), or leave towers.sequence out"
                )
            return
        if self.dim % self.sequence.heads:
            raise InputError(
                f"towers.sequence.heads={self.sequence.heads} does not divide "
                f"towers.dim={self.dim}; give each head a whole number of dimensions"
            )
        if self.query and "history" not in self.query:
            raise InputError(
                f"towers.history_pooling=transformer reads the history, which "
                f"towers.query={list(self.query)} does not name; add history, or set "
                "towers.history_pooling=mean"
            )


def _changed(section: SequenceConfig) -> dict[str, float]:
    """Return the keys of a section that differ from their defaults."""
    default = vars(SequenceConfig())
    return {name: v for name, v in vars(section).items() if v != default[name]}

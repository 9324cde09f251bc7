"""The base of all towers: what a model asks of one, and the keys they share.

The model looks up and pools the rows of every feature before a tower, and normalises
the embedding after it. A baseline has no towers: it scores items from the clicks alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

from twotower_jax.errors import InputError
from twotower_jax.lazy import jax, np
from twotower_jax.registry import Choice, Choices, check_keys, key, keys_of, section

# A `scipy.sparse.csr_array`, of which a type checker infers wrong types.
Clicks = Any
Scores = Callable[[Clicks], "np.ndarray"]

TOWERS: Choices[Towers] = Choices("towers.kind", common=True)
BASELINES: Choices[Baseline] = Choices("towers.kind")
B = TypeVar("B", bound="Baseline")


class Tower(NamedTuple):
    """A tower: two pure functions."""

    init: Callable[[jax.Array], dict]  # key -> nested dictionary of float32 arrays
    # (params, vectors) -> embeddings [E, dim], of one float32 [E, dim] per feature,
    # numeric features last; 0 where a value is missing
    apply: Callable[..., jax.Array]


def reads_history(values: Mapping[str, Any]) -> bool:
    """Return whether a history is, or may become, a feature of the query."""
    return not values["towers.query"] or "history" in values["towers.query"]


def _pools_by(pooling: str) -> Callable[[Mapping[str, Any]], bool]:
    """Return whether histories are pooled in one way."""
    return lambda v: reads_history(v) and v["towers.history_pooling"] == pooling


@keys_of("towers.sequence", words="towers=sequence")
class SequenceConfig:
    """The transformer of the pooling ``transformer``."""

    layers: int = key(2, low=1, doc="layers of attention and feed-forward part")
    heads: int = key(1, low=1, doc="attention heads; their number divides towers.dim")
    dropout: float = key(
        0.2,
        low=0,
        high=0.9,
        doc="share of the numbers within the transformer that are set to 0, anew in "
        "each step of the training; 0: none",
    )
    longer: str = key(
        "refuse",
        choices=("refuse", "newest"),
        doc="training sequences longer than history_length: refuse the log, or train "
        "on the newest positives of each and count the others",
        example="newest",
    )


@dataclass(unsafe_hash=True)
class Towers(Choice):
    """The model: two towers with their features, width and depth, or a baseline.

    A subclass is a choice of ``towers=`` with its own keys, registered by
    ``@TOWERS.add``.
    """

    choices: ClassVar[Choices[Towers]] = TOWERS

    kind: str = ""
    dim: int = key(64, low=1, doc="dimension of the embeddings")
    hidden: tuple[int, ...] = key(
        (),
        low=1,
        doc="widths of the hidden layers; []: sum of the features",
        example="[256,128]",
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
        example="spectral",
    )
    init_scale: float = key(
        0.05, above=0, doc="initial tables are uniform in [-init_scale, init_scale]"
    )

    def build(self, shape: Any) -> Tower:
        """One tower of a `TowerSpec`; fields but the choice's own keys are defaults."""
        raise NotImplementedError

    def of_its_kind(self) -> Towers:
        """The choice that ``kind`` names, with the features of this one.

        The file of an arm, such as ``arms=baseline/ease``, names another model by it.
        """
        kind, shared = TOWERS[self.kind], dataclasses.fields(Towers)
        if type(self) is kind:
            return self
        return kind(**{item.name: getattr(self, item.name) for item in shared})

    def structure(self) -> Towers:
        """The choice with the keys that its class adds, all others by default."""
        return type(self)(**{name: getattr(self, name) for name in self.own_keys()})

    def own_keys(self) -> list[str]:
        """The keys that the class adds to those of all towers."""
        shared = {item.name for item in dataclasses.fields(Towers)}
        names = (item.name for item in dataclasses.fields(self))
        return [name for name in names if name not in shared]

    def __post_init__(self) -> None:
        self.kind = self.kind or "two_tower"  # a file of the group may name none
        TOWERS[self.kind]  # an unknown name
        check_keys(self, "towers")
        for side in ("query", "candidate", "history_features"):
            names, least = getattr(self, side), side == "history_features"
            if len(set(names)) < max(len(names), least):
                what = "at least one feature, each" if least else "each feature"
                raise InputError(f"towers.{side}={list(names)} must name {what} once")
        self._check_sequence()
        if self.init == "spectral":
            self._check_spectral()
        if "history" in self.candidate:
            raise InputError(
                "towers.candidate names 'history', which is a feature of the query; "
                "move it to towers.query"
            )

    def _check_spectral(self) -> None:
        """Check that spectral vectors have tables, and are the embeddings at first."""
        if self.hidden or self.history_pooling == "transformer":
            layers = "towers.history_pooling=transformer"
            if self.hidden:
                layers = f"towers.hidden={list(self.hidden)}"
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
            default, values = vars(SequenceConfig()), vars(self.sequence)
            if changed := {k: v for k, v in values.items() if v != default[k]}:
                raise InputError(
                    f"towers.sequence={changed} has no use with "
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


@dataclass(unsafe_hash=True)
class Baseline(Towers):
    """Base of the baselines, added by ``@baseline``: scores from the clicks alone."""

    label: ClassVar[str] = ""  # its name in tables
    shared: ClassVar[bool] = False  # whether every query has the same scores
    seeded: ClassVar[bool] = False  # whether the fit depends on the seed
    again: ClassVar[bool] = False  # whether it recommends the items of the history

    def fit(self, clicks: Clicks, numbers: Any, seed: int) -> Scores:
        """Scores of histories [n, items] -> [n, items] float32, from clicks of users.

        ``numbers`` is its part of the section ``baseline``; None where it has none.
        """
        raise NotImplementedError

    def excess(self, clicks: Clicks, numbers: Any) -> str | None:
        """The limit, or the memory, that a fit would exceed; None within it."""
        return None

    @staticmethod
    def seconds(clicks: Clicks) -> float:
        """Expected seconds of a fit; 0 where ``excess`` limits them."""
        return 0.0


def baseline(choice: type[B]) -> type[B]:
    """Register a baseline as a choice of ``towers=``."""
    BASELINES.add(choice)
    return TOWERS.add(choice)


def baselines_for(mask_seen: bool) -> list[str]:
    """Names of the baselines that can recommend anything of their own."""
    return [kind for kind, of in BASELINES.items() if not (of.again and mask_seen)]


# --- clicks as a sparse matrix --------------------------------------------------------


def click_matrix(user: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> Clicks:
    """Return the number of clicks of each pair."""
    from scipy.sparse import csr_array  # on use: a sixth of a second of every start

    matrix = csr_array((np.ones(len(user)), (user, item)), shape=shape)
    matrix.sum_duplicates()
    return matrix


def binary(clicks: Clicks) -> Clicks:
    """Return the matrix with 1 for every pair that has a click."""
    ones = np.ones_like(clicks.data)
    return type(clicks)((ones, clicks.indices, clicks.indptr), shape=clicks.shape)

"""Towers, optimizer, training and evaluation."""

from dataclasses import dataclass

from twotower_jax.config.checks import choice, in_range, positive
from twotower_jax.config.sampling import STAGES
from twotower_jax.errors import InputError


@dataclass(unsafe_hash=True)
class TowersConfig:
    """The two towers: their features, width and depth."""

    kind: str = "two_tower"
    dim: int = 64
    hidden: tuple[int, ...] = (128,)
    query: tuple[str, ...] = ("id",)
    candidate: tuple[str, ...] = ("id",)
    history_length: int = 20
    normalize: bool = True
    init_scale: float = 0.05

    def __post_init__(self) -> None:
        """Check ranges; lists from YAML become tuples, so that it stays hashable."""
        self.hidden = tuple(self.hidden)
        self.query = tuple(self.query)
        self.candidate = tuple(self.candidate)
        in_range("towers.dim", self.dim, 1)
        in_range("towers.history_length", self.history_length, 1)
        positive("towers.init_scale", self.init_scale)
        for width in self.hidden:
            in_range("towers.hidden", width, 1)
        for side in ("query", "candidate"):
            names = getattr(self, side)
            if not names or len(set(names)) < len(names):
                raise InputError(
                    f"towers.{side}={list(names)} must name one or more features, "
                    "each once"
                )
        if "history" in self.candidate:
            raise InputError(
                "towers.candidate names 'history', which is a feature of the query; "
                "move it to towers.query"
            )


@dataclass(unsafe_hash=True)
class OptimizerConfig:
    """The optimizer of the tables (row-sparse) and of the dense part (optax)."""

    name: str = "adagrad"
    learning_rate: float = 0.05
    initial_accumulator: float = 0.1
    eps: float = 1e-7
    b1: float = 0.9
    b2: float = 0.999
    l2: float = 0.0
    decay: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        positive("optimizer.learning_rate", self.learning_rate)
        in_range("optimizer.initial_accumulator", self.initial_accumulator, 0)
        positive("optimizer.eps", self.eps)
        in_range("optimizer.b1", self.b1, 0, 1)
        in_range("optimizer.b2", self.b2, 0, 1)
        in_range("optimizer.l2", self.l2, 0)


@dataclass(unsafe_hash=True)
class TrainingConfig:
    """How long, in which steps, and when to look, save and stop."""

    batch_size: int = 1024
    epochs: int = 10
    steps: int | None = None
    steps_per_dispatch: int = 8
    eval_every: int | None = None
    checkpoint_every: int | None = None
    patience: int = 0
    metric: str = "recall@20"
    merge_columns: bool = True
    devices: int = 1

    def __post_init__(self) -> None:
        """Check ranges."""
        in_range("training.batch_size", self.batch_size, 2)
        in_range("training.epochs", self.epochs, 0)
        in_range("training.steps_per_dispatch", self.steps_per_dispatch, 1)
        in_range("training.patience", self.patience, 0)
        in_range("training.devices", self.devices, 1)
        if self.batch_size % self.devices:
            raise InputError(
                f"training.batch_size={self.batch_size} is no multiple of "
                f"training.devices={self.devices}; its rows are spread evenly"
            )
        for name, low in (("steps", 0), ("eval_every", 1), ("checkpoint_every", 1)):
            if getattr(self, name) is not None:
                in_range(f"training.{name}", getattr(self, name), low)


@dataclass(unsafe_hash=True)
class EvaluationConfig:
    """Exact evaluation over the whole catalogue.

    Attributes:
      k: cutoffs.
      test: evaluate on the test split; false leaves it alone, and only valid counts.
      save_topk: write the lists.
      truth: compare to the truth as well, where the data knows it (the simulator).
      uniform_exposures: items shown to each user at random for uniform_recall@k, which
        needs the truth too; 0 for none.
      auc: what the positives of a query are told from, for auc@NAME: "uniform" (items
        of the whole catalogue) and stages of the funnel, in the same requests.
      subtract_log_q: serve by the corrected logit instead of the plain score; wrong,
        and here to show it.
    """

    k: tuple[int, ...] = (10, 20, 50, 100)
    test: bool = True
    save_topk: bool = False
    truth: bool = True
    uniform_exposures: int = 0
    auc: tuple[str, ...] = ()
    subtract_log_q: bool = False

    def __post_init__(self) -> None:
        """Check ranges; lists from YAML become tuples."""
        self.k, self.auc = tuple(self.k), tuple(self.auc)
        in_range("evaluation.uniform_exposures", self.uniform_exposures, 0)
        for name in self.auc:
            choice("evaluation.auc", name, ("uniform", *STAGES))
        if not self.k or len(set(self.k)) < len(self.k):
            raise InputError(
                f"evaluation.k={list(self.k)} must name cutoffs, each once"
            )
        for cutoff in self.k:
            in_range("evaluation.k", cutoff, 1)

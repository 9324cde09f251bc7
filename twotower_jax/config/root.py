"""The whole configuration: its sections and their combinations.

Plain dataclasses, standard library only. Hydra uses them as the schema of the
``conf`` tree, which refuses unknown keys and wrong types; values are checked in
``__post_init__`` of the sections, and combinations of sections in
``Config.__post_init__``. The dataclasses are hashable and are treated as immutable.
"""

import os
from dataclasses import dataclass, field, replace

from twotower_jax.config.evaluation import EvaluationConfig
from twotower_jax.config.training import TrainingConfig
from twotower_jax.data.config import DataConfig
from twotower_jax.errors import InputError
from twotower_jax.losses import LOSSES, Loss, SampledSoftmax
from twotower_jax.model.towers import (
    TOWERS,
    EaseConfig,
    IalsConfig,
    ItemKnnConfig,
    Towers,
    TwoTower,
)
from twotower_jax.negatives import EASY, HARD
from twotower_jax.negatives.config import NegativesConfig
from twotower_jax.optimizers import OPTIMIZERS, Adam, Optimizer
from twotower_jax.positives import POSITIVES, AllOnce, Positives
from twotower_jax.registry import check_inside, key, keys_of, section

# The default of ``name``: Hydra resolves it, and so does ``Config``.
SOURCE_NAME = "${data.source}"
# Sections that hold one of several choices, each with keys of its own, by dotted name.
FAMILIES = {
    family.section: family
    for family in (LOSSES, OPTIMIZERS, POSITIVES, TOWERS, EASY, HARD)
}
# Keys of names, places and further records, which decide no number of the run.
LABELS = ("name", "output", "arm", "trackers", "baselines", "pause")


@dataclass(unsafe_hash=True)
class BaselineConfig:
    """The numbers of baselines, each in the file of its baseline."""

    item_knn: ItemKnnConfig = field(default_factory=ItemKnnConfig)
    ease: EaseConfig = field(default_factory=EaseConfig)
    ials: IalsConfig = field(default_factory=IalsConfig)


@keys_of("")
class Config:
    """One run. Its hash names the run's folder."""

    name: str = key(
        SOURCE_NAME,
        doc="folder below `output` of comparable runs, also the name of the study",
        example="first_try",
    )
    output: str = key(
        "outputs",
        doc="folder of all runs, relative to that in which the command starts",
        example="runs",
    )
    arm: str | None = key(
        None,
        doc="label of the run in tables and figures; null: named by the keys in "
        "which it differs",
        example="'arm=half hard' negatives=half_hard",
    )
    seed: int = key(
        0,
        low=0,
        high=2**31 - 1,
        doc="seed of initialisation, order and draws; not of the data or its split",
        example="1",
    )
    data: DataConfig = field(default_factory=DataConfig)
    positives: Positives = field(default_factory=AllOnce)
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    loss: Loss = field(default_factory=SampledSoftmax)
    towers: Towers = field(default_factory=TwoTower)
    optimizer: Optimizer = field(default_factory=Adam)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    # No tower is trained with the numbers of baselines.
    baseline: BaselineConfig = section(BaselineConfig, decides=False)
    baselines: bool = key(
        False,
        doc="also fit item-kNN, EASE, iALS and, with data.mask_seen=false, buy again, "
        "beside the run or as arms of a sweep",
    )
    pause: int | None = key(
        None,
        low=1,
        doc="step after whose next validation the run pauses, without a test; "
        "the same command with a later step goes on; null: to the end",
        example="pause=500 training.eval_every=250",
    )
    trackers: tuple[str, ...] = key(
        (),
        doc="tools that also record the metrics: tensorboard, mlflow, wandb; []: none",
        example="[tensorboard]",
    )

    def __post_init__(self) -> None:
        self.output = os.path.expanduser(self.output)
        if self.name == SOURCE_NAME:
            self.name = self.data.source  # checked with the names of sources
        else:
            check_inside("name", self.name)
        self.towers = self.towers.of_its_kind()
        self._name_weight()
        if not self.loss.whole_catalogue:
            self._check_negatives()
            self._check_bank()
            self._check_correction()
        self.loss.check(self)
        update = self.training.update
        if update is not None and self.training.patience and self.data.fit_valid:
            raise InputError(
                f"training.patience={self.training.patience} needs a validation set, "
                f"but data.fit_valid=true trains on it, and training.update={update} "
                "is one pass; set training.patience=0"
            )
        if self.training.start_from is not None and self.towers.init != "random":
            raise InputError(
                f"towers.init={self.towers.init} and training.start_from="
                f"{self.training.start_from} are two starts of the same tables; leave "
                "one of them out"
            )
        exposures, items = self.evaluation.uniform_exposures, self.data.simulator.items
        if self.data.source == "simulator" and exposures > items:
            raise InputError(
                f"evaluation.uniform_exposures={exposures} items are shown to each "
                f"user, and data.simulator.items={items} are all; lower it"
            )
        if not self.evaluation.test:
            self._check_validation("evaluation.test=false")
        if self.pause is not None:
            self._check_validation(f"pause={self.pause}")

    def _name_weight(self) -> None:
        weight, columns = self.positives.weight, self.data.columns
        if columns.weight not in (None, weight):
            raise InputError(
                f"data.columns.weight={columns.weight} has no effect with "
                f"positives.weight={weight or 'null'}, which names the column that is "
                f"read; set positives.weight={columns.weight}, or leave "
                "data.columns.weight out"
            )
        self.data = replace(self.data, columns=replace(columns, weight=weight))

    def _check_validation(self, word: str) -> None:
        data = self.data
        if data.fit_valid:
            raise InputError(
                f"{word} leaves the valid part to evaluate, but data.fit_valid=true "
                "trains on it; set data.fit_valid=false"
            )
        if data.valid_share == 0 and data.split in ("temporal", "ratio"):
            raise InputError(
                f"{word} leaves the valid part to evaluate, but data.valid_share=0 "
                "makes none; set data.valid_share above 0"
            )

    def _check_negatives(self) -> None:
        negatives = self.negatives
        drawn = negatives.easy.num + negatives.hard.num
        if not negatives.in_batch and drawn == 0:
            raise InputError(
                "negatives.in_batch=false with negatives.easy.num=0 and negatives.hard"
                ".num=0 leaves no negatives; set negatives.easy.num above 0 or "
                "negatives.in_batch=true"
            )

    def _check_bank(self) -> None:
        size = self.negatives.bank.size
        if size and not self.negatives.in_batch:
            raise InputError(
                f"negatives.bank.size={size} keeps in-batch candidates of earlier "
                "steps, but negatives.in_batch=false; set it to true, or "
                "negatives.bank.size=0"
            )
        if 0 < size < self.training.batch_size:
            raise InputError(
                f"negatives.bank.size={size} is smaller than training.batch_size="
                f"{self.training.batch_size}, so a batch does not fit; set it to the "
                "batch size or more, or 0 for no bank"
            )

    def _check_correction(self) -> None:
        """Check that the correction fits the mask and the sources of negatives.

        The expected count of a positive is 0 where every negative of its row is hard: a
        positive is not in its pool.
        """
        negatives, hard = self.negatives, self.negatives.hard
        if self.loss.logq.correct == "negatives" and negatives.mask == "none":
            raise InputError(
                "loss.logq.correct=negatives with negatives.mask=none counts the "
                "positive twice: as itself, and as the draws that equal it; set "
                "negatives.mask=same_item, or loss.logq.correct=all"
            )
        all_hard = 1.0 in (negatives.hard_ratio, negatives.hard_start)
        only_hard = hard.num and not negatives.in_batch
        # With a ratio below 1 the slots of a row are easy ones too.
        mixes = negatives.layout == "per_row" and negatives.hard_ratio is not None
        no_easy = negatives.easy.num == 0 and not mixes
        never_drawn = only_hard and (no_easy or all_hard)
        if never_drawn and self.loss.logq.correct == "all" and hard.log_q != "easy":
            raise InputError(
                "loss.logq.correct=all corrects the positive by its expected count as "
                "a negative, which is 0 where every negative is hard; set loss.logq."
                "correct=negatives, negatives.hard.log_q=easy, or add easy or in-batch "
                "negatives"
            )

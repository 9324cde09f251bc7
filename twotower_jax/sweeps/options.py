"""The options of the sweeper that selects and of the fused launcher, and their rows.

Hydra reads these keys before a run is composed, so they are not in the schema. They are
declared in the same way, and their defaults are those of ``conf/hydra``.
"""

from dataclasses import dataclass

from twotower_jax.config.describe import KeyRow, describe_keys, key_row
from twotower_jax.errors import InputError
from twotower_jax.registry import Key, check_keys, key
from twotower_jax.study.description import Description

OBJECTIVE = Key(
    "show the optimum of each arm's objective in the report",
    "-m experiment=quickstart hydra.callbacks.study.objective=false",
)


@dataclass
class Options:
    """The options of the sweeper (``conf/hydra/sweeper/select.yaml``)."""

    params: dict = key(
        {},
        doc="{key: values} of the arms and seeds of the study, in a file of "
        "conf/experiment; on the command line these are words such as seed=0,1",
        example="-m experiment=select hydra.sweeper.params.seed=0",
    )
    tune: dict = key(
        {},
        doc="{key: values} of the axes that all trained arms try on validation",
        example="-m experiment=select "
        "hydra.sweeper.tune={optimizer.learning_rate:[0.003,0.01,0.03]}",
    )
    arm_tune: dict = key(
        {
            "item_knn": {
                "baseline.item_knn.neighbours": "20,50,100,200,500",
                "baseline.item_knn.shrink": "0,5,20,100,500",
            },
            "ease": {
                "baseline.ease.l2": "1,3,10,20,50,100,200,500,1000,2000,5000,10000"
            },
            "ials": {
                "baseline.ials.l2": "0.001,0.003,0.01,0.03,0.1",
                "baseline.ials.unobserved_weight": "0.003,0.01,0.03,0.1,0.3",
            },
        },
        doc="{arm: {key: values}} of the axes of single arms, named by their choice of "
        "arms=, their label or their towers.kind; they replace common axes of a key",
        example="-m experiment=select "
        "hydra.sweeper.arm_tune={uniform:{negatives.easy.num:[256,1024]}}",
    )
    trials: int | None = key(
        None,
        low=1,
        doc="largest number of points that each arm tries, drawn from its grid; null: "
        "the whole grid",
        example="-m experiment=select hydra.sweeper.trials=3",
    )
    trials_seed: int = key(
        0,
        doc="seed of the draw of these points",
        example="-m experiment=select hydra.sweeper.trials_seed=1",
    )
    tune_seeds: tuple[int, ...] | int = key(
        (100, 101, 102),
        doc="seeds of the runs on validation, which differ from those of the study; "
        "arms tuned with fewer than three have no verdict",
        example="-m experiment=select hydra.sweeper.tune_seeds=[100,101,102,103]",
    )
    metric: str | None = key(
        None,
        doc="metric on validation that chooses, larger is better; null: "
        "`training.metric`",
        example="-m experiment=select hydra.sweeper.metric=ndcg@20",
    )
    rungs: tuple[int, ...] = key(
        (),
        low=1,
        doc="steps, ascending, at which the worse points of each arm are left; []: "
        "every point is trained to its end",
        example="-m experiment=select hydra/sweeper=halving "
        "hydra.sweeper.rungs=[300,900]",
    )
    eta: int = key(
        3,
        low=2,
        doc="of this many points of an arm one goes on from a rung",
        example="-m experiment=select hydra/sweeper=halving hydra.sweeper.eta=2",
    )
    minutes: float | None = key(
        None,
        above=0,
        doc="minutes for all runs on validation; null: no limit",
        example="-m experiment=select hydra/sweeper=halving hydra.sweeper.minutes=30",
    )
    selection: str | None = key(
        None,
        doc="select.json of an earlier study, or its folder, whose choices are tested "
        "without tuning; null: tune",
        example="-m experiment=select name=other data.simulator.seed=7 "
        "hydra.sweeper.selection=outputs/select",
    )

    def __post_init__(self) -> None:
        """Check each value, and that rungs ascend."""
        check_keys(self, "hydra.sweeper")
        if list(self.rungs) != sorted(set(self.rungs)):
            raise InputError(
                f"hydra.sweeper.rungs={list(self.rungs)} do not ascend; give steps "
                "such as [500,1500]"
            )


@dataclass(frozen=True)
class FusedOptions:
    """The options of the launcher (``conf/hydra/launcher/fused.yaml``)."""

    workers: int | None = key(
        None,
        low=1,
        doc="fused: runs at a time; null: the number of cores",
        example="-m experiment=quickstart hydra.launcher.workers=1",
    )
    together: bool | None = key(
        None,
        doc="fused: train runs that differ in numbers only as one program; null: on an "
        "accelerator",
        example="-m experiment=quickstart hydra.launcher.together=true",
    )
    processes: bool = key(
        False,
        doc="fused: train each run in a process bound to cores of its own, which reads "
        "the data itself, in place of a thread; on an accelerator always a thread",
        example="-m experiment=quickstart hydra.launcher.processes=true",
    )

    def __post_init__(self) -> None:
        """Check each value, and that runs are not one program and processes too."""
        check_keys(self, "hydra.launcher")
        if self.processes and self.together:
            raise InputError(
                "hydra.launcher.together=true trains runs as one program, and "
                "hydra.launcher.processes=true each in a process; leave one of them out"
            )


def option_rows() -> list[KeyRow]:
    """Return one row per key below ``hydra`` that this package reads."""
    study = "hydra.callbacks.study."
    return [
        *describe_keys(kind=Options, prefix="hydra.sweeper."),
        *describe_keys(kind=FusedOptions, prefix="hydra.launcher."),
        *describe_keys(kind=Description, prefix=study),
        key_row(f"{study}objective", "bool", OBJECTIVE, True),
    ]

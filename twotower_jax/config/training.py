"""Section ``training``: batches, steps and stopping."""

from twotower_jax.errors import InputError
from twotower_jax.registry import key, keys_of, section

# Validations without improvement that end a training where none are configured.
PATIENCE = 10
# The state counts its steps in 32 bits.
MOST_STEPS = 2**31 - 1


# Order of the positives of an update, which is one pass.
UPDATES = {"full": "shuffled", "incremental": "time"}


@keys_of("training.mesh")
class MeshConfig:
    """Section ``training.mesh``: devices by what is spread over them."""

    data: int | None = key(
        None,
        low=1,
        doc="copies of the tables; null: training.devices over mesh.table, at least 1",
        example="2",
    )
    table: int = key(
        1,
        low=1,
        high=2**12,
        doc="devices over which the rows of tables and their optimizer states are "
        "spread",
        example="4",
    )


@keys_of("training")
class TrainingConfig:
    """Batches, steps, validation, checkpoints and stopping."""

    batch_size: int = key(
        1024,
        low=2,
        doc="positives per step, a multiple of training.devices",
        example="4096",
    )
    epochs: int = key(
        100,
        low=0,
        decides=lambda values: values["training.steps"] is None,
        doc="passes over the training positives, before resampling; the limit "
        "of a training that patience may end",
        example="20",
    )
    steps: int | None = key(
        None,
        low=0,
        high=MOST_STEPS,
        doc="steps, in place of epochs; null: by training.epochs",
        example="20000",
    )
    order: str = key(
        "shuffled",
        choices=("shuffled", "time", "blocks"),
        doc="order of the positives in an epoch; time: that of the log's times; "
        "blocks: blocks of 4,096 rows in a random order, shuffled within 256 of them, "
        "for logs larger than the memory",
    )
    feed: str = key(
        "device",
        choices=("device", "host"),
        decides=False,
        doc="where the training positives lie; device: in its memory; host: in that of "
        "the host, or on its disk with data=prepared, and each dispatch is copied; "
        "does not change the bits",
        example="training.feed=host training.order=blocks",
    )
    start_from: str | None = key(
        None,
        doc="folder of a finished run, whose parameters this one starts with; null: "
        "random ones",
        example="outputs/table/0123456789",
    )
    update: str | None = key(
        None,
        choices=tuple(UPDATES),
        doc="one pass from training.start_from; full: shuffled, all parameters; "
        "incremental: in the order of time, embeddings of ids alone; null: a training "
        "of its own length",
        example="training.update=incremental training.start_from=outputs/table/0123",
    )
    steps_per_dispatch: int = key(
        8,
        low=1,
        decides=False,
        doc="steps per call of the compiled program; does not change the bits",
        example="1",
    )
    eval_every: int | None = key(
        None,
        low=1,
        # Without a validation set and patience it spaces lines of metrics.jsonl.
        decides=lambda values: (
            values["training.patience"] != 0 or not values["data.fit_valid"]
        ),
        doc="steps between two validations; null: one epoch",
        example="500",
    )
    checkpoint_every: int | None = key(
        None,
        low=1,
        decides=False,
        doc="steps between two checkpoints, which follow each validation too; null: "
        "validations alone, ten seconds or more apart, and the end",
        example="1000",
    )
    patience: int | None = key(
        None,
        low=0,
        doc="validations without improvement before the training ends; 0: it "
        f"never ends early; null: {PATIENCE}, or 0 without a validation set; with "
        "data.fit_valid=true that of the run which finds the number of steps",
        example="3",
    )
    min_steps: int = key(
        500,
        low=0,
        decides=lambda values: values["training.patience"] != 0,
        doc="steps before which patience does not end the training, for models "
        "that start slowly",
        example="2000",
    )
    eval_queries: int | None = key(
        5000,
        low=1,
        doc="queries of a validation during training, a fixed random part; null: all",
        example="null",
    )
    metric: str = key(
        "recall@20",
        doc="metric of the valid part that selects the best step: a name and "
        "one of evaluation.k",
        example="ndcg@10",
    )
    merge_columns: bool = key(
        True, decides=False, doc="score repeated items of a batch once; the same loss"
    )
    devices: int = key(
        1,
        low=1,
        decides=False,
        doc="devices over which the rows of a batch are spread, mesh.data times "
        "mesh.table; 1: as training.mesh says",
        example="2",
    )
    mesh: MeshConfig = section(MeshConfig, decides=False)

    def __post_init__(self) -> None:
        if self.update is not None:
            self._check_update(self.update)
            self.epochs, self.order = 1, UPDATES[self.update]
        self._check_mesh()

    @property
    def mesh_shape(self) -> tuple[int, int]:
        """Return the numbers of devices of the axes data and table."""
        data, table = self.mesh.data, self.mesh.table
        return data or max(1, self.devices // table), table

    def _check_mesh(self) -> None:
        data, table = self.mesh_shape
        if self.devices not in (1, data * table):
            raise InputError(
                f"training.devices={self.devices} is not training.mesh.data={data} "
                f"times training.mesh.table={table}; leave training.devices out"
            )
        if self.batch_size % (data * table):
            near = -(-self.batch_size // (data * table)) * data * table
            devices = (
                f"{data * table}, the devices of training.mesh.data={data} and "
                f"training.mesh.table={table}"
            )
            if table == 1 and self.mesh.data is None:
                devices = f"training.devices={self.devices}"
            raise InputError(
                f"training.batch_size={self.batch_size} is not a multiple of {devices}"
                f", over which its rows are spread evenly; give one, such as {near}"
            )

    def _check_update(self, update: str) -> None:
        if self.start_from is None:
            raise InputError(
                f"training.update={update} starts with the parameters of a run; set "
                "training.start_from=RUN, the folder of a finished one"
            )
        if self.steps is not None:
            raise InputError(
                f"training.steps={self.steps} with training.update={update}: an update "
                "is one pass over its positives; leave training.steps out, or "
                "training.update"
            )

"""Sizes of a full and of a short benchmark."""

from typing import NamedTuple


class Case(NamedTuple):
    """One training.

    Attributes:
      items: number of items, and of users without histories and hard slots.
      batch: rows of a step.
      dim: of tables and embeddings; the hidden layer is twice as wide.
      history: clicks that the query tower reads in place of the user's id; 0: the id.
      hard: hard slots of a row.
    """

    items: int
    batch: int
    dim: int = 64
    history: int = 0
    hard: int = 0

    @property
    def name(self) -> str:
        """The case in words."""
        text = f"{short(self.items)} rows, B {self.batch}, D {self.dim}"
        text += f", history {self.history}" if self.history else ""
        return text + (f", {self.hard} hard" if self.hard else "")

    @property
    def users(self) -> int:
        """Number of users: few enough that most histories are full."""
        if self.history:
            return max(2, 300_000 // self.history * min(self.items, 100_000) // 100_000)
        return min(self.items, 30_000) if self.hard else self.items


class Settings(NamedTuple):
    """Sizes of a benchmark.

    Attributes:
      short: whether it is the short form, whose ratios have no goals.
      rounds: turns of all processes of a measure.
      seconds: for which the steps of one process are timed.
      clicks: of a log.
      rows: cases of the measure `train`, from the smallest tables to the largest.
      batches, dims, histories, hard: cases of the other measures of training.
      searches: numbers of items and of queries of the measure `evaluate`.
      command_steps: steps of the whole command.
      arms, seeds: runs of the study.
      study: further words of each command of the study.
      peers: names of `trainings.PEERS` that train; None: all.
    """

    short: bool
    rounds: int
    seconds: float
    clicks: int
    rows: tuple[Case, ...]
    batches: tuple[Case, ...]
    dims: tuple[Case, ...]
    histories: tuple[Case, ...]
    hard: tuple[Case, ...]
    searches: tuple[tuple[int, int], ...]
    command_steps: int
    arms: tuple[str, ...]
    seeds: int
    study: tuple[str, ...]
    peers: tuple[str, ...] | None = None


MILLION = 1_000_000
# Each run of a study trains to its last epoch, and no side has more runs.
WHOLE = ("training.patience=0", "baselines=false")
FULL = Settings(
    short=False,
    rounds=5,
    seconds=4.0,
    clicks=MILLION,
    rows=(
        *(Case(10_000, 4096), Case(MILLION, 4096), Case(MILLION, 1024)),
        Case(4 * MILLION, 4096),
    ),
    batches=(Case(MILLION, 256), Case(MILLION, 65_536)),
    dims=(Case(MILLION, 4096, 16), Case(MILLION, 4096, 256)),
    histories=(Case(100_000, 4096, history=20), Case(100_000, 4096, history=200)),
    hard=(Case(MILLION, 4096, hard=4),),
    searches=((100_000, 4096), (MILLION, 1024)),
    command_steps=400,
    arms=(
        *("in_batch_logq", "in_batch", "mixed_slots", "half_hard", "slots/uniform"),
        *("slots/exposed", "downsample_hot", "uniform"),
    ),
    seeds=3,
    study=(*WHOLE, "training.epochs=3"),
)
SHORT = Settings(
    short=True,
    rounds=1,
    seconds=0.05,
    clicks=20_000,
    rows=(Case(500, 64, 8), Case(1000, 64, 8)),
    batches=(Case(1000, 32, 8),),
    dims=(Case(1000, 64, 4),),
    histories=(Case(1000, 64, 8, history=5),),
    hard=(Case(1000, 64, 8, hard=2),),
    searches=((2000, 64),),
    command_steps=16,
    arms=("in_batch_logq",),
    seeds=2,
    study=(
        *WHOLE,
        *("data.simulator.users=200", "data.simulator.items=300"),
        *("data.simulator.requests=3000", "towers.dim=8", "training.epochs=1"),
        *("towers.query=[id]", "towers.candidate=[id]", "training.batch_size=256"),
        "evaluation.k=[20]",
    ),
)


def short(number: int) -> str:
    """Return a number of rows in a few letters, such as 10k or 4M."""
    for size, letter in ((MILLION, "M"), (1000, "k")):
        if number >= size and number % size == 0:
            return f"{number // size}{letter}"
    return str(number)

"""The measures of `make bench`, by name."""

from collections.abc import Callable

from .context import Bench
from .others import command, evaluate, sequences, start, study
from .rows import Row
from .trainings import batch, dim, hard, history, train

MEASURES: dict[str, Callable[[Bench], list[Row]]] = {
    "train": train,
    "batch": batch,
    "dim": dim,
    "history": history,
    "hard": hard,
    "evaluate": evaluate,
    "start": start,
    "command": command,
    "study": study,
    "sequences": sequences,
}

"""What one attempt at a run works with."""

from collections.abc import Callable
from typing import Any, NamedTuple

from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.run.inputs import Loaded, load_data
from twotower_jax.run.parent import Parent
from twotower_jax.run.records import RunFolder
from twotower_jax.training.progress import ProgressLine, TrainingProgress
from twotower_jax.training.signals import StopRequest
from twotower_jax.training.together import ArmSteps


class Sharing(NamedTuple):
    """Objects that a run shares with the runs beside it in the same process.

    Attributes:
      load: reads the data of a configuration.
      progress: makes the progress line of a training, as TrainingProgress.
      request: notes SIGTERM and Ctrl-C; None: the run notes them itself.
      together: runs the steps with those of other runs; None: they run alone.
      wait: whether to wait for another process that works on the run's folder.
    """

    load: Callable[[Config], Loaded] = load_data
    progress: Callable[..., ProgressLine] = TrainingProgress
    request: StopRequest | None = None
    together: ArmSteps | None = None
    wait: bool = False

    def stopped(self) -> bool:
        """Return whether a signal has arrived."""
        return self.request is not None and self.request.number is not None


ALONE = Sharing()


class Attempt(NamedTuple):
    """One attempt at a run, which may end before the run does.

    Attributes:
      config: the run's configuration.
      data: its data.
      record: its folder.
      console: where progress is shown.
      sharing: what it shares with other runs.
      parent: the run whose parameters it starts with, or None.
      length: entry ``length`` of the manifest: steps that another run found, or None.
    """

    config: Config
    data: Loaded
    record: RunFolder
    console: Console
    sharing: Sharing
    parent: Parent | None
    length: dict[str, Any] | None = None

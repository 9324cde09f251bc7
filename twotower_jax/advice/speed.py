"""How fast the runs of an advice are, and how long a training its minutes allow."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twotower_jax.advice.runs import Runs
from twotower_jax.advice.space import CONTROL
from twotower_jax.config import Config
from twotower_jax.data.parse_text import parse_json
from twotower_jax.data.text_files import write_json
from twotower_jax.errors import InputError
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.run.loader import check_sizes
from twotower_jax.run.positives import check_lengths, trained_part
from twotower_jax.sweeps.runner import cores

# Minutes that no stage plans with: compiling, and runs that have begun when the time of
# their stage is over. Of fewer than ten minutes it is a fifth.
RESERVE, RESERVED_SHARE = 2.0, 0.2
# Shares of the others; the test has the rest.
# Baselines have a quarter of all minutes, for the reserve is a fifth of them at most.
BASELINES, MODEL, SAMPLES = 0.25 / (1 - RESERVED_SHARE), 0.1875, 0.2
# A baseline of which one fit takes more than this share of all minutes is not tried.
LONGEST_FIT = 0.5
# Runs that are trained to their ends, of which the test may need this many.
FULL_RUNS = 12
PROBE = 30  # steps of the shortest run
# A step of a transformer takes this many times that of the default towers (measured:
# 2.7 with users of 7 positives), and fewer epochs are not enough for it.
SLOWER, LEAST_EPOCHS = 3, 10
PATIENCE, VALIDATIONS = 5, 10
FILE = "speeds.json"


class Speed(NamedTuple):
    """Speed of runs side by side, one per core."""

    rate: float  # examples per second of all of them together, while they train
    # Seconds of a run beside its training, divided by the runs at a time.
    overhead: float
    dim: int  # `towers.dim` of the runs

    def seconds(self, config: Config, steps: int) -> float:
        """Seconds that a run adds to a sweep side by side.

        The time of a step is taken to be in proportion to the batch and the dimension.
        """
        examples = steps * config.training.batch_size
        return self.overhead + examples * config.towers.dim / self.dim / self.rate


def planned(minutes: float) -> float:
    """Minutes that the stages of an advice plan with.

    Examples:
      >>> planned(5), planned(20)
      (4.0, 18.0)
    """
    return minutes - min(RESERVE, RESERVED_SHARE * minutes)


def _minutes(planned: float) -> float:
    """The minutes of which so many are planned with."""
    return min(planned / (1 - RESERVED_SHARE), planned + RESERVE)


def probes_of(words: Sequence[str]) -> str:
    """The name of the probes of runs with some words."""
    return " of ".join(["probes", *([" ".join(words)] if words else [])])


def measure(runs: Runs, folder: Path, *words: str) -> Speed | None:
    """The speed of short runs side by side; it is kept in the folder.

    Kept, so that the same command after an interruption trains for as many steps. Where
    one of them fails, `Runs.errors` has the reason.
    """
    each = cores()
    probes = [_probe(runs, folder, seed, *words) for seed in range(2 * each)]
    check_sizes(probes[0], runs.data)
    check_lengths(probes[0], runs.data, trained_part(probes[0], runs.data))
    key, kept = str(run_folder(probes[0]).name), _read(folder / FILE)
    if key not in kept:
        reasons = runs.launch_configs(probes[each:])  # compiles: not timed
        probes, start = probes[:each], time.perf_counter()
        timed = runs.launch_configs(probes)
        wall = time.perf_counter() - start
        for reason in filter(None, [*timed, *reasons]):
            runs.errors[probes_of(words)] = reason
        finished = [p for p, reason in zip(probes, timed, strict=True) if not reason]
        if not finished:
            return None
        results = [RunFolder(run_folder(probe)).result() for probe in finished]
        rates = [float(result["examples_per_second"] or 1e4) for result in results]
        rate = sum(rates) * len(probes) / len(rates)
        steps, batch = probes[0].training.steps or 0, probes[0].training.batch_size
        training = steps * batch * len(probes) / rate
        kept[key] = {
            "examples_per_second": rate,
            "overhead_seconds": max(wall - training, 0.0) / len(probes),
        }
        write_json(folder / FILE, kept)
    speed = kept[key]
    return Speed(
        speed["examples_per_second"], speed["overhead_seconds"], probes[0].towers.dim
    )


def _probe(runs: Runs, folder: Path, seed: int, *words: str) -> Config:
    """A run of `4 PROBE` steps with one validation."""
    return runs.config(
        f"arms={CONTROL}",
        *words,
        f"name={folder.name}/probe",
        f"seed={seed}",
        f"training.steps={4 * PROBE}",
        "training.min_steps=0",
        f"training.eval_every={4 * PROBE}",
        "training.patience=0",
        "evaluation.test=false",
    )


def _read(path: Path) -> dict[str, dict[str, float]]:
    """The measured speeds by probe; none where the file is not whole."""
    try:
        kept = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def length_words(
    runs: Runs, speed: Speed, minutes: float, print_line: Callable[[str], None]
) -> list[str]:
    """Return overrides for the longest training of which the minutes allow enough."""
    config = runs.config()
    batch = config.training.batch_size
    epoch = math.ceil(len(runs.data.split.train) / batch)
    steps = _affordable(speed, minutes, batch)
    if steps < 2 * PROBE:
        print_line(short_of(minutes, speed, batch))
    steps = max(2 * PROBE, min(epoch * config.training.epochs, steps))
    every = min(epoch, max(1, steps // VALIDATIONS))
    return [
        f"training.steps={steps}",
        f"training.eval_every={every}",
        f"training.patience={PATIENCE}",
        f"training.min_steps={min(500, steps // 3)}",
    ]


def _affordable(speed: Speed, minutes: float, batch: int) -> int:
    """The steps of a run of which the test may need `FULL_RUNS`."""
    share = 1 - BASELINES - MODEL - SAMPLES
    seconds = 60 * share * planned(minutes) / FULL_RUNS
    return int(speed.rate * (seconds - speed.overhead) / batch)


def affords_sequence(runs: Runs, speed: Speed, minutes: float) -> bool:
    """Whether minutes and log allow a transformer enough epochs to learn."""
    batch, train = runs.config().training.batch_size, runs.data.split.train
    if len(train) - len(np.unique(train.user)) < batch:  # first ones are not predicted
        return False
    positives = batch * _affordable(speed, minutes, batch) / SLOWER
    return positives >= LEAST_EPOCHS * len(train)


def is_limited(runs: Runs) -> bool:
    """Whether ``training.steps`` is less than the steps of all epochs."""
    training = runs.config().training
    epoch = math.ceil(len(runs.data.split.train) / training.batch_size)
    return training.steps is not None and training.steps < epoch * training.epochs


def short_of(minutes: float, speed: Speed, batch: int) -> str:
    """Sentence for minutes that are too few for the shortest runs of an advice."""
    seconds = speed.overhead + 2 * PROBE * batch / speed.rate
    share = 1 - BASELINES - MODEL - SAMPLES
    need = math.ceil(_minutes(FULL_RUNS * seconds / share / 60))
    key, run = f"advise.minutes={minutes:g}", f"a run of {2 * PROBE} steps"
    if seconds > 60 * minutes:
        raise InputError(
            f"{key} is too small for one arm: {run} of {batch:,} positives takes "
            f"{seconds:.1f} s at {speed.rate:,.0f} examples/s; give advise.minutes="
            f"{need} or more"
        )
    return (
        f"{key} is short: {run} takes {seconds:.1f} s, so the command may take longer; "
        f"advise.minutes={need} is enough"
    )

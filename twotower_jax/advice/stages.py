"""The stages of an advice: split, baselines, model, samples, test.

Everything is chosen on validation. The test part is read once, at the end, by the
choice, its control, in-batch negatives without a correction, and the best baselines.
"""

import hashlib
import itertools
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from twotower_jax.advice.files import check_folder, words_to_test
from twotower_jax.advice.progress import (
    LEAST_POINTS,
    Choice,
    Progress,
    arms_to_test,
    keep_better,
)
from twotower_jax.advice.runs import Runs, label
from twotower_jax.advice.space import SAMPLES as KINDS
from twotower_jax.advice.space import (
    SEQUENCE,
    SMALL,
    baseline_arms,
    kind_words,
    model_arm,
    of_kind,
    sample_arms,
    without_kind,
)
from twotower_jax.advice.speed import (
    BASELINES,
    FULL_RUNS,
    LONGEST_FIT,
    MODEL,
    SAMPLES,
    Speed,
    affords_sequence,
    is_limited,
    length_words,
    measure,
    planned,
    probes_of,
)
from twotower_jax.advice.tuning import Tuner
from twotower_jax.data import sources
from twotower_jax.data.health import best_split, repeats_text, split_health
from twotower_jax.errors import InputError
from twotower_jax.model.towers import BASELINES as REGISTRY
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.run.loader import Loaded, split_log, train_clicks
from twotower_jax.sweeps.arm_points import point_words
from twotower_jax.sweeps.compose import compose_config

SEEDS, LEAST_SEEDS = (0, 1, 2, 3, 4), 3
TESTED = 4  # arms that train, on test
LENGTH = ("training.steps=", "training.eval_every=", "training.patience=")
LENGTH += ("training.min_steps=",)
# Beginnings of keys and groups that an advice sets.
CHOSEN = ("arms", "arm", "positives", "negatives", "loss.logq", "loss.name", "pause")
CHOSEN += ("data.fit_valid", "evaluation.test", "seed", "experiment", "baselines")


def check_given(keys: Sequence[str]) -> None:
    """Refuse keys that an advice chooses itself."""
    for key in keys:
        if key.startswith(CHOSEN):
            raise InputError(
                f"{key} is chosen by twotower advise; leave it out, or compare values "
                "of your own by twotower train -m hydra/sweeper=select"
            )


class Advisor:
    """One advice on one log."""

    def __init__(self, words: Sequence[str], minutes: float, console: Console):
        """Compose the user's overrides."""
        self._given = [word.lstrip("+~").partition("=")[0] for word in words]
        check_given(self._given)
        named = [] if "name" in self._given else ["name=advice"]
        self._words = [*words, *named]
        self._minutes, self._seconds = minutes, 60 * planned(minutes)
        self._console = console
        self._start = time.monotonic()
        config = compose_config(self._words)
        self.metric = config.training.metric
        self.progress = Progress(Path(config.output) / config.name)

    def run(self, command: str) -> Progress:
        """Choose on validation, then test."""
        data = self._data()
        runs = Runs(self._words, data, self._console, command)
        small = "training.batch_size" not in self._given
        if small and len(data.split.train) < SMALL:
            self._words.append("training.batch_size=256")
        runs.words, progress = self._words, self.progress
        speed = self._first_speed(runs)
        self._set_length(runs, speed)
        tuner = Tuner(runs, self.metric, speed, self._print)
        self._tune_baselines(runs, tuner)
        progress.model = self._tune_model(runs, tuner)
        progress.samples = self._tune_samples(runs, tuner, progress.model)
        self._test(runs, tuner)
        return progress

    # --- before the runs -------------------------------------------------------------

    def _data(self) -> Loaded:
        """Read the log and split it as the user said, or as suits it."""
        config = compose_config(self._words)
        if config.data.source == "prepared":
            raise InputError(
                "data=prepared is split already, and an advice chooses the split of a "
                "log; give the source that it was prepared from, such as data=table"
            )
        log = sources.load(config.data)
        reason, health = "as given", {}
        if "data.split" not in self._given:
            health = split_health(log, config.data)
            value, reason = best_split(log, health)
            self._words.append(f"data.split={value}")
            config = compose_config(self._words)
        self.progress.split = config.data.split, reason
        data = split_log(log, config.data)
        self.progress.data = data.fingerprint
        check_folder(self.progress.folder, data.fingerprint)
        parts = data.split
        if not len(parts.valid):
            positives = len(parts.train) + len(parts.test)
            remedy = (
                f"the log is too small: {positives:,} positives of "
                f"{data.log.num_users:,} users; give a larger one, or data.valid_share "
                f"above {config.data.valid_share:g}"
                if config.data.valid_share
                else "set data.valid_share above 0, or another data.split"
            )
            raise InputError(
                f"data.split={config.data.split} leaves no valid part, on which all is "
                f"chosen; {remedy}"
            )
        self._print(
            f"{data.log.num_users:,} users, {data.log.num_items:,} items; positives: "
            f"{len(parts.train):,} train, {len(parts.valid):,} valid, "
            f"{len(parts.test):,} test; data.split={config.data.split}: {reason}"
        )
        health = health or split_health(log, config.data, [config.data.split])
        if text := repeats_text(health[config.data.split], config.data.mask_seen):
            self._print(text)
        return data

    def _set_length(self, runs: Runs, speed: Speed, least: int = 0) -> bool:
        """Set the steps that the minutes allow; return whether they are above least."""
        if {"training.steps", "training.epochs"} & set(self._given):
            return False
        words = length_words(runs, speed, self._minutes, self._print)
        if int(words[0].partition("=")[2]) <= least:
            return False
        kept = [word for word in self._words if not word.startswith(LENGTH)]
        self._words = [*kept, *words]
        runs.words = self._words
        return True

    # --- choices ---------------------------------------------------------------------

    def _tune_baselines(self, runs: Runs, tuner: Tuner) -> None:
        """Tune each baseline for as long as the others: their costs differ widely."""
        seconds, clicks = BASELINES * self._seconds, train_clicks(runs.data)
        grids = []
        for arm in baseline_arms(runs.config(), runs.data, self._leave_out):
            grid = runs.grid(arm)
            fit = REGISTRY[grid.arm.names.kind].seconds(clicks) / 60
            if fit <= LONGEST_FIT * self._minutes:
                grids.append(grid)
                continue
            reason = (
                f"a fit takes about {fit:.1f} minutes, more than half of "
                f"advise.minutes={self._minutes:g}; "
                f"advise.minutes={math.ceil(fit / LONGEST_FIT)} tries it"
            )
            self._leave_out(label(grid.arm.config), reason)
        end = time.monotonic() + seconds
        for index, grid in enumerate(grids):
            share = max(end - time.monotonic(), 1) / (len(grids) - index)
            tuned = tuner.choose("baseline", [grid], share)
            self.progress.baselines += tuned
            number, name = (
                sum(choice.points for choice in tuned),
                label(grid.arm.config),
            )
            if number < min(LEAST_POINTS, len(grid.points)):
                reason = runs.errors.get(name, "no time for more")
                tried = f"{number} of {len(grid.points)} points"
                self._leave_out(name, f"{tried}: {reason}")

    def _tune_model(self, runs: Runs, tuner: Tuner) -> Choice:
        """Choose the model, and try others near it in the time that the rest leaves."""
        model = self._choose_model(runs, tuner)
        tuner.speed = self._measure(runs, *point_words(model.point)) or tuner.speed
        before = runs.config().training.steps or 0
        if self._set_length(runs, tuner.speed, least=before):
            self._print(f"{runs.config().training.steps:,} steps with this model")
        spare = (
            self._left() - SAMPLES * self._seconds - self._test_seconds(model, tuner)
        )
        # The samples and the test train as many runs to their ends.
        most = self._left() / (FULL_RUNS + len(KINDS))
        return tuner.refine(model, self._given, spare, most)

    def _choose_model(self, runs: Runs, tuner: Tuner) -> Choice:
        """Choose among the kinds of towers.

        Where the minutes limit the training, or a transformer is among them, each kind
        has as much time, and a faster one has more steps: after as many steps a slower
        one may be ahead that is behind after as many seconds.
        """
        arm = model_arm(runs.data, runs.config(), self._given)
        if not affords_sequence(runs, tuner.speed, self._minutes):
            arm = without_kind(arm, SEQUENCE)
        seconds = MODEL * max(self._seconds, self._left() / (1 - BASELINES))
        kinds = arm.axes.get("towers", [])
        if len(kinds) < 2 or not (is_limited(runs) or SEQUENCE in kinds):
            model = self._only(runs, tuner.choose("models", [runs.grid(arm)], seconds))
            for kind in kinds:
                ours = [t for t in model.trials if t.point.get("towers") == kind]
                begun = [trial for trial in ours if trial.left_at != 0]
                if begun and not any(trial.values for trial in begun):
                    self._leave_out(f"towers={kind}", runs.errors[model.label])
            return model
        choices = []
        for kind in kinds:
            if (speed := self._measure(runs, *kind_words(kind))) is None:
                continue
            tuner.speed = speed
            self._set_length(runs, tuner.speed)
            grid, share = runs.grid(of_kind(arm, kind)), seconds / len(kinds)
            for choice in tuner.choose(f"models, towers={kind}", [grid], share):
                choices.append((choice, self._words))
        choices.sort(key=lambda pair: -pair[0].value)
        best = self._only(runs, [choice for choice, _ in choices])
        runs.words = self._words = choices[0][1]
        return best

    def _only(self, runs: Runs, candidates: Sequence[Any]) -> Any:
        """The first of what was found; an error of the runs without any."""
        if not candidates:
            reasons = "; ".join(dict.fromkeys(runs.errors.values()))
            raise InputError(f"no model could be trained: {reasons or 'no time'}")
        return candidates[0]

    def _tune_samples(self, runs: Runs, tuner: Tuner, model: Choice) -> list[Choice]:
        """Choose the point of each kind of samples; fresh seeds for the best."""
        words = point_words(model.point)
        arms = sample_arms(runs.data.log, runs.config(*words), self._given)
        fixed = [word for word in words if word.partition("=")[0] not in arms[0].axes]
        grids = [runs.grid(arm, *fixed) for arm in arms]
        tested = self._test_seconds(model, tuner)
        seconds = max(SAMPLES * self._seconds, self._left() - 2 * tested)
        every = sum(len(grid.points) for grid in grids) * tuner.full_seconds(model)
        tuned = tuner.choose("samples", grids, seconds, whole=every <= seconds)
        names = {label(grid.arm.config) for grid in grids}
        for name in sorted(names - {choice.label for choice in tuned}):
            self._leave_out(name, runs.errors.get(name, "no time"))
        best = max((choice.value for choice in self.progress.baselines), default=0.0)
        kept = keep_better(tuned, model)
        return tuner.confirm(kept, best, self._left() - tested)

    def _leave_out(self, name: str, reason: str) -> None:
        """Note and print what was not tried, or not in full, and why."""
        self.progress.incomplete[name] = reason
        self._print(f"not tried in full: {name} ({reason})")

    def _measure(self, runs: Runs, *words: str) -> Speed | None:
        """The speed of runs; None where all probes of them fail."""
        speed = measure(runs, self.progress.folder, *words)
        if reason := runs.errors.get(name := probes_of(words)):
            self._leave_out(name, reason)
        return speed

    def _first_speed(self, runs: Runs) -> Speed:
        """The speed of the default towers, of others where their probes fail."""
        kinds = model_arm(runs.data, runs.config(), self._given).axes.get("towers", [])
        each = [kind_words(kind) for kind in kinds] or [()]
        speeds = (self._measure(runs, *words) for words in each)
        return self._only(runs, [*itertools.islice(filter(None, speeds), 1)])

    def _left(self) -> float:
        """Seconds that are left of those that are planned with."""
        return self._start + self._seconds - time.monotonic()

    def _test_seconds(self, model: Choice, tuner: Tuner) -> float:
        """Seconds that the test may take, of arms like the model."""
        return TESTED * len(SEEDS) * tuner.full_seconds(model)

    # --- test ------------------------------------------------------------------------

    def _test(self, runs: Runs, tuner: Tuner) -> None:
        """Test the choice, its controls and the best baseline with fresh seeds."""
        progress, parts = self.progress, runs.data.split
        growth = (len(parts.train) + len(parts.valid)) / len(parts.train)

        def steps(choice: Choice) -> int:
            return max(1, round(tuner.steps(choice) * growth))

        words = words_to_test(progress, arms_to_test(progress), steps)
        # Other choices, after more minutes, are tested in a folder of their own.
        digest = hashlib.sha256(repr([*words.values()]).encode()).hexdigest()[:8]
        name = f"name={progress.folder.name}/test_{digest}"
        progress.tests = progress.folder / f"test_{digest}"
        for arm, ours in words.items():
            kept = [word for word in ours if not word.startswith("name=")]
            progress.tested[arm] = [*kept, name]
        self._print(f"test: {', '.join(progress.tested)}")
        # The least number of seeds fills the cores better than one seed after another.
        for seeds in (SEEDS[:LEAST_SEEDS], *((seed,) for seed in SEEDS[LEAST_SEEDS:])):
            if progress.seeds and self._left() < 0:
                break
            self._test_seeds(runs, seeds)

    def _test_seeds(self, runs: Runs, seeds: Sequence[int]) -> None:
        """Test the arms with seeds, and note them; of a stop those that are whole."""
        progress, stopped = self.progress, True
        configs = {
            seed: [
                compose_config([*words, f"seed={seed}"])
                for words in progress.tested.values()
            ]
            for seed in seeds
        }
        try:
            launched = [config for of_seed in configs.values() for config in of_seed]
            reasons = runs.launch_configs(launched)
            stopped = False  # a run that failed is said, and the others count
            for index, name in enumerate([*progress.tested]):
                ours = reasons[index :: len(configs[seeds[0]])]
                if reason := next(filter(None, ours), None):
                    self._leave_out(f"test of {name}", reason)
                if all(ours) and not progress.seeds:
                    progress.untest(name)
        finally:
            progress.seeds += [
                seed
                for seed, of_seed in configs.items()
                if not stopped
                or all(RunFolder(run_folder(config)).is_done() for config in of_seed)
            ]

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

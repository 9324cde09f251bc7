"""One run: where data, training, evaluation and records meet."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from twotower_jax.config import Config, fingerprint
from twotower_jax.data.summary import lists_fingerprint, weights_fingerprint
from twotower_jax.data.text_files import write_json
from twotower_jax.errors import DataError, InputError
from twotower_jax.progress import ProgressLine, TrainingProgress
from twotower_jax.run import checks, evaluate, loader, processes, rank, updates
from twotower_jax.run.folder import ON_VALIDATION, RunFolder, held, run_folder
from twotower_jax.run.loader import Loaded
from twotower_jax.run.manifest import manifest, write_manifest
from twotower_jax.run.memory import check_memory
from twotower_jax.run.positives import check_lengths, trained_part
from twotower_jax.run.problem import finds_length, make_problem, make_schedule
from twotower_jax.run.rank import QuerySet
from twotower_jax.run.trackers import Tracking, make_trackers
from twotower_jax.run.truth import shared_stage_truth
from twotower_jax.signals import Stopped, StopRequest
from twotower_jax.training.checkpoint import Checkpoints, check_place
from twotower_jax.training.loop import Hooks, fit, learned_temperature
from twotower_jax.training.problem import Problem
from twotower_jax.training.schedule import Notes
from twotower_jax.training.together import ArmSteps

PAUSED = "pause"  # stop reason of a resumable run


class Sharing(NamedTuple):
    """Objects that a run shares with the runs beside it in the same process."""

    load: Callable[[Config], Loaded] = loader.load_data
    # Makes the progress line of a training, as TrainingProgress.
    progress: Callable[..., ProgressLine] = TrainingProgress
    # Notes SIGTERM and Ctrl-C; None: the run notes them itself.
    request: StopRequest | None = None
    # Runs the steps with those of other runs; None: they run alone.
    together: ArmSteps | None = None
    # Whether to wait for another process that works on the run's folder.
    wait: bool = False

    def stopped(self) -> bool:
        """Return whether a signal has arrived."""
        return self.request is not None and self.request.number is not None


ALONE = Sharing()


def run(
    config: Config,
    *,
    folder: Path | None = None,
    console: Console | None = None,
    command: str = "twotower_jax.run.run",
    shared: Sharing = ALONE,
) -> dict[str, Any]:
    """Train and evaluate one configuration; resume it, or return it when finished."""
    console = console or Console(quiet=True)
    checks.check_names(config)
    make_trackers(config)
    folder = folder or run_folder(config)
    if loader.trains(config):
        check_place(folder)
    processes.check_same_command(config)
    say = partial(console.print, highlight=False, soft_wrap=True)
    hold = partial(held, folder, shared.wait, say, shared.stopped)
    with processes.connected(), processes.workplace(folder, hold) as record:
        return _Run(config, record, console, command, shared).result()


@dataclass
class _Run:
    """A run in its folder, from the data to the result."""

    config: Config
    record: RunFolder
    console: Console
    command: str
    shared: Sharing

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    def result(self) -> dict[str, Any]:
        """Return the result of the run, which has finished or goes on to its end."""
        config, record = self.config, self.record
        with processes.raise_everywhere():
            self._load()
        data, lists = self.data, lists_fingerprint(self.part.split)
        sources = {
            f"the data of data.path={config.data.path}": data.fingerprint,
            f"those of positives.lists.path={config.positives.lists.path}": lists,
        }
        processes.check_same(sources, "give all hosts the same files")
        if record.is_done():
            arm = record.config().get("arm")
            label = "" if arm == config.arm else f" as the arm {arm!r}"
            self.say(f"finished before{label}; returning its result")
            return evaluate.add_baselines(config, data, record, self.console)
        # Entry of the manifest: the steps that another run found, or None.
        self.length = (record.read("manifest") or {}).get("length")
        if self.length is None and finds_length(config, data.split):
            self.length = self._find_length()
        with processes.raise_everywhere():
            self.config = loader.choose_features(config, data)
            updates.check_towers(self.config, self.parent)
        if self.length is not None:
            training = replace(self.config.training, **self.length["schedule"])
            self.config = replace(self.config, training=training)
        if loader.trains(config):  # what is refused leaves no folder
            with processes.raise_everywhere():
                self.problem = make_problem(self.config, data)
                check_memory(self.config, self.problem, len(data.log.user))
        record.write_config(config)
        weights = weights_fingerprint(data.split)
        device = jax.devices()[0].device_kind
        made = manifest(config, data.fingerprint, device, self.command) | {
            "weights_fingerprint": weights,
            "lists_fingerprint": lists,
            "length": self.length,
            "parent": self.parent and self.parent.identity,
        }
        write_manifest(record, made, self.console)
        fingerprints = fingerprint(self.config), data.fingerprint, weights, lists
        # A checkpoint of another training is refused.
        self.identity = " ".join(filter(None, fingerprints))
        return self._recorded()

    def _load(self) -> None:
        """Load the parent, the data and the part trained on, which suit the run."""
        config, record = self.config, self.record
        # A finished run needs the run that it started from no more.
        self.parent = None if record.is_done() else updates.find_parent(config)
        updates.check_same_parent(record, self.parent)
        self.say(f"run {record.shared}")
        try:
            data = self.shared.load(config)
        except InputError as error:
            raise DataError(str(error)) from error
        checks.print_data(self.console, data, shared_stage_truth(config.data, data))
        part = trained_part(config, data)
        loader.check_sizes(config, part)
        if loader.trains(config):
            loader.check_times(config, data)
            checks.check_use(config, part.split)
            check_lengths(config, data, part)
        loader.check_same_data(record, data, part)
        before = record.read("manifest")
        if before and not before.get("length") and finds_length(config, data.split):
            raise InputError(
                f"{record.path} holds a run of an earlier version, in which "
                "data.fit_valid=true trained to the last epoch; set name= to keep "
                "both, or move that folder away"
            )
        self.data, self.part = data, part

    def _find_length(self) -> dict[str, Any]:
        """Find the steps of a run with ``data.fit_valid`` by one without valid rows.

        Rates that fall and shares of the training are those of that run's schedule.
        """
        config = replace(
            self.config,
            name=f"{self.config.name}/{ON_VALIDATION}",
            baselines=False,
            data=replace(self.config.data, fit_valid=False),
            evaluation=replace(self.config.evaluation, test=False),
        )
        data = loader.split_log(self.data.log, config.data)
        name = f"{ON_VALIDATION}/{fingerprint(config)}"
        self.say(
            "data.fit_valid=true: a run without the valid part finds the number of "
            "steps"
        )
        result = run(
            config,
            folder=self.record.shared.parent / name,
            console=self.console,
            command=self.command,
            shared=self.shared._replace(load=lambda _: data, together=None),
        )
        step = result["best_step"]
        last = " and its last" if step == result["steps"] else ""
        self.say(f"{step} steps with the valid part: the best{last} of {name}")
        schedule = make_schedule(config, trained_part(config, data).split)
        keys = ("steps", "eval_every", "patience")
        of_run = {key: getattr(schedule, key) for key in keys}
        return {"steps": step, "run": name, "schedule": of_run}

    def _recorded(self) -> dict[str, Any]:
        """Train and evaluate; record the status and the result, in trackers too."""
        record = self.record
        record.check_seal("metrics.jsonl")
        record.set_status("running")
        self.tracking = Tracking(self.config, record, self.console.print)
        try:
            with processes.connected():
                result = self._train_and_evaluate()
        except Stopped as stop:
            record.set_status("running", stop.reason)
            self.tracking.finish(None)
            self.say(stop.reason)
            raise
        except Exception as error:
            record.set_status("failed", f"{type(error).__name__}: {error}")
            self.tracking.finish(None)
            raise
        if result["stopped"] == PAUSED:
            reason = "the same command without pause= goes on"
            record.set_status("paused", f"at step {result['steps']}; {reason}")
            self.tracking.finish(None)
            return result
        record.finish(result)
        # Only an unfinished run goes on from a state.
        Checkpoints(record.shared).keep_only(set())
        self.tracking.finish(result)
        return result

    def _train_and_evaluate(self) -> dict[str, Any]:
        """Return the content of result.json."""
        config, data, part, record = self.config, self.data, self.part, self.record
        # Baselines and queries read all of the training positives.
        queries = rank.make_query_sets(config, data)
        notes, started, params = Notes(), time.perf_counter(), {}
        if loader.trains(config):
            problem = self.problem
            checks.report_samples(config, problem, self.console)
            params, notes = self._train(problem, queries.get("valid"))
            if not notes.done:
                # The catalogue is ranked for a finished run alone.
                notes.stopped, queries = PAUSED, {}
            rankings = evaluate.rank_sets(config, data, problem, params, queries)
            used = checks.report_use(config, part.split, notes, self.console)
            samples = (problem.report or {}) | used
        else:
            self.tracking.start()
            evaluate.fit_baseline(config, data, config.towers.kind)
            notes.seconds = time.perf_counter() - started
            rankings, samples = evaluate.rank_splits(config, data, queries)
        if "test" in queries:
            rank.write_tables(record, config, data, queries["test"], rankings["test"])
        metrics = {name: ranking.metrics() for name, ranking in rankings.items()}
        if not metrics:  # a model of the whole log has none
            metrics = {"test": {}}
            if notes.stopped == PAUSED:
                metrics = {"valid": record.metrics()[-1]["valid"]}
        valid = [line["valid"] for line in record.metrics() if line.get("valid")][1:]
        alike = len(valid) > 2 and all(result == valid[0] for result in valid)
        baselines = evaluate.compare_baselines(config, data, queries, self.console)
        towers = config.towers
        return {
            "metrics": metrics,
            "baselines": baselines,
            "tied": {n: made.tied for n, made in rankings.items() if made.tied},
            # Last validations with one result, 0 where they differ.
            "unmoved": len(valid) if alike else 0,
            "queries": {name: len(sets.user) for name, sets in queries.items()},
            "positives already seen": {
                name: sets.already_seen for name, sets in queries.items()
            },
            "seed": config.seed,
            "steps": notes.last_step,
            "best_step": notes.evaluated_step,
            "stopped": notes.stopped,
            "length": self.length,
            "temperature": learned_temperature(params),
            "seconds": notes.seconds,
            "examples_per_second": notes.rate * config.training.batch_size or None,
            "samples": samples,
            "towers": {"query": towers.query, "candidate": towers.candidate},
            "stages": shared_stage_truth(config.data, data),
            "data": dict(part.split.report) | dict(data.log.dropped),
        }

    def _train(self, problem: Problem, valid: QuerySet | None) -> tuple[dict, Notes]:
        """Return the params of the best validation and the notes of the training."""
        config, data, record, shared = self.config, self.data, self.record, self.shared
        schedule, model = problem.schedule, problem.program.model
        if self.length is not None:
            schedule = schedule._replace(steps=self.length["steps"])
            problem = problem._replace(schedule=schedule)
        checkpoints = Checkpoints(record.shared, self.identity)
        saved = checkpoints.steps()
        vocabulary = updates.make_vocabulary(model, data.log)
        write_json(record.path / updates.VOCABULARY, vocabulary)
        if not saved:
            start = updates.first_params(config, data, model, self.parent)
            problem = problem._replace(warm_start=start)
            record.keep_metrics(-1)
        validate = None
        if valid is not None:
            watched = rank.sampled_queries(valid, config.training.eval_queries)
            arguments = config.evaluation.k, data.log.num_items, model, watched
            validate = partial(evaluate.validate, *arguments)

        def progress(start: int) -> ProgressLine:
            self.tracking.start()  # the file has the records of the steps before
            batch, metric = config.training.batch_size, schedule.metric
            return shared.progress(self.console, schedule.steps, start, batch, metric)

        def add(line: dict[str, Any]) -> None:
            record.add_metrics(line)
            self.tracking.log(line)

        def resume(step: int, refused: tuple[str, ...]) -> None:
            if broken := record.keep_metrics(step):
                refused = (*refused, f"{broken} damaged lines of metrics.jsonl")
            for reason in refused:
                text = f"not used: {reason}"
                self.console.print(text, style="red", highlight=False)
            self.console.print(f"resuming at step {step}", highlight=False)

        hooks = Hooks(progress, add, validate, resume)
        signals, together = shared.request, shared.together
        state, notes = fit(problem, checkpoints, hooks, signals, together)
        if notes.done:
            checkpoints.save_params(notes.evaluated_step, state.params)
        return state.params, notes

"""One run: where data, training, evaluation and records meet."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from twotower_jax.config import Config, fingerprint
from twotower_jax.data.sizes import sizes_of
from twotower_jax.data.summary import lists_fingerprint, weights_fingerprint
from twotower_jax.data.text_files import write_json
from twotower_jax.errors import DataError, InputError
from twotower_jax.run.baselines import (
    add_baselines,
    compare_baselines,
    fit_baseline,
    rank_splits,
)
from twotower_jax.run.checks import check_names, check_use, report_use
from twotower_jax.run.evaluate import rank_split, validate
from twotower_jax.run.folder import ON_VALIDATION, RunFolder, held, run_folder
from twotower_jax.run.loader import (
    Loaded,
    check_same_data,
    check_sizes,
    check_times,
    choose_features,
    load_data,
    split_log,
    trains,
)
from twotower_jax.run.manifest import manifest, training_identity, write_manifest
from twotower_jax.run.memory import check_memory
from twotower_jax.run.positives import check_lengths, check_same_lists, trained_part
from twotower_jax.run.problem import make_problem
from twotower_jax.run.processes import (
    check_same_command,
    check_same_everywhere,
    connected,
    raise_everywhere,
    workplace,
)
from twotower_jax.run.rank import (
    QuerySet,
    make_query_sets,
    sampled_queries,
    write_tables,
)
from twotower_jax.run.sample_report import print_data, report_samples
from twotower_jax.run.schedule import finds_length, make_schedule
from twotower_jax.run.trackers import Tracking, make_trackers
from twotower_jax.run.truth import shared_stage_truth
from twotower_jax.run.updates import (
    VOCABULARY,
    Parent,
    check_features,
    check_same_parent,
    find_parent,
    first_params,
    make_vocabulary,
)
from twotower_jax.training.checkpoint import Checkpoints, check_place
from twotower_jax.training.loop import Hooks, fit, learned_temperature
from twotower_jax.training.problem import Problem
from twotower_jax.training.progress import ProgressLine, TrainingProgress
from twotower_jax.training.schedule import Notes
from twotower_jax.training.signals import Stopped, StopRequest
from twotower_jax.training.together import ArmSteps

PAUSED = "pause"  # stop reason of a resumable run
# Matplotlib has one state for all threads.
_drawing = threading.Lock()


class Sharing(NamedTuple):
    """Objects that a run shares with the runs beside it in the same process."""

    load: Callable[[Config], Loaded] = load_data
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


class Attempt(NamedTuple):
    """An attempt at a run, which may end before the run does."""

    config: Config  # with the features of both towers named
    data: Loaded
    part: Loaded  # the positives that are trained on
    record: RunFolder
    console: Console  # where progress is shown
    sharing: Sharing  # with other runs
    parent: Parent | None  # the run whose parameters it starts with, or None
    # Entry ``length`` of the manifest: steps that another run found, or None.
    length: dict[str, Any] | None
    identity: str  # of the training; a checkpoint of another one is refused


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
    check_names(config)
    make_trackers(config)
    folder = folder or run_folder(config)
    if trains(config):
        check_place(folder)
    check_same_command(config)
    hold = partial(held, folder, shared.wait, _line(console), shared.stopped)
    with connected(), workplace(folder, hold) as record:
        with raise_everywhere():
            parent, data, part = _checked(config, record, console, shared)
        lists = lists_fingerprint(part.split)
        check_same_everywhere(data.fingerprint, f"data.path={config.data.path}")
        if lists:
            source = f"positives.lists.path={config.positives.lists.path}"
            check_same_everywhere(lists, source)
        if record.is_done():
            arm = record.config().get("arm")
            label = "" if arm == config.arm else f" as the arm {arm!r}"
            text = f"finished before{label}; returning its result"
            console.print(text, highlight=False)
            return add_baselines(config, data, record, console)
        length = (record.read("manifest") or {}).get("length")
        if length is None and finds_length(config, data.split):
            length = _found_length(config, data, record, console, command, shared)
        with raise_everywhere():
            chosen = choose_features(config, data)
            check_features(chosen, parent)
        if length is not None:
            training = replace(chosen.training, **length["schedule"])
            chosen = replace(chosen, training=training)
        record.write_config(config)
        weights = weights_fingerprint(data.split)
        device = jax.devices()[0].device_kind
        made = manifest(config, data.fingerprint, device, command) | {
            "weights_fingerprint": weights,
            "lists_fingerprint": lists,
            "length": length,
            "parent": parent and parent.identity,
        }
        write_manifest(record, made, console)
        identity = training_identity(chosen, data.fingerprint, weights, lists)
        of_run = record, console, shared, parent, length, identity
        return _recorded(Attempt(chosen, data, part, *of_run))


def _line(console: Console) -> Callable[[str], None]:
    return partial(console.print, highlight=False, soft_wrap=True)


def _checked(
    config: Config, record: RunFolder, console: Console, shared: Sharing
) -> tuple[Parent | None, Loaded, Loaded]:
    """Return the parent, the data and the part trained on, which suit the run."""
    # A finished run needs the run that it started from no more.
    parent = None if record.is_done() else find_parent(config)
    check_same_parent(record, parent)
    _line(console)(f"run {record.shared}")
    try:
        data = shared.load(config)
    except InputError as error:
        raise DataError(str(error)) from error
    print_data(console, data, shared_stage_truth(config.data, data))
    part = trained_part(config, data)
    check_sizes(config, part)
    if trains(config):
        check_memory(config, sizes_of(data.log, part.split))
        check_times(config, data)
        check_use(config, part.split)
        check_lengths(config, data, part)
    check_same_data(record, data)
    check_same_lists(record, part)
    before = record.read("manifest")
    if before and not before.get("length") and finds_length(config, data.split):
        raise InputError(
            f"{record.path} holds a run of an earlier version, in which data.fit_valid="
            "true trained to the last epoch; set name= to keep both, or move that "
            "folder away"
        )
    return parent, data, part


def _found_length(
    config: Config,
    data: Loaded,
    record: RunFolder,
    console: Console,
    command: str,
    shared: Sharing,
) -> dict[str, Any]:
    """Return entry ``length`` of the manifest of a run with ``data.fit_valid``.

    A run without the valid rows, in the folder select beside it, finds the best step.
    Rates that fall and shares of the training are those of its schedule.
    """
    alone = replace(
        config,
        name=f"{config.name}/{ON_VALIDATION}",
        baselines=False,
        data=replace(config.data, fit_valid=False),
        evaluation=replace(config.evaluation, test=False),
    )
    data, say = split_log(data.log, alone.data), _line(console)
    folder = record.shared.parent / ON_VALIDATION / fingerprint(alone)
    shared = shared._replace(load=lambda _: data, together=None)
    say("data.fit_valid=true: a run without the valid part finds the number of steps")
    result = run(alone, folder=folder, console=console, command=command, shared=shared)
    step = result["best_step"]
    last = " and its last" if step == result["steps"] else ""
    name = f"{ON_VALIDATION}/{folder.name}"
    say(f"{step} steps with the valid part: the best{last} of {name}")
    schedule = make_schedule(alone, trained_part(alone, data).split)
    keys = ("steps", "eval_every", "patience")
    return {
        "steps": step,
        "run": name,
        "schedule": {key: getattr(schedule, key) for key in keys},
    }


def _recorded(attempt: Attempt) -> dict[str, Any]:
    """Train and evaluate; record the status and the result, in trackers too."""
    record = attempt.record
    record.set_status("running")
    tracking = Tracking(attempt.config, record, attempt.console.print)
    try:
        with connected():
            result = _train_and_evaluate(attempt)
    except Stopped as stop:
        record.set_status("running", stop.reason)
        tracking.finish(None)
        _line(attempt.console)(stop.reason)
        raise
    except Exception as error:
        record.set_status("failed", f"{type(error).__name__}: {error}")
        tracking.finish(None)
        raise
    if result["stopped"] == PAUSED:
        reason = f"at step {result['steps']}; the same command without pause= goes on"
        record.set_status("paused", reason)
        tracking.finish(None)
        return result
    record.finish(result)
    # Only an unfinished run goes on from a state.
    Checkpoints(record.shared).keep_only(set())
    tracking.finish(result)
    return result


def _train_and_evaluate(attempt: Attempt) -> dict[str, Any]:
    """Return the content of result.json."""
    config, data, part, record, console, *_ = attempt
    # Baselines and queries read all of the training positives.
    queries = make_query_sets(config, data)
    notes, started, params = Notes(), time.perf_counter(), {}
    if trains(config):
        problem = make_problem(config, data)
        with _drawing:
            report_samples(config, part, problem, record.path, console)
        params, notes = _train(attempt, problem, queries.get("valid"))
        if not notes.done:
            # The catalogue is ranked for a finished run alone.
            notes.stopped, queries = PAUSED, {}
        rankings = {
            name: rank_split(config, data, problem, params, of_split)
            for name, of_split in queries.items()
        }
        used = report_use(config, part.split, notes, console)
        samples = (problem.report or {}) | used
    else:
        fit_baseline(config, data, config.towers.kind)
        notes.seconds = time.perf_counter() - started
        rankings, samples = rank_splits(config, data, queries)
    if "test" in queries:
        write_tables(record, config, data, queries["test"], rankings["test"])
    metrics = {name: ranking.metrics() for name, ranking in rankings.items()}
    if not metrics:  # a model of the whole log has none
        paused = notes.stopped == PAUSED
        metrics = {"valid": record.metrics()[-1]["valid"]} if paused else {"test": {}}
    speed = notes.rate * config.training.batch_size or None
    valid = [line["valid"] for line in record.metrics() if line.get("valid")][1:]
    alike = len(valid) > 2 and all(result == valid[0] for result in valid)
    return {
        "metrics": metrics,
        "baselines": compare_baselines(config, data, queries, console),
        "tied": {n: ranking.tied for n, ranking in rankings.items() if ranking.tied},
        # Last validations with one result, 0 where they differ.
        "unmoved": len(valid) if alike else 0,
        "queries": {name: len(sets.user) for name, sets in queries.items()},
        "positives already seen": {n: s.already_seen for n, s in queries.items()},
        "seed": config.seed,
        "steps": notes.last_step,
        "best_step": notes.evaluated_step,
        "stopped": notes.stopped,
        "length": attempt.length,
        "temperature": learned_temperature(params),
        "seconds": notes.seconds,
        "examples_per_second": speed,
        "samples": samples,
        "towers": {"query": config.towers.query, "candidate": config.towers.candidate},
        "stages": shared_stage_truth(config.data, data),
        "data": dict(part.split.report) | dict(data.log.dropped),
    }


def _train(
    attempt: Attempt, problem: Problem, valid: QuerySet | None
) -> tuple[dict, Notes]:
    """Return the params of the best validation and the notes of the training."""
    config, data, _, record, console, shared, parent, length, identity = attempt
    schedule, model = problem.schedule, problem.program.structure.model
    if length is not None:
        schedule = schedule._replace(steps=length["steps"])
    checkpoints = Checkpoints(record.shared, identity)
    saved = checkpoints.steps()
    write_json(record.path / VOCABULARY, make_vocabulary(model, data.log))
    if not saved:
        problem = problem._replace(warm_start=first_params(config, data, model, parent))
        record.keep_metrics(-1)
    evaluate = None
    if valid is not None:
        cutoffs, num_items = config.evaluation.k, data.log.num_items
        watched = sampled_queries(valid, config.training.eval_queries)
        evaluate = partial(validate, cutoffs, num_items, model, watched)

    def progress(start: int) -> ProgressLine:
        batch = config.training.batch_size
        return shared.progress(console, schedule.steps, start, batch, schedule.metric)

    def resume(step: int, refused: tuple[str, ...]) -> None:
        if broken := record.keep_metrics(step):
            refused = (*refused, f"{broken} damaged lines of metrics.jsonl")
        for reason in refused:
            console.print(f"not used: {reason}", style="red", highlight=False)
        console.print(f"resuming at step {step}", highlight=False)

    hooks = Hooks(progress, record.add_metrics, evaluate, resume)
    state, notes = fit(
        problem, schedule, checkpoints, hooks, shared.request, shared.together
    )
    if notes.done:
        checkpoints.save_params(notes.evaluated_step, state.params)
    return state.params, notes

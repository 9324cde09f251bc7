"""One run: where data, training, evaluation and records meet."""

import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from twotower_jax.config import Config, fingerprint
from twotower_jax.data.sizes import sizes_of
from twotower_jax.data.summary import weights_fingerprint
from twotower_jax.data.text_files import write_json
from twotower_jax.errors import DataError, InputError
from twotower_jax.run.attempt import ALONE, Attempt, Sharing
from twotower_jax.run.baselines import (
    add_baselines,
    compare_baselines,
    fit_baseline,
    rank_splits,
)
from twotower_jax.run.evaluate import rank_split, validate
from twotower_jax.run.first_params import first_params
from twotower_jax.run.in_use import check_use, report_use
from twotower_jax.run.inputs import (
    Loaded,
    check_same_data,
    check_sizes,
    check_times,
    split_log,
    trains,
)
from twotower_jax.run.joined import (
    agreed,
    check_same_command,
    check_same_everywhere,
    connected,
    workplace,
)
from twotower_jax.run.listed import check_same_lists, fingerprint_of_lists
from twotower_jax.run.lock import held
from twotower_jax.run.manifest import manifest, training_identity, write_manifest
from twotower_jax.run.memory import check_memory
from twotower_jax.run.names import check_names
from twotower_jax.run.parent import (
    Parent,
    check_features,
    check_same_parent,
    find_parent,
)
from twotower_jax.run.plan import finds_length, make_schedule
from twotower_jax.run.problem import make_problem
from twotower_jax.run.queries import QuerySet, make_query_sets, some_queries
from twotower_jax.run.ranking_tables import write_tables
from twotower_jax.run.records import ON_VALIDATION, RunFolder, run_folder
from twotower_jax.run.sample_report import print_data, report_samples
from twotower_jax.run.sequences import check_lengths, trained_part
from twotower_jax.run.simulator_truth import shared_stage_truth
from twotower_jax.run.tower_features import choose_features
from twotower_jax.run.trackers import make_trackers
from twotower_jax.run.tracking import Tracking
from twotower_jax.run.vocabulary import VOCABULARY, make_vocabulary
from twotower_jax.training.checkpoint import Checkpoints, check_place
from twotower_jax.training.loop import Hooks, fit
from twotower_jax.training.problem import Problem
from twotower_jax.training.progress import ProgressLine
from twotower_jax.training.schedule import Notes
from twotower_jax.training.signals import Stopped
from twotower_jax.training.temperature import learned_temperature

PAUSED = "pause"  # why a training ended that another command goes on with
# Matplotlib has one state for all threads.
_drawing = threading.Lock()


def run(
    config: Config,
    *,
    folder: Path | None = None,
    console: Console | None = None,
    command: str = "twotower_jax.run.run",
    shared: Sharing = ALONE,
) -> dict[str, Any]:
    """Train and evaluate one configuration; resume it, or return it when finished.

    Args:
      config: the run.
      folder: of its files; output/name/hash of the configuration by default.
      console: where progress is shown; nowhere by default.
      command: noted in the manifest.
      shared: objects shared with the runs beside it.

    Returns:
      The content of result.json; of a run that pauses, the same with the metrics of
      its last validation, which is not recorded.

    Raises:
      DataError: where the data cannot be read or split.
      InputError: for other wrong input, before any training.
      BusyError: where another process works on the run, and ``shared`` does not wait.
      NonFiniteLossError: when training diverges.
      Stopped: on SIGTERM or Ctrl-C, after saving.
    """
    console = console or Console(quiet=True)
    check_names(config)
    make_trackers(config)
    folder = folder or run_folder(config)
    if trains(config):
        check_place(folder)
    say = partial(console.print, highlight=False, soft_wrap=True)
    check_same_command(config)
    hold = partial(held, folder, shared.wait, say, shared.stopped)
    with connected(), workplace(folder, hold) as record:
        return _run(config, record, console, command, shared)


def _run(
    config: Config, record: RunFolder, console: Console, command: str, shared: Sharing
) -> dict[str, Any]:
    """Check, train and evaluate a configuration in a folder that this process holds."""
    with agreed():
        parent, data = _checked(config, record, console, shared)
    check_same_everywhere(data.fingerprint, f"data.path={config.data.path}")
    if lists := fingerprint_of_lists(config, data):
        source = f"positives.lists.path={config.positives.lists.path}"
        check_same_everywhere(lists, source)
    if record.is_done():
        arm = record.config().get("arm")
        label = "" if arm == config.arm else f" as the arm {arm!r}"
        console.print(f"finished before{label}; returning its result", highlight=False)
        return add_baselines(config, data, record, console)
    length = (record.read("manifest") or {}).get("length")
    if length is None and finds_length(config, data.split):
        length = _found_length(config, data, record, console, command, shared)
    with agreed():
        chosen = choose_features(config, data)
        check_features(chosen, parent)
    if length is not None:
        training = replace(chosen.training, **length["schedule"])
        chosen = replace(chosen, training=training)
    record.write_config(config)
    device = jax.devices()[0].device_kind
    made = manifest(config, data.fingerprint, device, command)
    made["weights_fingerprint"] = weights_fingerprint(data.split)
    made["lists_fingerprint"], made["length"] = lists, length
    write_manifest(record, made | {"parent": parent and parent.identity}, console)
    return _recorded(Attempt(chosen, data, record, console, shared, parent, length))


def _found_length(
    config: Config,
    data: Loaded,
    record: RunFolder,
    console: Console,
    command: str,
    shared: Sharing,
) -> dict[str, Any]:
    """Return the steps that are best on validation in a run without the valid rows.

    Args:
      config: a run with ``data.fit_valid``.
      data: its data.
      record: its folder; that of the other run is in the folder select beside it.
      console, command, shared: as of `run`.

    Returns:
      Entry ``length`` of the manifest: the best step as "steps", the other run, and its
      schedule: rates that fall and shares of the training are those of that run.
    """
    alone = replace(
        config,
        name=f"{config.name}/{ON_VALIDATION}",
        baselines=False,
        data=replace(config.data, fit_valid=False),
        evaluation=replace(config.evaluation, test=False),
    )
    parts = split_log(data.log, alone.data)
    folder = record.shared.parent / ON_VALIDATION / fingerprint(alone)
    shared = shared._replace(load=lambda _: parts, together=None)
    say = partial(console.print, highlight=False, soft_wrap=True)
    say("data.fit_valid=true: a run without the valid part finds the number of steps")
    found = run(alone, folder=folder, console=console, command=command, shared=shared)
    schedule = make_schedule(alone, trained_part(alone, parts).split)
    last = " and its last" if found["best_step"] == found["steps"] else ""
    name = f"{ON_VALIDATION}/{folder.name}"
    say(f"{found['best_step']} steps with the valid part: the best{last} of {name}")
    keys = ("steps", "eval_every", "patience")
    return {
        "steps": found["best_step"],
        "run": name,
        "schedule": {key: getattr(schedule, key) for key in keys},
    }


def _checked(
    config: Config, record: RunFolder, console: Console, shared: Sharing
) -> tuple[Parent | None, Loaded]:
    """Return the run that this one starts from, and the data, which suit it."""
    # A finished run needs the run that it started from no more.
    parent = None if record.is_done() else find_parent(config)
    check_same_parent(record, parent)
    console.print(f"run {record.shared}", highlight=False, soft_wrap=True)
    data = _load(config, shared)
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
    return parent, data


def _load(config: Config, shared: Sharing) -> Loaded:
    """Return the data of a run.

    Raises:
      DataError: where they cannot be read or split.
    """
    try:
        return shared.load(config)
    except InputError as error:
        raise DataError(str(error)) from error


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
        attempt.console.print(stop.reason, highlight=False, soft_wrap=True)
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
    config, data, console = attempt.config, attempt.data, attempt.console
    # Baselines and queries read all of the training positives.
    queries, part = make_query_sets(config, data), trained_part(config, data)
    notes, started, params = Notes(), time.perf_counter(), {}
    if trains(config):
        problem = make_problem(config, data)
        with _drawing:
            report_samples(config, part, problem, attempt.record.path, console)
        params, notes = _train(attempt, problem, queries.get("valid"))
        if not notes.done:
            # The catalogue is ranked for a finished run alone.
            notes.stopped, queries = PAUSED, {}
        rankings = {
            name: rank_split(config, data, problem, params, one)
            for name, one in queries.items()
        }
        used = report_use(config, part.split, notes, console)
        samples = (problem.report or {}) | used
    else:
        fit_baseline(config, data, config.towers.kind)
        notes.seconds = time.perf_counter() - started
        rankings, samples = rank_splits(config, data, queries)
    if "test" in queries:
        test = queries["test"], rankings["test"]
        write_tables(attempt.record, config, data, *test)
    return {
        "metrics": {name: ranking.metrics() for name, ranking in rankings.items()}
        or _unranked(attempt.record, notes),
        "baselines": compare_baselines(config, data, queries, console),
        "tied": {name: one.tied for name, one in rankings.items() if one.tied},
        "unmoved": _unmoved(attempt.record),
        "queries": {name: len(one.user) for name, one in queries.items()},
        "positives already seen": {n: one.already_seen for n, one in queries.items()},
        "seed": config.seed,
        "steps": notes.last_step,
        "best_step": notes.evaluated_step,
        "stopped": notes.stopped,
        "length": attempt.length,
        "temperature": learned_temperature(params),
        "seconds": notes.seconds,
        "examples_per_second": _speed(notes, config.training.batch_size),
        "samples": samples,
        "towers": {"query": config.towers.query, "candidate": config.towers.candidate},
        "stages": shared_stage_truth(config.data, data),
        "data": dict(part.split.report) | dict(data.log.dropped),
    }


def _unmoved(record: RunFolder) -> int:
    """Return the number of last validations with one result, 0 where they differ."""
    found = [one["valid"] for one in record.metrics() if one.get("valid")][1:]
    alike = len(found) > 2 and all(one == found[0] for one in found)
    return len(found) if alike else 0


def _unranked(record: RunFolder, notes: Notes) -> dict[str, dict[str, float]]:
    """Return the metrics of a pause; a model of the whole log has none."""
    if notes.stopped == PAUSED:
        return {"valid": record.metrics()[-1]["valid"]}
    return {"test": {}}


def _speed(notes: Notes, batch_size: int) -> float | None:
    """Return the examples per second of training, None where none was timed."""
    return None if notes.rate is None else notes.rate * batch_size


def _train(
    attempt: Attempt, problem: Problem, valid: QuerySet | None
) -> tuple[dict, Notes]:
    """Return the params of the best validation and the notes of the training."""
    config, data, record, console, shared, parent, length = attempt
    schedule, model = problem.schedule, problem.program.structure.model
    if length is not None:
        schedule = schedule._replace(steps=length["steps"])
    weights = weights_fingerprint(data.split)
    lists = fingerprint_of_lists(config, data)
    identity = training_identity(config, data.fingerprint, weights, lists)
    checkpoints = Checkpoints(record.shared, identity)
    saved = checkpoints.steps()
    write_json(record.path / VOCABULARY, make_vocabulary(model, data.log))
    if not saved:
        problem = problem._replace(warm_start=first_params(config, data, model, parent))
        record.keep_metrics(-1)
    evaluate = None
    if valid is not None:
        cutoffs, num_items = config.evaluation.k, data.log.num_items
        watched = some_queries(valid, config.training.eval_queries)
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

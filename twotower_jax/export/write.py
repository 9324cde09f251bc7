"""From a finished run to the folder of an exported model."""

import importlib.metadata
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from twotower_jax.config import Config, fingerprint
from twotower_jax.data.text_files import write_json, write_text
from twotower_jax.errors import InputError
from twotower_jax.export import files, serve
from twotower_jax.export.contents import Contents, Side, make_contents
from twotower_jax.export.index import INDEXES, Items, build_index, write_index
from twotower_jax.export.lists import export_lists
from twotower_jax.export.raw import values_of
from twotower_jax.export.readme import readme
from twotower_jax.export.towers import (
    PLATFORMS,
    LoadedTower,
    check_size,
    export_tower,
)
from twotower_jax.model.towers import BASELINES, TOWERS
from twotower_jax.run.evaluate import TrainedRun, load_same_data, load_trained
from twotower_jax.run.folder import RunFolder, stored_config
from twotower_jax.run.loader import trains

# Largest difference between a vector of the run and of an artifact, relative to the
# largest entry: float32 sums in another order.
TOLERANCE = 1e-5
VERSIONS = ("twotower-jax", "jax", "jaxlib", "numpy")


def export_run(
    folder: Path, out: Path, index: str | None = None, console: Console | None = None
) -> None:
    """Write the model of a finished run as a folder of files for other programs.

    A baseline, which has no towers, is written as lists of the best items
    (`export_lists`).
    """
    console = console or Console(quiet=True)
    stored = stored_config(folder)
    RunFolder(folder).result()
    _check_config(stored)
    files.check_new(out)
    if not trains(stored):
        _check_no_index(stored, index)
        export_lists(stored, load_same_data(stored, RunFolder(folder)), out)
        return
    if index is not None:
        INDEXES[index].load()
    run = load_trained(stored, folder)
    check_size(run.model, run.params)
    contents = make_contents(run)
    with files.new_folder(out) as place:
        _write_items(place, run, contents)
        _write_users(place, contents)
        write_json(place / files.VOCABULARY, contents.vocabulary)
        shutil.copyfile(serve.__file__, place / files.SERVE)
        towers = {
            "query_tower": _write_tower(place, "query", run, contents, console),
            "item_tower": _write_tower(place, "candidate", run, contents, console),
        }
        made = None if index is None else _write_index(place, index, contents, console)
        manifest = _describe(stored, run, contents) | towers | {"index": made}
        write_text(place / files.README, readme(manifest))
        manifest["files"] = files.checksums(place)
        write_json(place / files.MANIFEST, manifest)


def export_once(folder: Path) -> Path:
    """Export a finished run into its folder ``model``, if that is not there yet."""
    out = folder / "model"
    if not out.exists():
        export_run(folder, out)
    return out


def _check_config(config: Config) -> None:
    """Refuse a run whose scores are not dot products of its towers."""
    if config.evaluation.subtract_log_q:
        raise InputError(
            "evaluation.subtract_log_q=true ranks by scores less log q, which are not "
            "dot products of the towers; export a run with "
            "evaluation.subtract_log_q=false"
        )


def _check_no_index(config: Config, index: str | None) -> None:
    """Refuse an index of a baseline, which has no vectors."""
    if index is not None:
        raise InputError(
            f"--index {index} needs item vectors, and towers.kind={config.towers.kind} "
            f"has none; leave --index out, or export a run with towers.kind="
            f"{' or '.join(kind for kind in TOWERS if kind not in BASELINES)}"
        )


def _write_items(place: Path, run: TrainedRun, contents: Contents) -> None:
    """Write the item vectors, by code and with their ids."""
    ids = run.data.log.item_ids
    files.write_items(place, ids, contents.items, np.ones(len(ids), bool))


def _write_users(place: Path, contents: Contents) -> None:
    """Write the inputs of every user but the id, which is the code, and seen items."""
    values = contents.sides["query"].values
    arrays: dict[str, Any] = {
        f"inputs/{name}": array for name, array in values.items() if name != "id"
    }
    if contents.seen is not None:
        arrays |= {
            "seen/offsets": contents.seen.offsets,
            "seen/items": contents.seen.items,
        }
    np.savez(place / files.USERS, **arrays)


def _write_tower(
    place: Path, side: str, run: TrainedRun, contents: Contents, console: Console
) -> dict[str, Any]:
    """Write the artifact of a tower, compare it with the run, and describe it."""
    spec, one = getattr(run.model, side), contents.sides[side]
    path = place / files.TOWERS[side]
    items = {n: f.values for n, f in run.data.log.item_features.items()}
    raw = values_of(side, contents.vocabulary, one.inputs)
    path.write_bytes(export_tower(side, spec, run.params, one.inputs, items, raw))
    worst = _check_tower(LoadedTower(path, one.inputs, raw), path.name, one)
    text = f"{path.name}: {len(one.sample):,} vectors equal the run's to {worst:.0e}"
    console.print(text, highlight=False, soft_wrap=True)
    return {
        "file": path.name,
        "platforms": PLATFORMS,
        "inputs": [each._asdict() for each in one.inputs],
    }


def _check_tower(tower: LoadedTower, name: str, side: Side) -> float:
    """Return the largest difference between the vectors of an artifact and a run."""
    given = {name: array[side.sample] for name, array in side.values.items()}
    vectors = tower(given, len(side.sample))
    worst = float(np.abs(vectors - side.vectors).max())
    if not worst <= TOLERANCE * max(1.0, float(np.abs(side.vectors).max())):
        raise RuntimeError(f"{name} differs from the run's vectors by {worst:.2e}")
    return worst


def _write_index(
    place: Path, library: str, contents: Contents, console: Console
) -> dict[str, Any]:
    """Write an index, print its recall and its time per query, and describe it."""
    queries = contents.sides["query"].vectors
    path = place / f"items.{library}"
    items = Items(np.arange(len(contents.items)), contents.items)
    index = build_index(library, contents.items)
    made = write_index(library, path, index, items, queries)
    console.print(
        f"{path.name}: recall@{made['k']} {made['recall']:.4f} against the exact "
        f"lists of {made['queries']:,} users, {made['milliseconds']:.3f} ms per query",
        highlight=False,
        soft_wrap=True,
    )
    return made


def _describe(config: Config, run: TrainedRun, contents: Contents) -> dict[str, Any]:
    """Return the entries of the manifest that do not refer to files."""
    log = run.data.log
    return {
        "format": files.FORMAT,
        "format_version": files.FORMAT_VERSION,
        "similarity": "cosine" if config.towers.normalize else "dot product",
        "dim": config.towers.dim,
        "users": log.num_users,
        "items": log.num_items,
        "seen_items": contents.seen is not None,
        "removed_items": [],
        "run": {
            "name": config.name,
            "arm": config.arm,
            "seed": config.seed,
            "hidden": config.towers.hidden,
            "step": run.step,
            "config_fingerprint": fingerprint(config),
            "data_fingerprint": run.data.fingerprint,
        },
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
        "device": jax.devices()[0].device_kind,
    }

"""From a finished run to a folder of files that other programs serve."""

import importlib.metadata
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl
from rich.console import Console

from twotower_jax import keys
from twotower_jax.config import Config, fingerprint
from twotower_jax.data.log import Feature
from twotower_jax.data.text_files import write_json, write_text
from twotower_jax.errors import InputError
from twotower_jax.export import files, serve
from twotower_jax.export.index import INDEXES, write_index
from twotower_jax.export.towers import (
    NUMBERS,
    PLATFORMS,
    LoadedTower,
    TowerInput,
    check_size,
    export_tower,
    tower_inputs,
)
from twotower_jax.model.towers import BASELINES, TOWERS
from twotower_jax.model.two_tower import all_candidates, all_queries, last_items
from twotower_jax.run.evaluate import (
    TrainedRun,
    baseline_scorer,
    known_clicks,
    load_same_data,
    load_trained,
)
from twotower_jax.run.folder import RunFolder, stored_config
from twotower_jax.run.loader import Loaded, trains
from twotower_jax.run.rank import UserState, user_state
from twotower_jax.run.updates import make_vocabulary

# Largest difference between a vector of the run and of an artifact, relative to the
# largest entry: float32 sums in another order.
TOLERANCE = 1e-5
VERSIONS = ("twotower-jax", "jax", "jaxlib", "numpy")
SAMPLE = 1000  # users, and items, whose vectors are compared, or measure a recall
LENGTH = 100  # of the lists of a baseline


def export_run(
    folder: Path, out: Path, index: str | None = None, console: Console | None = None
) -> None:
    """Write the model of a finished run as a folder of files for other programs.

    A baseline has no towers that another program could call, and its scores need all
    of the clicks; it is written as the best items of every user.
    """
    config = stored_config(folder)
    RunFolder(folder).result()
    if config.evaluation.subtract_log_q:
        raise InputError(
            "evaluation.subtract_log_q=true ranks by scores less log q, which are not "
            "dot products of the towers; export a run with "
            "evaluation.subtract_log_q=false"
        )
    files.check_new(out)
    if index is not None and not trains(config):
        raise InputError(
            f"--index {index} needs item vectors, and towers.kind={config.towers.kind} "
            f"has none; leave --index out, or export a run with towers.kind="
            f"{' or '.join(kind for kind in TOWERS if kind not in BASELINES)}"
        )
    if index is not None:
        INDEXES[index].load()
    console = console or Console(quiet=True)
    with files.new_folder(out) as draft:
        if trains(config):
            manifest, text = _write_model(draft, config, folder, index, console)
        else:
            data = load_same_data(config, RunFolder(folder))
            manifest, text = _write_lists(draft, config, data)
        shutil.copyfile(serve.__file__, draft / files.SERVE)
        write_text(draft / files.README, text)
        manifest["files"] = files.checksums(draft)
        write_json(draft / files.MANIFEST, manifest)


def _describe(config: Config, data: Loaded) -> dict[str, Any]:
    """Return the entries that the manifests of models and of lists share."""
    return {
        "format_version": files.FORMAT_VERSION,
        "users": data.log.num_users,
        "items": data.log.num_items,
        "seen_items": config.data.mask_seen,
        "run": {
            "name": config.name,
            "arm": config.arm,
            "seed": config.seed,
            "config_fingerprint": fingerprint(config),
            "data_fingerprint": data.fingerprint,
        },
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
    }


# --- a two-tower model ----------------------------------------------------------------


class Side(NamedTuple):
    """One tower and its entities: the users or the items.

    Attributes:
      inputs: of the tower, in order.
      values: {input: [entities, ...]}, of every entity by code.
      sample: [n] codes of random entities.
      vectors: [n, dim] float32, their embeddings in the run's evaluation.
    """

    inputs: tuple[TowerInput, ...]
    values: dict[str, np.ndarray]
    sample: np.ndarray
    vectors: np.ndarray


def _write_model(
    draft: Path, config: Config, folder: Path, index: str | None, console: Console
) -> tuple[dict[str, Any], str]:
    """Write the files of a model; return its manifest and its README."""
    run = load_trained(config, folder)
    check_size(run.model, run.params)
    log, state = run.data.log, user_state(run.config, run.data)
    vectors = np.asarray(
        all_candidates(run.model, run.params, state.entities, log.num_items)
    )
    np.save(draft / files.ITEM_VECTORS, vectors)
    column = pl.Series("vector", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))
    table = pl.DataFrame([log.item_ids.rename("item"), column])
    table.write_parquet(draft / files.ITEM_TABLE)
    write_json(draft / files.VOCABULARY, make_vocabulary(run.model, log))
    query, item = _query_side(run, state), _item_side(run, vectors)
    _write_users(draft, run, state, query)
    made = None
    if index is not None:
        made = write_index(index, draft / f"items.{index}", vectors, query.vectors)
        console.print(
            f"{made['file']}: recall@{made['k']} {made['recall']:.4f} against the exact"
            f" lists of {made['queries']:,} users, {made['milliseconds']:.3f} ms per "
            "query",
            highlight=False,
            soft_wrap=True,
        )
    manifest = _describe(config, run.data) | {
        "format": files.FORMAT,
        "similarity": "cosine" if config.towers.normalize else "dot product",
        "dim": config.towers.dim,
        "step": run.step,
        "query_tower": _write_tower(draft, "query", run, query, console),
        "item_tower": _write_tower(draft, "candidate", run, item, console),
        "index": made,
        "device": jax.devices()[0].device_kind,
    }
    return manifest, _model_readme(manifest)


def sample_codes(number: int, name: str) -> np.ndarray:
    """At most SAMPLE of the codes 0..number-1, ascending, always the same."""
    drawn = keys.generator(0, f"export_{name}").permutation(number)[:SAMPLE]
    return np.sort(drawn).astype(np.int32)


def _query_side(run: TrainedRun, state: UserState) -> Side:
    log, model = run.data.log, run.model
    users = sample_codes(log.num_users, "users")
    queries = jax.tree.map(lambda x: x[users], state.queries)
    vectors = np.asarray(all_queries(model, run.params, state.entities, queries))
    values, history = _values(log.user_features, log.num_users), model.query.history
    if history is not None:
        items = last_items(history.length, state.entities.history, state.queries)
        empty = np.empty((log.num_users, 0), np.int32)
        values["history"] = empty if items is None else np.asarray(items)
    inputs = tower_inputs(model.query, _widths(log.user_features))
    return Side(inputs, {i.name: values[i.name] for i in inputs}, users, vectors)


def _item_side(run: TrainedRun, vectors: np.ndarray) -> Side:
    log = run.data.log
    items = sample_codes(log.num_items, "items")
    values = _values(log.item_features, log.num_items)
    inputs = tower_inputs(run.model.candidate, _widths(log.item_features))
    return Side(inputs, {i.name: values[i.name] for i in inputs}, items, vectors[items])


def _values(features: dict[str, Feature], number: int) -> dict[str, np.ndarray]:
    """Return the ids and the features of every entity."""
    values = {name: feature.values for name, feature in features.items()}
    return values | {"id": np.arange(number, dtype=np.int32)}


def _widths(features: dict[str, Feature]) -> dict[str, int]:
    return {n: f.values.shape[1] for n, f in features.items() if f.values.ndim > 1}


def _write_users(draft: Path, run: TrainedRun, state: UserState, query: Side) -> None:
    """Write the inputs of every user but the id, seen items, and popular items."""
    arrays: dict[str, Any] = {
        f"inputs/{name}": array for name, array in query.values.items() if name != "id"
    }
    if state.seen is not None:
        arrays |= {"seen/offsets": state.seen.offsets, "seen/items": state.seen.items}
    popular = np.argsort(-run.data.counts, kind="stable").astype(np.int32)
    np.savez(draft / files.USERS, popular=popular, **arrays)


def _write_tower(
    draft: Path, name: str, run: TrainedRun, side: Side, console: Console
) -> dict[str, Any]:
    """Write the artifact of a tower, compare it with the run, and describe it."""
    path = draft / files.TOWERS[name]
    items = {n: f.values for n, f in run.data.log.item_features.items()}
    spec = getattr(run.model, name)
    path.write_bytes(export_tower(name, spec, run.params, side.inputs, items))
    given = {name: array[side.sample] for name, array in side.values.items()}
    vectors = LoadedTower(path, side.inputs)(given, len(side.sample))
    worst = float(np.abs(vectors - side.vectors).max())
    if not worst <= TOLERANCE * max(1.0, float(np.abs(side.vectors).max())):
        raise RuntimeError(f"{path.name} differs from the run's vectors by {worst:.2e}")
    text = f"{path.name}: {len(side.sample):,} vectors equal the run's to {worst:.0e}"
    console.print(text, highlight=False, soft_wrap=True)
    return {
        "file": path.name,
        "platforms": PLATFORMS,
        "inputs": [spec._asdict() for spec in side.inputs],
    }


MODEL_README = """# An exported two-tower model

{users:,} users, {items:,} items, vectors of {dim} numbers, similarity: {similarity}.
The score of a query and an item is the dot product of their vectors, without
temperature and log q; equal scores are ordered by lower row. Written by twotower-jax
{version} from step {step} of the run `{config}` (seed {seed}, data `{data}`).

```
pip install numpy jax flatbuffers
python serve.py --user ID
python serve.py --history ID,ID,...
```

| file | content |
|---|---|
| `item_vectors.npy` | [{items}, {dim}] float32; the row is the code of the item |
| `item_vectors.parquet` | the same with the ids: columns `item` and `vector` |
| `query_tower.jaxexport` | `jax.export`: inputs of queries -> vectors [batch, {dim}] |
| `item_tower.jaxexport` | the same of items, for items beyond the catalogue |
| `vocabulary.json` | ids and feature values by code: the place in a list is the code |
| `users.npz` | inputs of the query tower by user code, seen items, popular items |
| `serve.py` | prints the best items, with numpy and jax |
{index}| `manifest.json` | inputs of the towers, the run, SHA-256 of every file |

| tower | input | kind | array | takes |
|---|---|---|---|---|
{inputs}

A code is the place of a value in its list in `vocabulary.json`; -1 is an unknown or a
missing value, and fills up lists. A history holds the latest item first. A number is
(value - mean) / deviation, a vector is given as in the log, and 0 is a missing one.
"""


def _model_readme(manifest: dict[str, Any]) -> str:
    run, index, lines = manifest["run"], manifest["index"], []
    for tower in ("query", "item"):
        for one in manifest[f"{tower}_tower"]["inputs"]:
            numbers, width = one["kind"] in NUMBERS, one["width"]
            shape = "[batch]" if width is None else f"[batch, {width}]"
            takes = "numbers" if numbers else f"codes 0..{one['codes'] - 1}"
            dtype = "float32" if numbers else "int32"
            lines.append(
                f"| {tower} | `{one['name']}` | {one['kind']} | {shape} {dtype} | "
                f"{takes} |"
            )
    return MODEL_README.format(
        **{name: manifest[name] for name in ("users", "items", "dim", "similarity")},
        step=manifest["step"],
        version=manifest["versions"]["twotower-jax"],
        seed=run["seed"],
        config=run["config_fingerprint"],
        data=run["data_fingerprint"],
        index=f"| `{index['file']}` | index of {index['library']}, inner product, keys "
        f"are rows; recall@{index['k']} {index['recall']:.4f} |\n"
        if index
        else "",
        inputs="\n".join(lines),
    )


# --- the lists of a baseline ----------------------------------------------------------


LISTS_README = """# The lists of a baseline: {label}

The {length} best items of each of {users:,} users, of {items:,} items, and one list for
a user that is not among them: the items with the most clicks. Written by twotower-jax
{version} from the run `{config}` (data `{data}`).

`lists.parquet` has the columns `user` (null: all others), `rank` from 1, `item` and
`score`, which is a number of clicks where the baseline has none for a user.

```
pip install polars
python serve.py --user ID
```
"""


def _write_lists(
    draft: Path, config: Config, data: Loaded
) -> tuple[dict[str, Any], str]:
    """Write the lists of a baseline; return their manifest and their README."""
    lists = best_items(config, data)
    lists.write_parquet(draft / files.LISTS)
    manifest = _describe(config, data) | {
        "format": files.LISTS_FORMAT,
        "baseline": config.towers.kind,
        "length": min(LENGTH, data.log.num_items),
    }
    text = LISTS_README.format(
        label=BASELINES[config.towers.kind].label,
        version=manifest["versions"]["twotower-jax"],
        config=manifest["run"]["config_fingerprint"],
        data=manifest["run"]["data_fingerprint"],
        **{name: manifest[name] for name in ("length", "users", "items")},
    )
    return manifest, text


def best_items(config: Config, data: Loaded) -> pl.DataFrame:
    """The best items of every user by a baseline, as evaluation on test lists them."""
    log, k = data.log, min(LENGTH, data.log.num_items)
    history = known_clicks(config, data, "test")
    blank = np.zeros(log.num_users, bool)
    scorer = baseline_scorer(config, data, config.towers.kind, history, blank)
    scores, items = scorer.top_k(k, user_state(config, data).seen)
    most = np.argsort(-data.counts, kind="stable")[None, :k]
    return files.lists_table(
        log.user_ids.rename("user").extend_constant(None, 1),
        log.item_ids.rename("item"),
        np.concatenate([items, most.astype(items.dtype)]),
        np.concatenate([scores, data.counts[most].astype(scores.dtype)]),
    )

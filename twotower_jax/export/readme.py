"""The README of an export: its files, its inputs, and the answers to unknown input."""

from typing import Any

from twotower_jax.export.towers import NUMBERS

TEXT = """# An exported two-tower model

{users:,} users, {items:,} items, vectors of dimension {dim}, similarity: {similarity}.
The score of a query and an item is the dot product of their vectors. {length} A score
contains neither the temperature nor log q. Equal scores are ordered by lower item code.

Written by twotower-jax {version} from step {step} of the run `{config}` (seed {seed},
data `{data}`). `manifest.json` holds the format version and the SHA-256 of every file.

## Serve

```
pip install numpy jax flatbuffers
python serve.py --user ID
python serve.py --history ID,ID,...
```

`--exclude-seen` leaves out the items of the history and those that the user clicked.
The same in Python with twotower-jax, and by other programs with `item_vectors.npy` and
the query tower:

```python
import twotower_jax

model = twotower_jax.load_model("this folder")
model.recommend(users=[...], k=20)
model.similar([...], k=20)
```

## Files

| file | content |
|---|---|
| `item_vectors.npy` | [{codes}, {dim}] float32; the row is the code of the item |
| `item_vectors.parquet` | the same with the ids: columns `item` and `vector`{removed} |
| `query_tower.jaxexport` | `jax.export`: inputs of queries -> vectors [batch, {dim}] |
| `item_tower.jaxexport` | the same of items, for items beyond the catalogue |
| `vocabulary.json` | ids and feature values by code: the place in a list is the code |
| `users.npz` | `inputs/NAME` of the query tower by user code, as codes{seen} |
| `serve.py` | prints the best items, with numpy and jax |
{index}| `manifest.json` | format version, inputs of the towers, run, checksums |

The artifacts hold the trained parameters and run on {platforms}:

```python
tower = jax.export.deserialize(bytearray(open("query_tower.jaxexport", "rb").read()))
vectors = tower.call({{"name of the input": array, ...}})
```

JAX {jax} wrote them; JAX reads artifacts of earlier versions for at least six months.

## Inputs of the towers

{inputs}

Values of the log are its whole numbers as int32 (0 to 2147483647); an unknown one is a
missing value. A code is the place of a value in its list in `vocabulary.json`, int32;
every other number than 0..codes-1 is a missing value. Text and larger numbers are given
as codes, because `jax.export` has no text, and JAX no 64-bit integers by default. -1 is
a missing value of both, and fills up lists. A history holds the latest item first. A
numeric input is (value - mean) / deviation with the numbers of `vocabulary.json`, and 0
where the deviation is 0. A vector is given as in the log: the tower divides it by its
length.

Histories and seen items of `users.npz` are the positives of the training and validation
parts, as in the run's evaluation on the test part.

## Answers to unknown input

They are those of the run's evaluation, where a missing value has no vector:

* **Unknown user**: id -1, every feature missing, and an empty history, or the history
  that is given. Where nothing at all is known, a tower without hidden layers returns
  the vector 0: every score is 0, and the list is the catalogue in the order of its
  codes. A tower with hidden layers returns the same vector for all such queries.
  Hidden layers of this model: {hidden}.
* **User of the log without a training positive**: the vector of the id is its random
  start, which training did not move.
* **Unknown item in a history**: left out.
* **Item of the catalogue without a training positive**: it has a vector; if the item
  tower reads the id, that of the id may be its random start.
* **New item**: the item tower with id -1 computes its vector from its features
  (`model.embed_items`). A tower that reads the id alone gives all new items one vector;
  `model.embed_by_neighbours` averages those of items of similar content.
  `model.index.add` adds it to the lists, and `model.save` writes them.
* **Missing feature**: -1 for codes adds 0; a list is the mean of the codes that are
  present, a history is pooled over its items that are present, and both are 0 where
  none is. A missing number is 0, the mean, and a missing vector is 0.
* **Unknown value of a feature**: -1, as a missing one.
"""
REMOVED = """, null for a removed item
(`removed_items` of the manifest lists their codes, whose rows are not to be read)"""
LENGTHS = {
    "cosine": "Vectors have length 1, or are 0.",
    "dot product": "The vectors are not normalised.",
}


def readme(manifest: dict[str, Any]) -> str:
    """Return the text of README.md."""
    run, index = manifest["run"], manifest["index"]
    line = ""
    if index is not None:
        line = (
            f"| `{index['file']}` | index of {index['library']}, inner product, keys "
            f"are item codes; recall@{index['k']} {index['recall']:.4f} |\n"
        )
    platforms = " and ".join(manifest["query_tower"]["platforms"])
    return TEXT.format(
        **{name: manifest[name] for name in ("users", "items", "dim", "similarity")},
        codes=manifest["items"] + len(manifest["removed_items"]),
        removed=REMOVED if manifest["removed_items"] else "",
        length=LENGTHS[manifest["similarity"]],
        version=manifest["versions"]["twotower-jax"],
        jax=manifest["versions"]["jax"],
        step=run["step"],
        seed=run["seed"],
        config=run["config_fingerprint"],
        data=run["data_fingerprint"],
        seen=", and `seen/` the items they clicked" if manifest["seen_items"] else "",
        index=line,
        platforms=platforms,
        hidden=run["hidden"] or "none",
        inputs=_inputs(manifest),
    )


def _inputs(manifest: dict[str, Any]) -> str:
    """Return a table of the inputs of both towers."""
    lines = ["| tower | input | kind | array | takes |", "|---|---|---|---|---|"]
    for tower in ("query", "item"):
        for one in manifest[f"{tower}_tower"]["inputs"]:
            dtype = "float32" if one["kind"] in NUMBERS else "int32"
            shape = "[batch]" if one["width"] is None else f"[batch, {one['width']}]"
            cells = tower, f"`{one['name']}`", one["kind"], f"{shape} {dtype}"
            lines.append(f"| {' | '.join(cells)} | {_takes(one)} |")
    return "\n".join(lines)


def _takes(one: dict[str, Any]) -> str:
    """Return what the values of an input are."""
    if one["kind"] in NUMBERS:
        return "numbers"
    # Manifests of format version 1 have no such entry.
    if one.get("raw", False):
        return f"values of the log, {one['codes']:,} known"
    return f"codes 0..{one['codes'] - 1}"

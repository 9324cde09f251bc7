"""Print the best items of a user, or of a history, of an exported model.

The script stands in the folder of the model and reads its files. It needs numpy, jax
and flatbuffers, the package by which jax.export reads artifacts; the lists of a
baseline need polars alone:

  python serve.py --user ID
  python serve.py --history ID,ID,...
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def main() -> None:
    """Print rank, item and score of the best items, one item per line."""
    manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    inputs = manifest.get("query_tower", {}).get("inputs", [])
    options = parse(reads_history=any(one["kind"] == "history" for one in inputs))
    for name, entry in manifest["files"].items():
        path = HERE / name
        if not path.is_file() or sha256(path) != entry.get("sha256"):
            sys.exit(f"error: {path} is missing or damaged; copy the folder again")
    best = from_model(manifest, options) if inputs else from_lists(options)
    for rank, (item, score) in zip(range(1, options.top + 1), best):  # noqa: B905
        print(rank, item, f"{score:.6f}", sep="\t")


def parse(reads_history: bool) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Print the best items of a query.")
    parser.add_argument("--user", metavar="ID", default="", help="a user of the log")
    text = "items, the latest last; they replace the user's own history"
    parser.add_argument("--history", metavar="ID,ID,...", default="", help=text)
    text = "leave out the items of the history and those that the user clicked"
    parser.add_argument("--exclude-seen", action="store_true", help=text)
    parser.add_argument("--top", type=int, default=20, metavar="K", help="default: 20")
    options = parser.parse_args()
    if not options.user and not options.history:
        parser.error("give --user or --history")
    if options.history and not reads_history:
        parser.error("the model reads no history; give --user alone")
    if options.top < 1:
        parser.error(f"--top {options.top} is out of range; give 1 or more")
    return options


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def from_lists(options: argparse.Namespace) -> Iterator[tuple[Any, float]]:
    """Yield item and score of a user's list by a baseline, best first."""
    import polars as pl

    lists = pl.read_parquet(HERE / "lists.parquet", glob=False)
    own = lists.filter(pl.col("user").cast(pl.String) == options.user)
    if not len(own):
        print(f"unknown user {options.user!r}: the most clicked items", file=sys.stderr)
        own = lists.filter(pl.col("user").is_null())
    yield from own["item", "score"].rows()


def from_model(
    manifest: dict[str, Any], options: argparse.Namespace
) -> Iterator[tuple[Any, float]]:
    """Yield item and score of a query by a two-tower model, best first."""
    import jax.export
    import numpy as np

    names = json.loads((HERE / "vocabulary.json").read_text(encoding="utf-8"))
    users = np.load(HERE / "users.npz")
    user = codes([options.user], names["users"], "user")
    history = codes(options.history.split(","), names["items"], "item")
    left_out = history + seen(user, users) if options.exclude_seen else []
    if user or history:
        tower = manifest["query_tower"]
        query = {
            one["name"]: value(one, user, history, users, np) for one in tower["inputs"]
        }
        artifact = bytearray((HERE / tower["file"]).read_bytes())
        vector = np.asarray(jax.export.deserialize(artifact).call(query))[0]
        # einsum adds every row in the same order: equal vectors have equal scores.
        scores = np.einsum("nd,d->n", np.load(HERE / "item_vectors.npy"), vector)
        best = np.argsort(-scores, kind="stable")  # ties: the lower code
    else:
        print("nothing is known of the query: the most clicked items", file=sys.stderr)
        best, scores = users["popular"], np.full(len(names["items"]), np.nan)
    for item in best[~np.isin(best, left_out)]:
        yield names["items"][item], float(scores[item])


def codes(ids: list[str], vocabulary: list, kind: str) -> list[int]:
    """Return the codes of ids; an unknown id is reported and left out."""
    places = {str(name): code for code, name in enumerate(vocabulary)}
    for name in ids:
        if name and name not in places:
            print(f"unknown {kind} {name!r}", file=sys.stderr)
    return [places[name] for name in ids if name in places]


def value(
    one: dict[str, Any], user: list[int], history: list[int], users: Any, np: Any
) -> Any:
    """Return an input of the tower, [1] or [1, width]: 0 or -1 where it is unknown."""
    is_number = one["kind"] in ("numeric", "vector")
    dtype = np.float32 if is_number else np.int32
    if one["kind"] == "history" and history:
        last = history[::-1][: one["width"]]  # the latest first
        return np.array([last + [-1] * (one["width"] - len(last))], dtype)
    if user and one["kind"] == "id":
        return np.array(user, dtype)
    if user:
        return users["inputs/" + one["name"]][user]
    shape = (1,) if one["width"] is None else (1, one["width"])
    return np.full(shape, 0 if is_number else -1, dtype)


def seen(user: list[int], users: Any) -> list[int]:
    """Return the items that the user clicked in training and validation."""
    if user and "seen/items" not in users:
        sys.exit("error: the folder lists no seen items; leave out --exclude-seen")
    bounds = [users["seen/offsets"][code : code + 2] for code in user]
    return [int(i) for a, b in bounds for i in users["seen/items"][a:b]]


if __name__ == "__main__":
    main()

"""Print the best items of a user, or of a history, of an exported model.

The script stands in the folder of the model and reads its files. It needs numpy, jax
and flatbuffers, the package by which jax.export reads artifacts:

  python serve.py --user ID
  python serve.py --history ID,ID,...
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

HERE = Path(__file__).parent


def main() -> None:
    """Print rank, item and score of the best items, one item per line."""
    manifest, names = read("manifest.json"), read("vocabulary.json")
    inputs = manifest["query_tower"]["inputs"]
    options = parse(reads_history=any(one["kind"] == "history" for one in inputs))
    users = np.load(HERE / "users.npz")
    user = codes([options.user], names["users"], "user")
    history = codes(options.history.split(","), names["items"], "item")
    left_out = history + seen(user, users) if options.exclude_seen else []
    left_out += manifest["removed_items"]

    query = {
        one["name"]: as_given(one, value(one, user, history, users), names)
        for one in inputs
    }
    artifact = (HERE / manifest["query_tower"]["file"]).read_bytes()
    vector = np.asarray(jax.export.deserialize(bytearray(artifact)).call(query))[0]
    # einsum adds every row in the same order: equal vectors have equal scores.
    scores = np.einsum("nd,d->n", np.load(HERE / "item_vectors.npy"), vector)
    scores[left_out] = -np.inf
    best = np.argsort(-scores, kind="stable")[: options.top]  # ties: the lower code
    for rank, item in enumerate(best[scores[best] > -np.inf], start=1):
        print(rank, names["items"][item], f"{scores[item]:.6f}", sep="\t")


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


def read(name: str) -> dict[str, Any]:
    """Return the content of a JSON file of the folder."""
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def codes(ids: list[str], vocabulary: list, kind: str) -> list[int]:
    """Return the codes of ids; an unknown id is reported and left out."""
    places = {str(name): code for code, name in enumerate(vocabulary)}
    for name in ids:
        if name and name not in places:
            print(f"unknown {kind} {name!r}", file=sys.stderr)
    return [places[name] for name in ids if name in places]


def value(one: dict[str, Any], user: list[int], history: list[int], users: Any) -> Any:
    """Return an input of the tower, [1] or [1, width]: 0 or -1 where it is unknown."""
    is_number = one["kind"] in ("numeric", "vector")
    dtype = np.float32 if is_number else np.int32
    if one["kind"] == "history" and history:
        known = [item for item in history if item < one["codes"]]
        last = known[::-1][: one["width"]]  # the latest first
        return np.array([last + [-1] * (one["width"] - len(last))], dtype)
    if user and one["kind"] == "id":
        return np.array(user, dtype)
    if user:
        return users["inputs/" + one["name"]][user]
    shape = (1,) if one["width"] is None else (1, one["width"])
    return np.full(shape, 0 if is_number else -1, dtype)


def as_given(one: dict[str, Any], codes: Any, names: dict[str, Any]) -> Any:
    """Return an input as the tower takes it: whole numbers of the log, or codes."""
    if not one.get("raw"):
        return codes
    lists = {"id": names["users"], "history": names["items"]} | names["user_features"]
    return np.append(lists[one["name"]][: one["codes"]], -1)[codes].astype(np.int32)


def seen(user: list[int], users: Any) -> list[int]:
    """Return the items that the user clicked in training and validation."""
    if user and "seen/items" not in users:
        sys.exit("error: the folder lists no seen items; leave out --exclude-seen")
    bounds = [users["seen/offsets"][code : code + 2] for code in user]
    return [int(i) for a, b in bounds for i in users["seen/items"][a:b]]


if __name__ == "__main__":
    main()

"""Write a log in LightGCN's format with its valid and its test part exchanged.

    python experiments/papers/exchange_parts.py OUT experiment=... data.path=FOLDER

A training on OUT is the one on FOLDER, on the same positives, but that it stops where
the official test part is best: what papers do that name it valid. Its "valid" metrics
are then those of the official test part at that step.
"""

import sys
from pathlib import Path

import numpy as np

from twotower_jax.data.log import FunnelLog, Pairs
from twotower_jax.run.loader import load_data
from twotower_jax.sweeps.compose import compose_config


def lines(log: FunnelLog, pairs: Pairs) -> list[str]:
    """Return ``user item item ...`` for each user of a part, in the order of codes.

    Args:
      log: with the ids of the input.
      pairs: the part.
    """
    order = np.argsort(pairs.user, kind="stable")
    users, starts = np.unique(pairs.user[order], return_index=True)
    of_users = np.split(pairs.item[order], starts[1:])
    item_ids, user_ids = log.item_ids.to_list(), log.user_ids.to_list()
    return [
        " ".join(str(one) for one in (user_ids[user], *(item_ids[i] for i in items)))
        for user, items in zip(users, of_users, strict=True)
    ]


def main(out: str, *words: str) -> None:
    """Write train.txt, valid.txt and test.txt."""
    data = load_data(compose_config(list(words)))
    folder, split = Path(out), data.split
    folder.mkdir(parents=True)
    parts = {"train": split.train, "valid": split.test, "test": split.valid}
    for name, part in parts.items():
        text = "\n".join(lines(data.log, part)) + "\n"
        (folder / f"{name}.txt").write_text(text)
        print(f"{folder / name}.txt: {len(part):,} positives")


if __name__ == "__main__":
    main(*sys.argv[1:])

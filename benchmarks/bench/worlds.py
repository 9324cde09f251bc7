"""Worlds of the trainings: the logs of this package, and the same clicks for peers."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import training
from training import World, clicks, loaded

from .settings import Case

KEPT = 65_536  # clicks that peers train on where a row has a history or hard slots
POOL = 10  # items that were ranked for a click and not shown
ADAGRAD = {"name": "adagrad", "learning_rate": 0.05, "eps": 1e-7}


def write_clicks(case: Case, number: int, folder: Path) -> Path:
    """Write the clicks of a case for peers, and return the file.

    Args:
      case: the training.
      number: of clicks.
      folder: of the file, which is written once.
    """
    name = f"{case.items}-{case.history}-{case.hard}-{number}.npz"
    if not (folder / name).exists():
        training.CLICKS = number
        user, item = clicks(case.items)
        user %= case.users
        share = np.bincount(item, minlength=case.items) / np.float32(number)
        arrays = {"user": user, "item": item, "probability": share[item]}
        arrays |= _wide(case, user, item)
        sizes = {"users": np.int64(case.users), "items": np.int64(case.items)}
        arrays = {k: v.astype(_kind(v)) for k, v in arrays.items()}
        np.savez(folder / name, **arrays, **sizes)
    return folder / name


def make_world(case: Case, file: Path, merge: bool) -> World:
    """Return the training of a case by this package.

    Args:
      case: the training.
      file: its clicks; those of a case without a history and hard slots.
      merge: whether repeated items of a batch are merged.
    """
    with np.load(file) as arrays:
        user, item = arrays["user"] % case.users, arrays["item"]
    data = loaded(user, item, case.users, case.items, POOL if case.hard else 0)
    others = {"optimizer": ADAGRAD}
    if case.hard:
        hard = {"num": case.hard, "stages": ["ranked"]}
        others["negatives"] = {"hard": hard}
    return World(
        data,
        SimpleNamespace(batch=case.batch, merge=merge),  # type: ignore[arg-type]
        others,
        query=("history",) if case.history else ("id",),
        candidate=("id",),
        dim=case.dim,
        hidden=(2 * case.dim,),
        history_length=case.history or 20,
    )


def histories(
    user: np.ndarray, item: np.ndarray, length: int, kept: np.ndarray
) -> np.ndarray:
    """Return the clicks of the user before some clicks, [kept, length].

    The latest is first; -1 stands behind the end.

    Args:
      user, item: [clicks], in the order of time.
      length: most clicks of a history.
      kept: [kept] places of the clicks.
    """
    order = np.argsort(user, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    begin = np.searchsorted(user[order], user[kept])[:, None]
    before = place[kept][:, None] - 1 - np.arange(length)
    return np.where(before >= begin, item[order][before.clip(0)], -1)


def _wide(case: Case, user: np.ndarray, item: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of a case whose rows hold several items, for some clicks."""
    if not case.history and not case.hard:
        return {}
    rng = np.random.default_rng(0)
    kept = rng.permutation(len(user))[:KEPT]
    wide = {"user": user[kept], "item": item[kept]}
    share = np.bincount(item, minlength=case.items) / np.float32(len(item))
    wide["probability"] = share[wide["item"]]
    if case.history:
        wide["history"] = histories(user, item, case.history, kept)
    if case.hard:
        wide["hard"] = rng.integers(0, case.items, (len(kept), case.hard))
    return wide


def _kind(values: np.ndarray) -> type:
    return np.float32 if values.dtype.kind == "f" else np.int32

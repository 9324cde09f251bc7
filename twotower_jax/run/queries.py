"""The queries of a split: positives, masked items, inputs of the query tower, truth."""

from typing import NamedTuple

import jax
import numpy as np

from twotower_jax import keys
from twotower_jax.config import Config
from twotower_jax.data.feed import Entities, Queries
from twotower_jax.data.log import Pairs
from twotower_jax.data.repeats import AT_A_TIME, among
from twotower_jax.errors import InputError
from twotower_jax.evaluation.propensity import inverse_propensities
from twotower_jax.evaluation.ragged import Ragged, from_pairs, take_rows
from twotower_jax.evaluation.rivals import rivals
from twotower_jax.run.inputs import (
    Loaded,
    make_entities,
    queries_of,
    query_history,
)
from twotower_jax.run.simulator_truth import Truth, make_truth
from twotower_jax.run.tower_features import choose_features


class QuerySet(NamedTuple):
    """The queries of a split, ascending by user code.

    Attributes:
      user: [queries] int32 codes.
      positives: the items to retrieve, a row per query.
      weights: [items] float64, inverse propensities with the mean 1 over the positives
        of the whole split.
      seen: items that are left out of the rankings, a row per query; None for none.
      queries: the input of the query tower, on the device.
      entities: features and histories of both towers, on the device.
      already_seen: number of positives left out, for their users clicked them before.
      rivals: by name, the items that auc@NAME compares the positives with.
      truth: the items that the users would click, None where this is unknown.
    """

    user: np.ndarray
    positives: Ragged
    weights: np.ndarray
    seen: Ragged | None
    queries: Queries
    entities: Entities
    already_seen: int
    rivals: dict[str, Ragged]
    truth: Truth | None


def make_query_sets(config: Config, data: Loaded) -> dict[str, QuerySet]:
    """Return the queries of the splits that a run is evaluated on, by name.

    Args:
      config: the run.
      data: its data.

    Returns:
      Those of "valid", unless it is empty, and "test", unless the data have none.

    Raises:
      InputError: where no query is left to evaluate on.
    """
    tests = config.evaluation.test and config.data.has_test
    names = ("valid", "test") if tests else ("valid",)
    made = {name: make_query_set(config, data, name) for name in names}
    if tests and made["test"] is None:
        raise InputError(
            "every positive of the test split was clicked in training by the same "
            "user; set data.mask_seen=false to retrieve seen items again"
        )
    if not config.evaluation.test and made["valid"] is None:
        raise InputError(
            "evaluation.test=false leaves validation to evaluate on, but data.split="
            f"{config.data.split} with data.valid_share={config.data.valid_share} "
            "leaves no validation set; set data.valid_share above 0"
        )
    return {name: one for name, one in made.items() if one is not None}


def make_query_set(config: Config, data: Loaded, name: str) -> QuerySet | None:
    """Return the queries of a split, None where it is empty.

    Items that the user clicked in training (for the test split: in training or
    validation) are masked when ``data.mask_seen``; a positive among them cannot be
    retrieved, so it is left out and counted. The history of a query ends where its
    split begins.

    Args:
      config: the run.
      data: its data.
      name: "valid" or "test".
    """
    config = choose_features(config, data)
    pairs: Pairs = getattr(data.split, name)
    earlier = data.split.known
    if name == "test":
        earlier = earlier.join(data.split.valid)
    already = 0
    if config.data.mask_seen and len(pairs):
        pairs, already = _unseen(pairs, earlier, data.log.num_items)
    if not len(pairs):
        return None
    user, row = np.unique(pairs.user, return_inverse=True)
    seen = _seen(user, earlier, data.log.num_users) if config.data.mask_seen else None
    history = query_history(config, earlier, user, None)
    against = {
        kind: from_pairs(*rivals(data.log, pairs, earlier, user, kind), len(user))
        for kind in config.evaluation.auc
    }
    truth = None
    if name == "test":  # the truth refers to the end of the log
        truth = make_truth(config.data, config.evaluation, data, user, seen)
    positives = from_pairs(row, pairs.item, len(user))
    return QuerySet(
        user=user.astype(np.int32),
        positives=positives,
        weights=inverse_propensities(
            data.popularity,
            positives,
            config.evaluation.ips_power,
            config.evaluation.ips_clip,
        ),
        seen=seen,
        queries=queries_of(config, user, history),
        entities=make_entities(config, data, history),
        already_seen=already,
        rivals=against,
        truth=truth,
    )


class UserState(NamedTuple):
    """Queries, histories and seen items of all users at the test split.

    Attributes:
      queries: one query per user, by code.
      entities: features and histories of both towers.
      seen: items that evaluation leaves out, a row per user; None for none.
    """

    queries: Queries
    entities: Entities
    seen: Ragged | None


def user_state(config: Config, data: Loaded) -> UserState:
    """Return the query of every user as the test split has it.

    Histories and seen items are the positives of the training and validation parts.

    Args:
      config: the run.
      data: its data.
    """
    config = choose_features(config, data)
    earlier = data.split.known.join(data.split.valid)
    users = np.arange(data.log.num_users, dtype=np.int32)
    history = query_history(config, earlier, users, None)
    seen = _seen(users, earlier, len(users)) if config.data.mask_seen else None
    entities = make_entities(config, data, history)
    return UserState(queries_of(config, users, history), entities, seen)


def some_queries(queries: QuerySet, number: int | None) -> QuerySet:
    """Return a random part of the queries, the same in every run.

    Args:
      queries: of a split.
      number: number of queries; None, or a number as large as all, for all.

    Returns:
      The queries, ascending by user code. They have neither rivals nor a truth.
    """
    if number is None or number >= len(queries.user):
        return queries
    # The seed of the run has no part in it: runs are watched on the same queries.
    drawn = keys.generator(0, "eval_queries").choice(len(queries.user), number, False)
    rows = np.sort(drawn)
    return queries._replace(
        user=queries.user[rows],
        positives=take_rows(queries.positives, rows),
        seen=None if queries.seen is None else take_rows(queries.seen, rows),
        queries=jax.tree.map(lambda x: x[rows], queries.queries),
        rivals={},
        truth=None,
    )


def _seen(user: np.ndarray, earlier: Pairs, num_users: int) -> Ragged:
    """Return the earlier items of the users [queries], a row per query."""
    place = np.full(num_users, -1)
    place[user] = np.arange(len(user))
    rows = place[earlier.user]
    return from_pairs(rows[rows >= 0], earlier.item[rows >= 0], len(user))


def _unseen(pairs: Pairs, earlier: Pairs, num_items: int) -> tuple[Pairs, int]:
    """Return the pairs that are not among the earlier ones, and the number that are."""

    def keys(some: Pairs, rows: slice) -> np.ndarray:
        return some.user[rows].astype(np.int64) * num_items + some.item[rows]

    places = range(0, len(earlier), AT_A_TIME)
    others = (keys(earlier, slice(p, p + AT_A_TIME)) for p in places)
    new = ~among(keys(pairs, slice(None)), others)
    time = None if pairs.time is None else pairs.time[new]
    request = None if pairs.request is None else pairs.request[new]
    kept = Pairs(pairs.user[new], pairs.item[new], time, request)
    return kept, int((~new).sum())

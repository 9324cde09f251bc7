"""Small problems of sequences, and their vectors by loops in numpy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from helpers.problems import as_loaded, small_problem, with_times
from helpers.source_steps import CHEAP
from twotower_jax.model import two_tower as net
from twotower_jax.training.queries import batch_queries

USERS, ITEMS, LENGTH, DIM = 14, 20, 5, 6
RNG = np.random.default_rng(3)
# Users 0 and 1 are longer than a sequence, the last has one positive and no row.
NUMBERS = [13, 9, *RNG.integers(2, 7, USERS - 3), 1]
USER = RNG.permutation(np.repeat(np.arange(USERS), NUMBERS))
ITEM = RNG.integers(0, ITEMS, len(USER))
ROWS = sum(min(int(number) - 1, LENGTH) for number in NUMBERS)


def problem_of(clicks=(USER, ITEM, USERS, ITEMS), **keys):
    """Return a problem of sequences of a log whose times are its rows."""
    times = np.arange(len(clicks[0]))
    data = with_times(as_loaded(*clicks), times, np.zeros(0))
    defaults = {
        "towers__query": ("history",),
        "towers__hidden": (),
        "towers__normalize": False,
        "towers__history_length": LENGTH,
        "towers__history_pooling": "transformer",
        "towers__history_table": "shared",
        "towers__sequence__dropout": 0.0,
        "training__batch_size": 16,
        "training__merge_columns": False,
    }
    return small_problem(data, **(defaults | keys))


def some_params(problem):
    """Return random parameters: norms with other scales and shifts than 1 and 0."""
    return jax.tree.map(
        lambda x: jnp.asarray(RNG.normal(size=x.shape), jnp.float32) * 0.5,
        problem.start().params,
    )


def items_of(user):
    """Return the items of a user in the order of time."""
    return [int(item) for u, item in zip(USER, ITEM, strict=True) if u == user]


def seen_by(problem):
    """Return the items before each training positive, among its user's newest ones."""
    known = {}
    for user in range(USERS):
        newest = items_of(user)[-LENGTH - 1 :]
        known[user] = [newest[:place] for place in range(1, len(newest))]
    rows = zip(np.asarray(problem.data.queries.user), range(ROWS), strict=True)
    turn, seen = dict.fromkeys(range(USERS), 0), []
    for user, _ in rows:
        seen.append(known[int(user)][turn[int(user)]])
        turn[int(user)] += 1
    return seen


def norm(x, params):
    centred = x - x.mean()
    scaled = centred / np.sqrt((x * x).mean() - x.mean() ** 2 + 1e-6)
    return scaled * params["scale"] + params["bias"]


def linear(x, params):
    return x @ params["kernel"] + params["bias"]


def slow_vector(items, params, heads):
    """Return the vector of a sequence: token by token, head by head."""
    table = params["tables"].get("query.history", params["tables"]["candidate.id"])
    dense = params["dense"]["query"]["history"]["transformer"]
    places = dense["place"]["embedding"]
    xs = [
        table[item] * np.sqrt(DIM) + places[place] for place, item in enumerate(items)
    ]
    for number in range(len(dense["layers"])):
        layer = dense["layers"][number]
        xs = [
            x + mixed
            for x, mixed in zip(xs, slow_attention(xs, layer, heads), strict=True)
        ]
        for place, x in enumerate(xs):
            hidden = np.maximum(
                linear(norm(x, layer["before_forward"]), layer["first"]), 0
            )
            xs[place] = x + linear(hidden, layer["second"])
    return norm(xs[-1], dense["last"])


def slow_attention(xs, layer, heads):
    normed = [norm(x, layer["before_attention"]) for x in xs]
    query, key, value = (
        [linear(x, layer[name]) for x in normed] for name in ("query", "key", "value")
    )
    width, mixed = DIM // heads, []
    for place in range(len(xs)):
        parts = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = [
                query[place][part] @ key[other][part] / np.sqrt(width)
                for other in range(place + 1)
            ]
            weights = np.exp(scores) / np.exp(scores).sum()
            parts.append(sum(w * value[o][part] for o, w in enumerate(weights)))
        mixed.append(linear(np.concatenate(parts), layer["out"]))
    return mixed


def query_vectors(problem, params, rows):
    """Return the query embeddings of rows in training."""
    state = problem.start()._replace(params=params)
    rows = jnp.asarray(rows)
    return _query_vectors(problem.program, problem.data, state, rows)


@partial(jax.jit, **CHEAP)
def _query_vectors(program, data, state, rows):
    inputs = batch_queries(program, data, state, data.batch(rows))
    spec = program.model.query
    values = net.gather_rows(state.params["tables"], inputs)
    return net.encode("query", spec, state.params["dense"], values, inputs)

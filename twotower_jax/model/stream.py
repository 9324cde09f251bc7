"""Inputs of the query tower for rows that are sequences in their order, end to end."""

import jax.numpy as jnp

from twotower_jax.data.feed import Entities, Queries
from twotower_jax.data.shards import take_known
from twotower_jax.model.history import place_inputs
from twotower_jax.model.inputs import Inputs, feature_inputs
from twotower_jax.model.specs import Model
from twotower_jax.model.tokens import stream_tokens


def stream_inputs(model: Model, entities: Entities, queries: Queries) -> Inputs:
    """Inputs of the query tower for rows that are sequences in their order, end to end.

    Each item of a sequence is read once for all later rows of it.
    """
    inputs = feature_inputs("query", model.query, entities.query, queries.user)
    history, clicks = model.query.history, entities.history
    begin, end = queries.begin, queries.end
    if history is None or clicks is None or begin is None or end is None:
        raise ValueError("the query tower reads no sequences, or the queries have none")
    stream = stream_tokens(begin, end, history.length)
    items = take_known(clicks, stream.at, -1)
    items = jnp.where(stream.at >= 0, items, -1)
    bags, rest = place_inputs(history, items[:, None], entities.candidate)
    rest = rest._replace(present=rest.present[:, 0], tokens=stream.tokens)
    return inputs._replace(bags=inputs.bags | bags, history=rest)

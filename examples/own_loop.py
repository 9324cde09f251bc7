"""A two-tower training of your own in Flax and optax: exact log q of a mixture."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import twotower_jax.negatives as neg
from twotower_jax.evaluation import from_pairs, ranking_metrics, top_k

USERS, ITEMS, CLICKS, BATCH, STEPS, T = 1_000, 2_000, 100_000, 512, 1_500, 0.2
rng = np.random.default_rng(0)  # clicks: tastes of users, times popularity
rate = np.exp(rng.normal(size=(USERS, 20)) @ rng.normal(size=(20, ITEMS)) / 3)
user, train, test = rng.integers(0, USERS, CLICKS), slice(90_000), slice(90_000, CLICKS)
law = np.cumsum(rate / (1 + np.arange(ITEMS)), axis=1)[user]
item = (law < law[:, -1:] * rng.random((CLICKS, 1))).sum(1)
log_q = jnp.asarray(neg.log_frequency(np.bincount(item[train], minlength=ITEMS)))
sources = (neg.uniform_negatives(256, ITEMS), neg.InBatch(neg.Counted(log_q), ITEMS))
mixture = neg.Mixture(sources, ITEMS, neg.RowMasks(ITEMS))
towers = {"user": nn.Embed(USERS, 32), "item": nn.Embed(ITEMS, 32)}


def unit(vectors):
    return vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)


@jax.grad
def slope(params, batch, draws, exact):
    query = unit(towers["user"].apply(params["user"], batch.queries)) / T
    items = unit(towers["item"].apply(params["item"], draws.columns.encode_ids))
    bias = mixture.bias({}, batch, draws)  # minus log q; -inf where masked
    bias = bias if exact else jnp.where(bias > -jnp.inf, 0, bias)
    own = mixture.log_count({}, batch, draws, batch.items[:, None])[:, 0]
    positive = (query * items[draws.columns.positive]).sum(1) - own * exact
    logits = jnp.c_[positive, query @ items.T + bias]
    return (jax.nn.logsumexp(logits, axis=1) - positive).mean()


for exact in (True, False):
    adam, key = optax.adam(0.003), jax.random.key(0)
    params = {side: tower.init(key, item[:1]) for side, tower in towers.items()}

    @jax.jit
    def step(number, params, state, batch, exact=exact, adam=adam):
        draws = mixture.draw({}, neg.Keys(0, number), batch)
        updates, state = adam.update(slope(params, batch, draws, exact), state)
        return optax.apply_updates(params, updates), state

    state = adam.init(params)
    for number in range(STEPS):
        rows = rng.integers(0, train.stop, BATCH)
        batch = neg.Batch(rows, item[rows], user[rows])
        params, state = step(number, params, state, batch)
    what, who = (params[s]["params"]["embedding"] for s in ("item", "user"))
    seen, new = (from_pairs(user[s], item[s], USERS) for s in (train, test))
    lists = top_k(who, unit(what), 20, seen=seen)[1]
    recall = np.nanmean(ranking_metrics(lists, new, [20])["recall@20"])
    print(f"log q {'subtracted' if exact else 'left out'}: recall@20 {recall:.4f}")

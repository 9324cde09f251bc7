"""What samplers remember between steps, and what they say of themselves."""

from typing import Any

import jax
import jax.numpy as jnp

from twotower_jax.model import two_tower as net
from twotower_jax.sampling import bank as banks
from twotower_jax.sampling import frequency
from twotower_jax.training.hard_mining import Mining
from twotower_jax.training.types import Structure, TrainData, TrainState


def init_samplers(
    structure: Structure,
    streaming: tuple[int, int, float] | None,
    mining: Mining | None,
) -> dict[str, Any]:
    """Return the memory of the samplers in use, before the first step.

    Args:
      structure: static part of the step.
      streaming: hashes, buckets and first gap of the streaming frequency.
      mining: how hard negatives are mined.
    """
    samplers: dict[str, Any] = {}
    negatives, num_items = structure.negatives, structure.num_items
    if negatives.bank:
        dim = structure.model.candidate.dim
        samplers["bank"] = banks.init_bank(negatives.bank, dim, num_items)
    if structure.frequency == "streaming":
        assert streaming is not None
        samplers["frequency"] = frequency.init_frequency(*streaming)
    if mining is not None:
        shape = (mining.seen.num_rows, mining.end - mining.first)
        samplers["mined"] = jnp.full(shape, num_items, jnp.int32)
    return samplers


def diagnostics(
    structure: Structure, data: TrainData, state: TrainState
) -> dict[str, float]:
    """Return what is worth watching of the samplers' memory, for metrics.jsonl.

    ``bank age`` is in steps; ``bank drift`` is the mean distance, and ``bank cosine``
    the mean cosine, between the stored embeddings and those of the same items now.
    """
    bank = state.samplers.get("bank")
    if bank is None:
        return {}
    known = jnp.minimum(bank.item, structure.num_items - 1)
    current = _embed(structure, data, state.params, known)
    moved = banks.drift(bank, current)
    return {
        "bank age": float(banks.mean_age(bank, state.step)),
        "bank drift": float(moved.distance),
        "bank cosine": float(moved.cosine),
    }


def _embed(
    structure: Structure, data: TrainData, params: dict, items: jax.Array
) -> jax.Array:
    embed = jax.jit(net.embed_candidates, static_argnums=0)
    return embed(structure.model, params, data.entities, items)

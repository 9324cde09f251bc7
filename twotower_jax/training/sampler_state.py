"""Memories of the samplers between steps, and measurements of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotower_jax.model import two_tower as net
from twotower_jax.sampling import bank as banks
from twotower_jax.sampling import frequency
from twotower_jax.training.hard_mining import Mining, empty_window
from twotower_jax.training.kth_scores import KthScores
from twotower_jax.training.types import Structure, TrainData, TrainState


class Streaming(NamedTuple):
    """The arrays of the streaming frequency.

    Attributes:
      hashes: Number of hash functions.
      buckets: Number of buckets of each.
      initial_gap: Gap of every bucket before the first step, in steps.
    """

    hashes: int
    buckets: int
    initial_gap: float


def init_samplers(
    structure: Structure,
    streaming: Streaming | None,
    mining: Mining | None,
    kth_scores: KthScores | None = None,
) -> dict[str, Any]:
    """Memories of the samplers in use, before the first step.

    A step reads and renews the memories that it is given, so that their presence
    decides which samplers are in use.

    Args:
      streaming: Arrays of the streaming frequency; None: log q+ is counted.
      mining: How hard negatives are mined; None: they are not.
      kth_scores: How the k-th best scores are estimated; None: no loss reads them.

    Returns:
      Any of {"bank": Bank, "frequency": Frequency, "mined": [users, W] int32,
      "lost_slots": [] float32, "kth_score": [users] float32}.
    """
    samplers: dict[str, Any] = {}
    negatives, num_items = structure.negatives, structure.num_items
    if negatives.bank:
        dim = structure.model.candidate.dim
        samplers["bank"] = banks.init_bank(negatives.bank, dim, num_items)
    if streaming is not None:
        samplers["frequency"] = frequency.init_frequency(*streaming)
    if mining is not None:
        samplers["mined"] = empty_window(mining, num_items)
    if kth_scores is not None:
        samplers["kth_score"] = kth_scores.start()
    if negatives.candidate_num:
        samplers["lost_slots"] = jnp.float32(0)
    return samplers


def diagnostics(
    structure: Structure, data: TrainData, state: TrainState
) -> dict[str, float]:
    """Measurements of the samplers' memories, for metrics.jsonl.

    Returns:
      With a bank, its mean age in steps ("bank age"), and the mean distance ("bank
      drift") and mean cosine ("bank cosine") between its embeddings and those of the
      same items now. With dns, the share of its slots that were lost because every
      candidate is masked, over all steps ("lost slots").
    """
    measured: dict[str, float] = {}
    if "lost_slots" in state.samplers:
        measured["lost slots"] = float(state.samplers["lost_slots"])
    bank = state.samplers.get("bank")
    if bank is None:
        return measured
    items = jnp.minimum(bank.item, structure.num_items - 1)
    moved = banks.drift(bank, _embed(structure, data, state.params, items))
    return measured | {
        "bank age": float(banks.mean_age(bank, state.step)),
        "bank drift": float(moved.distance),
        "bank cosine": float(moved.cosine),
    }


def _embed(
    structure: Structure, data: TrainData, params: dict[str, Any], items: jax.Array
) -> jax.Array:
    embed = jax.jit(net.embed_candidates, static_argnums=0)
    return embed(structure.model, params, data.entities, items)

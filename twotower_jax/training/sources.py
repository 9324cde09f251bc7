"""The sources of negatives of a program, and their draws in a step."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from twotower_jax.arrays.shards import take, take_rows
from twotower_jax.model import two_tower as net
from twotower_jax.model.two_tower import Inputs
from twotower_jax.negatives.bank import CrossBatch, drift, mean_age
from twotower_jax.negatives.easy import Easy, EasyLaw, KnownLaw
from twotower_jax.negatives.frequency import Counted, PositiveLaw
from twotower_jax.negatives.hard import HardInputs, RowSlots, ratio_at, switches
from twotower_jax.negatives.in_batch import Catalogue, InBatch
from twotower_jax.negatives.masks import RowMasks
from twotower_jax.negatives.mixture import Draws, Mixture
from twotower_jax.negatives.source import Batch, Keys, Source
from twotower_jax.training.queries import query_vectors
from twotower_jax.training.types import Program, TrainData, TrainState


def mixture_of(program: Program, data: TrainData, state: TrainState) -> Mixture:
    """The sources of negatives of a program, with their masks and corrections."""
    law: PositiveLaw = next(iter(program.streamed), Counted(program.log_q_batch))
    return Mixture(
        sources=_sources(program, data, state, law),
        num_items=program.num_items,
        masks=row_masks(program, data),
        correct=program.correct,
        positives=law,
        strength=program.logq_strength,
        merged=program.merged_size > 0,
    )


def row_masks(program: Program, data: TrainData) -> RowMasks:
    """Masks of negatives of a program: items that a row never takes as one."""
    return RowMasks(
        program.num_items,
        program.negatives.mask != "none",
        _present(data.positives),
        _present(data.known),
    )


def _present(value: Any) -> tuple[Any, ...]:
    return () if value is None else (value,)


def easy_law(program: Program, data: TrainData) -> EasyLaw:
    """The law of easy draws, restricted to known items where rows do that."""
    for tree in program.known_mass:
        number = data.known.number  # type: ignore[union-attr]
        return KnownLaw(program.easy, program.num_items, tree, number)
    return EasyLaw(program.easy, program.num_items)


def _sources(
    program: Program, data: TrainData, state: TrainState, law: PositiveLaw
) -> tuple[Source, ...]:
    """Return the sources, easy ones first: their counts are added in this order."""
    negatives, num_items = program.negatives, program.num_items
    if program.loss.whole_catalogue:
        return (Catalogue(num_items),)
    easy, sources = easy_law(program, data), []
    if negatives.shared_easy:
        on: tuple[jax.Array, ...] = ()
        if negatives.switched:
            ratio = ratio_at(program.hard_ratio, state.step)
            on = (switches(negatives.easy_num, negatives.hard_num, ratio)[0],)
        sources.append(Easy(easy, negatives.shared_easy, on))
    if negatives.slots:
        hard_inputs = HardInputs(
            num_items,
            data.pools if program.hard.of_log else data.hard,
            state.params.get("log_temperature", program.log_temperature),
            negatives.only_hard,
        )
        slots = RowSlots(
            easy,
            negatives.easy_num if negatives.per_row else 0,
            negatives.hard_num,
            program.hard,
            hard_inputs,
            (program.hard_ratio,) if negatives.mixes else (),
            negatives.easy_num if negatives.switched else 0,
        )
        sources.append(slots)
    if negatives.in_batch:
        history = program.model.query.history
        longest = history.length if program.end_to_end and history else 0
        own = negatives.mask != "user_positives"
        sources.append(InBatch(law, num_items, longest, own))
    if negatives.bank:
        dim = program.model.candidate.dim
        bank = CrossBatch(law, negatives.bank, dim, num_items, program.bank_warmup)
        sources.append(bank)
    return tuple(sources)


def draw(
    program: Program,
    data: TrainData,
    state: TrainState,
    batch: Batch,
    queries: Inputs | None = None,
) -> Draws:
    """The negatives of a batch at the state's step.

    Sources that score candidates need the inputs of the query tower.
    """
    batch = batch._replace(step=state.step)
    if queries is not None:
        score = partial(score_candidates, program, data, state, batch, queries)
        batch = batch._replace(score=score)
    mixture = mixture_of(program, data, state)
    key = Keys(program.seed, state.step)
    return mixture.draw(state.samplers, key, batch)


def score_candidates(
    program: Program,
    data: TrainData,
    state: TrainState,
    batch: Batch,
    queries: Inputs,
    ids: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Scores of candidates [B, ...] before T, and which ones mask or filter drop."""
    model = program.model
    query = query_vectors(model, queries, state.params)
    embed = partial(net.embed_candidates, model, state.params, data.entities)
    candidates = embed(ids.reshape(-1)).reshape(*ids.shape, -1)
    scores = jnp.einsum("bd,b...d->b...", query, candidates)
    masked = row_masks(program, data).of_items(batch, ids)
    for score_filter in program.filters:
        positive = (query * embed(batch.items)).sum(axis=1)
        masked |= score_filter.drops(state.step, positive, scores)
    return scores, masked


def easy_draws(program: Program, data: TrainData, state: TrainState) -> jax.Array:
    """Expected easy draws of a row with a pool at the state's step, []."""
    batch = Batch(*2 * [jnp.zeros(1, jnp.int32)], step=state.step)
    total = jnp.float32(0)
    for source in mixture_of(program, data, state).sources:
        if isinstance(source, Easy):
            total += source.expected()
        elif isinstance(source, RowSlots):
            total += source.expected(batch)[0]
    return total


def row_weights(program: Program, data: TrainData, batch: Batch) -> jax.Array:
    """Weights [B] of the rows of a batch, float32, with the sum 1.

    With weights r of the log, scaled to the mean 1 over an epoch, a row weighs r_i / B
    (Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019, eq. 4). They sum
    to 1 over many batches alone, and a batch of zeros has the loss 0.
    """
    for of_log in _present(data.weight):
        return take_rows(of_log, batch.rows) / batch.size
    weight = jnp.ones(batch.items.shape, jnp.float32)
    for of_item in program.positive_weight:
        weight = take(of_item, batch.items)
    return weight / weight.sum()


def diagnostics(
    program: Program, data: TrainData, state: TrainState
) -> dict[str, float]:
    """Measurements of the samplers' memories, for metrics.jsonl.

    With a bank, its mean age in steps, and the mean distance ("bank drift") and mean
    cosine between its embeddings and those of the same items now. With dns, the share
    of its slots that were lost because every candidate is masked, over all steps.
    """
    measured: dict[str, float] = {}
    if "lost_slots" in state.samplers:
        measured["lost slots"] = float(state.samplers["lost_slots"])
    if "bank" not in state.samplers:
        return measured
    bank = state.samplers["bank"]
    items = jnp.minimum(bank.item, program.num_items - 1)
    embed = jax.jit(net.embed_candidates, static_argnums=0)
    distance, cosine = drift(
        bank, embed(program.model, state.params, data.entities, items)
    )
    return measured | {
        "bank age": float(mean_age(bank, state.step)),
        "bank drift": float(distance),
        "bank cosine": float(cosine),
    }

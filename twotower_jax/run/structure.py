"""The static part of a training: what decides its compiled program."""

from collections.abc import Callable

from twotower_jax.config import Config
from twotower_jax.model.specs import Model
from twotower_jax.registry import split
from twotower_jax.run.loss_parts import view_num
from twotower_jax.run.negatives import static_negatives
from twotower_jax.run.positives import end_to_end
from twotower_jax.training.sampler_state import Streaming
from twotower_jax.training.types import Structure


def make_structure(
    config: Config,
    model: Model,
    num_items: int,
    merged: Callable[[int, int], int],
) -> Structure:
    """Return the static part of the program of a run.

    Args:
      config: the run.
      model: its towers, with the sizes of the data.
      num_items: size of the catalogue.
      merged: function of the rows of a batch and its shared draws, which returns the
        number of merged columns.
    """
    full = config.loss.whole_catalogue
    negatives = static_negatives(config)
    # The best k are counted in draws, but merged columns are items.
    mergeable = config.negatives.in_batch and not full and not negatives.top_k
    merges = config.training.merge_columns and mergeable
    batch, shared = config.training.batch_size, negatives.shared_easy
    streaming = streaming_of(config, num_items)
    return Structure(
        model=model,
        loss=split(config.loss)[0],
        negatives=negatives,
        correct=config.loss.logq.correct,
        optimizer=split(config.optimizer)[0],
        learn_temperature=config.loss.learn_temperature,
        merged_size=merged(batch, shared) if merges else 0,
        num_items=num_items,
        ids_alone=config.training.update == "incremental",
        end_to_end=end_to_end(config),
        view_num=view_num(config, model),
        buckets=None if streaming is None else streaming.buckets,
    )


def streaming_of(config: Config, num_items: int) -> Streaming | None:
    """Return the arrays of the streaming frequency, None where counts are used.

    With four buckets per item at most 22 % of them hold another item, and of two
    hashes both do for 5 % of the items.
    """
    if config.loss.logq.frequency != "streaming":
        return None
    streaming = config.loss.logq.streaming
    buckets = streaming.buckets or 4 * num_items
    return Streaming(streaming.hashes, buckets, streaming.initial_gap)

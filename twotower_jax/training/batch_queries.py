"""Inputs of the query tower for the rows of a batch."""

from twotower_jax import keys
from twotower_jax.model.inputs import Inputs, query_inputs
from twotower_jax.model.sequence import Dropout
from twotower_jax.model.stream import stream_inputs
from twotower_jax.training.types import Batch, Program, TrainData, TrainState


def batch_queries(
    program: Program, data: TrainData, state: TrainState, batch: Batch
) -> Inputs:
    """Inputs of the query tower for the rows of a batch.

    Rows that are sequences end to end read each item of a sequence once. The dropout
    of a transformer is a function of seed and step.
    """
    model = program.structure.model
    if program.structure.end_to_end:
        inputs = stream_inputs(model, data.entities, batch.queries)
    else:
        inputs = query_inputs(model, data.entities, batch.queries, batch.items)
    share, history = program.hyper.sequence_dropout, inputs.history
    if share is None or history is None:
        return inputs
    key = keys.stream(program.hyper.seed, "towers.sequence.dropout", state.step)
    return inputs._replace(history=history._replace(dropout=Dropout(key, share)))

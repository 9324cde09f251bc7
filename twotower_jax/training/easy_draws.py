"""Easy draws of rows: from the whole catalogue, or from the items known by then.

With ``negatives.available`` a row of a positive at time t has only items of the log by
t. In the layout per row each row draws from the proposal restricted to its own moment,
so that an item j that it knows is expected m q_j / Q(t) times, with Q(t) the mass of
the restriction. Columns are shared by rows of different moments: they are drawn from
the whole proposal, and every row masks those that it does not know. An item that it
knows is then expected m q_j times, and the number of draws that count varies with the
row, m Q(t) on average.

A restriction of columns to the latest moment of the batch would waste fewer draws, but
that moment depends on the other rows, whose items are negatives too: given it, they are
no draws from q+, and the sum over a mixture of both is biased.
"""

import jax

from twotower_jax.data.shards import take_rows
from twotower_jax.sampling.availability import log_known_mass, sample_known
from twotower_jax.sampling.proposals import sample
from twotower_jax.training.types import Batch, Program, TrainData


def draw_easy(
    program: Program,
    data: TrainData,
    batch: Batch,
    key: jax.Array,
    shape: tuple[int, ...],
) -> jax.Array:
    """Easy draws of the rows of a batch."""
    tree = program.hyper.known_mass
    if tree is None or data.known is None:
        return sample(key, program.hyper.easy, shape, program.structure.num_items)
    number = take_rows(data.known.number, batch.rows)
    number = number.reshape(-1, *[1] * (len(shape) - 1))
    return sample_known(key, tree, number, shape)


def log_mass(program: Program, data: TrainData, batch: Batch) -> jax.Array | None:
    """Log of Q(t), the mass of the items to which rows restrict their easy draws.

    Returns:
      [B]; None where draws are not restricted.
    """
    tree = program.hyper.known_mass
    if tree is None or data.known is None:
        return None
    return log_known_mass(tree, take_rows(data.known.number, batch.rows))

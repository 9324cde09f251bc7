"""The work of a training step: FLOP, exponentials, bytes and random row moves."""

import itertools
from typing import NamedTuple

from twotower_jax.cost.memory import LAYER_VALUES, NUMBER, VECTORS
from twotower_jax.cost.shape import Shape, widths
from twotower_jax.model.tower import TowerSpec
from twotower_jax.training.batch_loss import columns_ascend

# A product forwards, and its two gradients.
PASSES = 3
# Exponentials, logarithms and roots per pair of a row and a column: one exponential
# with the softmax, and the surrogate and its logarithm with psl; the others are
# differentiated, four with bce.
SOFTMAX_EXP, SURROGATE_EXP, OTHER_EXP = 1, 3, 4
# Adding the expected count of an item of a pool to that of a column: log(e^a + e^b).
POOL_EXP = 2
# Times that a score is written or read: score, its exponential, and two gradients.
SCORE_PASSES = 5
# Moves of a row beside the optimizer: it is read, looked up, and its gradient added.
LOOK_UPS = 3
# Moves of a row for an item of a history: its vector is read, and its gradient is added
# to the sum of its row, which lies in a cache. Distinct rows are updated beside them.
TOKEN_MOVES = 1.5
# Operations of a step on a few numbers each: keys, schedules, loops, branches. Those of
# pools are draws and log q; a trace of a step with pools has 1,200 in all.
OPERATIONS, POOL_OPERATIONS = 700, 500


class Work(NamedTuple):
    """The work of one step on each device.

    Attributes:
      layer_flop: multiplications and additions of the layers of towers.
      sequence_flop: those of a transformer over histories.
      score_flop: of scores and their gradients.
      exponentials: exponentials, logarithms and roots of pairs, slots and optimizer.
      look_ups: pairs whose expected count or mask is looked up at the column's item.
      row_moves: rows of D numbers that are read or written at random places.
      row_bytes: bytes of those that lie in tables and optimizer state.
      sorted_ids: ids that are sorted to find equal ones.
      vector_bytes: bytes of vectors and of layers, written and read in order.
      block_bytes: bytes of blocks of scores and of the columns beside them.
      operations: on a few numbers each.
    """

    layer_flop: float
    sequence_flop: float
    score_flop: float
    exponentials: float
    look_ups: float
    row_moves: float
    row_bytes: float
    sorted_ids: float
    vector_bytes: float
    block_bytes: float
    operations: float

    @property
    def flop(self) -> float:
        """Multiplications and additions of a step."""
        return self.layer_flop + self.sequence_flop + self.score_flop

    @property
    def moved_bytes(self) -> float:
        """Bytes that a step reads and writes if no cache holds blocks of scores."""
        return self.row_bytes + self.vector_bytes + self.block_bytes


def step_work(shape: Shape) -> Work:
    """The work of one step.

    With B rows, C columns, K slots, D numbers and layers of w weights, the products
    take 6 D B (C + K) + 6 w B for queries, and 6 w per encoded candidate: 2 FLOP per
    multiplication and addition, forwards and for both gradients.
    """
    model, dim, rows = shape.structure.model, shape.dim, shape.rows
    pairs = rows * shape.columns
    vector = NUMBER * dim
    layers = (
        2
        * PASSES
        * (rows * _weights(model.query) + shape.candidates * _weights(model.candidate))
    )
    layers += 2 * shape.scored * _weights(model.candidate)
    again = 1 + shape.in_chunks / PASSES  # of a chunk: forwards once more
    others = shape.structure.view_num**2 + shape.user_pairs
    scores = 2 * PASSES * dim * (pairs + rows * shape.slots + others)
    scores += 2 * dim * shape.scored
    scored = pairs + shape.user_pairs
    touched, in_tables = _rows(shape)
    hidden = rows * sum(widths(model.query)[:-1])
    hidden += shape.candidates * sum(widths(model.candidate)[:-1])
    blocks = -(-rows // shape.block)
    vectors = 2 * VECTORS * (rows + shape.candidates) * vector
    vectors += 2 * LAYER_VALUES * NUMBER * hidden
    # Gradient, table and state of all rows on the device, each written and read.
    vectors += 2 * (2 + shape.moments) * vector * shape.updated_rows / shape.shards
    return Work(
        layer_flop=layers,
        sequence_flop=again * sequence_flop(shape, shape.tokens),
        score_flop=scores,
        exponentials=_exponentials(shape, pairs),
        look_ups=pairs * (shape.counts_pools + shape.masks_columns),
        row_moves=touched,
        row_bytes=in_tables * vector,
        sorted_ids=_sorted(shape),
        vector_bytes=vectors,
        block_bytes=NUMBER * (SCORE_PASSES * scored + 4 * blocks * shape.columns * dim),
        operations=OPERATIONS + POOL_OPERATIONS * shape.counts_pools,
    )


def _weights(spec: TowerSpec) -> int:
    """Return the numbers of a tower's matrices."""
    return sum(one * two for one, two in itertools.pairwise(widths(spec)))


def sequence_flop(shape: Shape, tokens: int) -> float:
    """FLOP of a transformer over histories: 6 matrices, and attention."""
    one = shape.sequence
    if one is None:
        return 0
    each = 6 * one.dim**2 + 2 * shape.seen_tokens * one.dim
    return 2 * PASSES * tokens * one.layers * each


def _exponentials(shape: Shape, pairs: int) -> float:
    """Return exponentials, logarithms and roots of a step."""
    structure = shape.structure
    form, each = structure.loss.softmax_form(), OTHER_EXP
    if form is not None and not structure.negatives.top_k:
        each = SURROGATE_EXP if form.surrogate else SOFTMAX_EXP
    pools = POOL_EXP * shape.counts_pools * (shape.extras.window or shape.extras.pool)
    # An entry of a bank has a count of its own, so that there each pair is added up.
    banks = POOL_EXP * (shape.counts_pools and shape.structure.negatives.bank > 0)
    slots = (each + 1) * shape.rows * shape.slots
    singles = any(one.kind != "history" for one in structure.model.query.features)
    updated = shape.rows * singles + shape.candidates + shape.touched
    updated = shape.updated_rows / shape.shards or updated
    roots = updated * shape.dim if shape.moments else 0
    users = SOFTMAX_EXP * shape.user_pairs
    return (each + banks) * pairs + users + pools * shape.rows + slots + roots


def _rows(shape: Shape) -> tuple[float, float]:
    """Return random moves of rows, and those of them in tables and optimizer state."""
    model = shape.structure.model
    # The row is written, and its state read and written.
    moved = 0 if shape.updates_every_row else 1 + 2 * shape.moments
    singles = [one for one in model.query.features if one.kind in ("id", "categorical")]
    looked = shape.rows * len(singles)
    kinds = [one.kind for one in model.candidate.features]
    encoded = shape.candidates
    looked += encoded * sum(kind in ("id", "categorical") for kind in kinds)
    bags = encoded * sum(
        one.width or 1 for one in model.candidate.features if one.kind == "multi"
    )
    total = (LOOK_UPS + moved) * looked + 2 * bags + shape.scored
    if shape.each_item_once:  # vectors are read, and their gradients are added
        total += 2 * (shape.rows * shape.slots + shape.columns)
    tables = (1 + moved) * looked + bags + shape.scored
    if model.query.history is not None:
        features = len(model.query.history.features)
        total += features * (TOKEN_MOVES * shape.tokens + (1 + moved) * shape.touched)
        tables += features * (shape.tokens + (1 + moved) * shape.touched)
    if shape.counts_pools:
        # Each item of a row's pool is found among the columns and put in its block.
        total += 2 * shape.rows * (shape.extras.window or shape.extras.pool)
    return total, tables


def _sorted(shape: Shape) -> float:
    """Return the ids that are sorted: rows of each table, and merged columns."""
    model = shape.structure.model
    singles = sum(one.kind in ("id", "categorical") for one in model.query.features)
    of_items = sum(
        one.kind in ("id", "categorical") for one in model.candidate.features
    )
    structure, candidates = shape.structure, shape.most_candidates
    merged = structure.merged_size or structure.negatives.distinct
    # Columns that ascend are the rows of a table that they name.
    ascend = columns_ascend(structure)
    places = (shape.counts_pools or shape.masks_columns) and not ascend
    if ascend and not shape.slots:
        candidates = 0
    return (
        singles * shape.rows
        + of_items * candidates
        + (shape.drawn if merged else 0)
        + (shape.columns if places else 0)
    )

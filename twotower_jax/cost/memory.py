"""The memory of a training, part by part, in bytes."""

from typing import NamedTuple

from twotower_jax.cost.shape import Shape, dense_numbers, widths
from twotower_jax.data.block_order import BLOCK, WINDOW
from twotower_jax.data.shards import stored_rows
from twotower_jax.data.sizes import LOG_ROW, PART_ROW
from twotower_jax.losses.blocks import block_rows
from twotower_jax.training.updates import LEAST_ROWS, ROWS, SHARE

NUMBER = 4  # bytes of float32 and int32
# Vectors that are alive together, counted in compiled steps: per encoded row its row of
# the table, embedding, gradient, and rows and state of the optimizer; in the loss per
# query and column a copy in blocks, a gradient, and their transposes.
VECTORS, LOSS_VECTORS = 5, 4
# Blocks of scores that are alive together: one with the softmax, whose pass is written
# by hand; other losses are differentiated and keep more.
SOFTMAX_BLOCKS, OTHER_BLOCKS = 1, 3
# Numbers that a transformer keeps for its gradient: vectors per token, and per layer
# vectors, and numbers per token seen, and per head and token seen.
TOKEN, LAYER_OF_TOKEN, SEEN, SEEN_OF_HEAD = 16, 11, 4, 2
# Values of a hidden layer that are alive together: input, output, gradient.
LAYER_VALUES = 3
DEVICE, HOST = "device", "host"


class Part(NamedTuple):
    """One part of the memory.

    Attributes:
      name: what it holds.
      size: bytes.
      place: "device", once on each of them, or "host".
    """

    name: str
    size: int
    place: str = DEVICE


def memory_parts(shape: Shape) -> list[Part]:
    """The memory of a training: of each device, and of the host."""
    parts = [*_parameters(shape), *_samplers(shape), *_data(shape), *_step(shape)]
    # Two epochs of rows are kept as int32; one is made as int64.
    extras, ordered = shape.extras, shape.positives
    if extras.blocks:
        ordered = min(ordered, BLOCK * WINDOW)
    order = (2 * NUMBER + 8 + 8 * extras.timed_order) * ordered
    log = LOG_ROW * shape.log_rows + PART_ROW * shape.positives
    log *= not extras.mapped  # its pages are those of files
    parts += [Part("order of the positives", order, HOST), Part("log", log, HOST)]
    return [part for part in parts if part.size]


def device_bytes(parts: list[Part]) -> int:
    """Bytes on each device.

    Examples:
      >>> device_bytes([Part("a", 3), Part("b", 5, HOST)])
      3
    """
    return sum(part.size for part in parts if part.place == DEVICE)


def shared_bytes(parts: list[Part], devices: int) -> int:
    """Bytes where devices and host share one memory, as on a CPU.

    Examples:
      >>> shared_bytes([Part("a", 3), Part("b", 5, HOST)], 2)
      11
    """
    return devices * device_bytes(parts) + sum(
        part.size for part in parts if part.place == HOST
    )


def _parameters(shape: Shape) -> list[Part]:
    """Return a device's rows of tables, the layers, and the state of the optimizer."""
    model, vector = shape.structure.model, NUMBER * shape.dim
    sides = {"query": 0, "candidate": 0}
    for name, rows in shape.tables.items():
        sides[name.split(".")[0]] += _own(shape, rows) * vector
    dense = NUMBER * (dense_numbers(model.query) + dense_numbers(model.candidate))
    return [
        Part("query tables", sides["query"]),
        Part("candidate tables", sides["candidate"]),
        Part("optimizer state of the tables", shape.moments * sum(sides.values())),
        Part("layers", dense),
        Part("optimizer state of the layers", shape.moments * dense),
    ]


def _samplers(shape: Shape) -> list[Part]:
    """Return alias tables, log q and the memories of samplers."""
    structure, extras = shape.structure, shape.extras
    items, users = _own(shape, structure.num_items), _own(shape, shape.users)
    negatives = structure.negatives
    # log q, threshold and alias of the easy draws; log q+; weights of positives.
    found = [
        Part("alias table", 3 * NUMBER * items),
        Part("log q of positives", (1 + extras.reweighted) * NUMBER * items),
    ]
    if extras.streaming is not None:
        cells = extras.streaming.hashes * _own(shape, extras.streaming.buckets)
        found.append(Part("streaming estimate", 2 * NUMBER * cells))
    bank = NUMBER * (shape.dim + 3) * negatives.bank
    found.append(Part("bank", bank))
    found.append(Part("mined items", NUMBER * extras.window * users))
    if structure.loss.weighs_rows:
        found.append(Part("k-th scores", NUMBER * users))
    if extras.of_users:
        found.append(Part("log q of users", NUMBER * users))
    if extras.known:
        leaves = 1 << max(structure.num_items - 1, 1).bit_length()
        tree = _own(shape, 2 * leaves) + items if negatives.per_row else 0
        found.append(Part("known items", NUMBER * (items + _placed(shape) + tree)))
    return found


def _data(shape: Shape) -> list[Part]:
    """Return positives, histories, features, pools and masks on a device."""
    n, extras = shape.positives, shape.extras
    placed, seen = _placed(shape), _own(shape, shape.seen)
    lists = _own(shape, shape.users + 1) + seen
    history = shape.structure.model.query.history is not None
    negatives = shape.structure.negatives
    # item, log q and stage of each entry; a pool of each positive at most.
    pool = 9 * extras.pool + NUMBER
    pools = pool if negatives.hard_num and negatives.hard.of_log else 0
    on_host = extras.fed and not extras.mapped_pools
    return [
        Part("positives", (2 + extras.weighted) * NUMBER * placed),
        Part("histories", NUMBER * (2 * placed + seen) * history),
        Part("features", _features(shape)),
        Part("pools of hard negatives", pools * placed),
        Part("pools on the host", pools * n * on_host, HOST),
        Part("positives of each user", NUMBER * lists * shape.masks_users),
    ]


def _placed(shape: Shape) -> int:
    """Return the positives on a device: all, or those of dispatches that are fed."""
    # Two dispatches are alive together: the one in flight and the next.
    fed = 2 * shape.steps_per_dispatch * shape.batch
    return _own(shape, fed if shape.extras.fed else shape.positives)


def _own(shape: Shape, rows: int) -> int:
    """Return the rows that a device has of an array that is spread like a table."""
    return stored_rows(rows, shape.shards) // shape.shards


def _features(shape: Shape) -> int:
    """Return the bytes of features on a device, which has a part of the rows."""
    own = [_own(shape, rows) for rows in (shape.users, shape.structure.num_items)]
    return sum(n * each for n, each in zip(own, shape.feature_bytes, strict=True))


def _step(shape: Shape) -> list[Part]:
    """Return what is alive within a step, with every column of the batch distinct."""
    structure, model, vector = (
        shape.structure,
        shape.structure.model,
        NUMBER * shape.dim,
    )
    encoded, columns = shape.most_candidates, shape.most_columns
    rows = VECTORS * (shape.rows + encoded) * vector
    if shape.each_item_once:  # vectors of slots and columns, and their gradients
        rows += 2 * (shape.rows * shape.slots + columns) * vector
    hidden = shape.rows * sum(widths(model.query)[:-1])
    hidden += encoded * sum(widths(model.candidate)[:-1])
    # Candidates that are scored for a choice have a vector and an id each.
    chosen = shape.scored * (vector + NUMBER)
    by_hand = structure.loss.softmax_form() is not None
    softmax = by_hand and not structure.negatives.top_k
    copies = SOFTMAX_BLOCKS if softmax else OTHER_BLOCKS
    loss = copies * NUMBER * block_rows(shape.rows, columns) * columns
    if columns:
        loss += LOSS_VECTORS * (shape.rows + columns) * vector
    seen = shape.rows * columns * shape.masks_columns
    largest = max(shape.tables.values(), default=0) if shape.updates_every_row else 0
    # On the host and on the device, one dispatch before the last is done.
    dispatch = NUMBER * shape.steps_per_dispatch * shape.rows
    return [
        Part("vectors of a step", rows + chosen),
        Part("hidden layers of a step", LAYER_VALUES * NUMBER * hidden),
        Part("transformer of a step", _transformer(shape)),
        Part("bank of a step", structure.negatives.bank * vector),
        # The loss is done when rows of histories are updated.
        Part("loss, or rows of histories", max(loss, _bags(shape))),
        Part("mask of a step", seen),
        Part("gradient of a whole table", _own(shape, largest) * vector),
        Part("batches of a dispatch", 2 * dispatch),
    ]


def _transformer(shape: Shape) -> int:
    """Return bytes of what a transformer keeps for its gradient."""
    one = shape.sequence
    if one is None:
        return 0
    tokens = shape.tokens_at_once
    each = LAYER_OF_TOKEN * one.dim + (SEEN + SEEN_OF_HEAD * one.heads) * (
        shape.seen_tokens
    )
    return NUMBER * tokens * (TOKEN * one.dim + one.layers * each)


def _bags(shape: Shape) -> int:
    """Return bytes of the gradients of rows that histories name, block by block."""
    history, vector = shape.structure.model.query.history, NUMBER * shape.dim
    if history is None:
        return 0
    largest = max(history.tables.values(), default=0)
    room = min(shape.tokens, largest)
    part = max(1, min(room, ROWS))
    block = part * -(-min(room, max(LEAST_ROWS, room // SHARE)) // part)
    places = shape.tokens_at_once * vector * 4 if history.by_place else 0
    if shape.in_chunks:  # with the sum of the gradients of all rows
        places += room * vector
    return (block + 3 * part) * vector + 3 * NUMBER * shape.tokens + places

"""Blocks of rows, whose logits fit a core's cache."""

from typing import Any

import jax
import jax.numpy as jnp

# Elements of one block of logits: 8 MB stay in a core's cache.
BLOCK_ELEMENTS = 2**21
MAX_BLOCK_ROWS = 512


def block_rows(rows: int, columns: int) -> int:
    """Number of rows of a block; blocks are alike, so that few rows are padding.

    Examples:
      >>> block_rows(4096, 4096), block_rows(4096, 2**20), block_rows(5, 10)
      (512, 8, 5)
      >>> block_rows(1024, 12_000)  # 168 fit: seven blocks of 152 for seven of 168
      152
    """
    fitting = max(8, BLOCK_ELEMENTS // max(columns, 1) // 8 * 8)
    fitting = min(MAX_BLOCK_ROWS, fitting)
    if rows <= fitting:
        return rows
    blocks = -(-rows // fitting)
    return min(fitting, -(-rows // (8 * blocks)) * 8)


def in_blocks(tree: Any, rows: int, columns: int) -> Any:
    """A tree of arrays in blocks of rows; padded rows have weight 0."""
    block = block_rows(rows, columns)

    def split(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, [(0, -rows % block)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(x.shape[0] // block, block, *x.shape[1:])

    return jax.tree.map(split, tree)


def flat(blocks: jax.Array, rows: int) -> jax.Array:
    """Blocks as one array."""
    number = blocks.shape[0] * blocks.shape[1]
    return blocks.reshape(number, *blocks.shape[2:])[:rows]

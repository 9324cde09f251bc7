"""Order of positives by blocks, whose memory does not grow with their number."""

import numpy as np

from twotower_jax import keys
from twotower_jax.data.feed import Order

BLOCK = 4096  # rows that lie together in the log
WINDOW = 256  # blocks whose rows are shuffled together: 2^20 rows


class BlockOrder(Order):
    """One pass per epoch, every positive once, cut into batches.

    The blocks of successive rows stand in a random order, and the rows of each 256
    blocks in that order, 2^20 of them, are shuffled together. A log of up to 2^20 rows
    is shuffled as a whole. In a larger one a batch is a random draw from a random
    256 blocks, not from all rows: rows of one block, such as those of one hour, meet
    in nearby batches. Arrays are read in pieces of a block.

    Examples:
      >>> order = BlockOrder(seed=0, number=5, batch_size=2)
      >>> sorted(order.batches(step=0, number=5).ravel()[:5].tolist())
      [0, 1, 2, 3, 4]
      >>> bool((order.batches(3, 1) == order.batches(0, 4)[3:]).all())
      True
    """

    def __init__(self, seed: int, number: int, batch_size: int):
        """Store the arguments; nothing is drawn yet."""
        super().__init__(seed, number, batch_size)
        self._blocks = -(-number // BLOCK)
        self._windows: dict[tuple[int, int], np.ndarray] = {}

    def begin(self, epoch: int = 0) -> None:
        """Do nothing: windows are ordered as they are read."""

    def _rows(self, epoch: int, begin: int, end: int) -> np.ndarray:
        """Return the rows at places of an epoch."""
        order = keys.generator(self._seed, "order", epoch).permutation(self._blocks)
        lengths = np.minimum(self._number - order * BLOCK, BLOCK)
        ends = np.append(0, np.cumsum(lengths)[WINDOW - 1 :: WINDOW])
        if ends[-1] < self._number:
            ends = np.append(ends, self._number)
        first = int(np.searchsorted(ends, begin, side="right")) - 1
        parts = []
        for window in range(first, len(ends) - 1):
            if ends[window] >= end:
                break
            rows = self._window(epoch, window, order)
            place = ends[window]
            parts.append(rows[max(begin - place, 0) : end - place])
        return np.concatenate(parts)

    def _window(self, epoch: int, window: int, order: np.ndarray) -> np.ndarray:
        """Return the rows of a window; the last two are kept."""
        if (epoch, window) not in self._windows:
            blocks = order[window * WINDOW : (window + 1) * WINDOW]
            rows = (blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel()
            rows = rows[rows < self._number].astype(np.int32)
            number = epoch * (self._blocks // WINDOW + 1) + window
            shuffled = keys.generator(self._seed, "window", number).permutation(rows)
            newest = list(self._windows.items())[-1:]
            self._windows = {**dict(newest), (epoch, window): shuffled}
        return self._windows[epoch, window]

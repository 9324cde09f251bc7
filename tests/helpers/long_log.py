"""A log of several files, for `twotower data prepare`."""

from pathlib import Path

import numpy as np
import polars as pl

FILES, ROWS = 12, 40_000


def write(folder: Path) -> tuple[str, ...]:
    """Write a log as several files, whose ids grow from file to file.

    Args:
      folder: It is made.

    Returns:
      Words of a command that reads it.
    """
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(FILES):
        span = 300 * (number + 1)
        item = (rng.random(ROWS) ** 2 * span).astype(int)
        frame = pl.DataFrame(
            {
                "user": [f"u{one}" for one in rng.integers(0, 4 * span, ROWS)],
                "item": [f"i{one}" for one in item],
                "time": 1_600_000_000 + number * ROWS + np.arange(ROWS),
                "shop": item % 7,
            }
        )
        frame.write_parquet(folder / f"{number:02}.parquet", row_group_size=10_000)
    return (
        *("data=table", f"data.path={folder}", "data.columns.time=time"),
        *("data.candidate_features={shop:categorical}", "data.split=temporal"),
        *("data.min_item_positives=3", "data.min_user_positives=2"),
    )

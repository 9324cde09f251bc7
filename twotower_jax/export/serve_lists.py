"""Print the list of a user of an exported baseline.

The script stands in the folder of the lists and reads them. It needs polars:

  python serve.py --user ID
"""

import argparse
import sys
from pathlib import Path

import polars as pl


def main() -> None:
    """Print rank, item and score of the best items, one item per line."""
    parser = argparse.ArgumentParser(description="Print the best items of a user.")
    text = "a user of the log; any other has the list of the most clicked items"
    parser.add_argument("--user", metavar="ID", required=True, help=text)
    parser.add_argument("--top", type=int, default=20, metavar="K", help="default: 20")
    options = parser.parse_args()
    lists = pl.read_parquet(Path(__file__).parent / "lists.parquet", glob=False)
    own = lists.filter(pl.col("user").cast(pl.String) == options.user)
    if not len(own):
        print(f"unknown user {options.user!r}", file=sys.stderr)
        own = lists.filter(pl.col("user").is_null())
    longest = lists["rank"].max()
    if not 1 <= options.top <= longest:
        parser.error(f"--top {options.top} is out of range; give 1 to {longest}")
    for rank, item, score in own["rank", "item", "score"].head(options.top).rows():
        print(rank, item, f"{score:.6f}", sep="\t")


if __name__ == "__main__":
    main()

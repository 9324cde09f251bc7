"""Write the best items of users by the mean of the scores of several seeds of an arm.

    python experiments/papers/mean_lists.py ARM NUMBER[,NUMBER] FOLDER

For each NUMBER the first seeds of the finished runs of ARM in a study's FOLDER score
the items by the mean of their cosines. FOLDER/lists_NUMBER.parquet gets the columns
user, rank, item and score of the best items that each user did not click in the parts
trained on, for `positives.lists.path`. The users are those of the validation part, or
of the test part where validation was trained on; their positives are not read.
"""

import sys
from pathlib import Path

from finished import Finished, folders, load
from mean_of_seeds import joined

from twotower_jax.run.rank import rank, topk_table


def write_lists(runs: list[Finished], path: Path) -> None:
    """Write the lists of the mean of the scores of runs as a parquet file."""
    one = runs[0]
    split = next(iter(one.queries))
    queries = one.queries[split]
    ranking = rank(one.config, one.data, queries, joined(runs, split))
    topk_table(one.data, queries, ranking).write_parquet(path)
    print(f"{path}: lists of {len(queries.user):,} users, {len(runs)} seeds, {split}")


def main(arm: str, numbers: str, study: str) -> None:
    """Write the lists of each number of seeds."""
    sizes = numbers.split(",")
    if not all(size.isdigit() and int(size) > 0 for size in sizes):
        sys.exit(f"NUMBER={numbers} has to be whole numbers of at least 1, such as 1,5")
    paths = folders(study, [arm])
    if len(paths) < max(map(int, sizes)):
        sys.exit(f"NUMBER={numbers}: {study} has {len(paths)} runs of {arm}")
    runs = sorted((load(path) for path in paths), key=lambda run: run.config.seed)
    for size in sizes:
        write_lists(runs[: int(size)], Path(study) / f"lists_{size}.parquet")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

"""Convert RecFlow's request_id_dict, pickled arrays, to tables for data=recflow.

    python experiments/papers/recflow/convert.py RecFlow/request_id_dict

writes DATE.feather beside each DATE.pkl. A pickle can run code when it is loaded; this
script lets the files make arrays, numbers and dictionaries only. Days whose table is
there already are left out.
"""

import argparse
import pickle
from pathlib import Path

import numpy as np
import polars as pl

# A row has the place of the stage that discarded it.
STAGES = (
    *("realshow", "rerank_pos", "rerank_neg", "rank_pos", "rank_neg", "coarse_neg"),
    "prerank_neg",
)
COLUMNS = (
    *("video_id", "author_id", "duration", "category_level_two", "upload_type"),
    *("upload_timestamp", "category_level_one"),
)
ALLOWED = {
    *(("numpy", "dtype"), ("numpy", "ndarray"), ("_codecs", "encode")),
    *(("collections", "OrderedDict"), ("collections", "defaultdict")),
    *(("builtins", name) for name in ("dict", "float", "int", "list", "str", "tuple")),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ),
}
# Factories of defaults in the published code; the values of a file need none.
DEFAULTS = {
    (module, f"defaultdict_{name}")
    for module in ("utils", "__main__")
    for name in ("str", "tuple")
}


class ArraysOnly(pickle.Unpickler):
    """Makes arrays, numbers and dictionaries; refuses any other name."""

    def find_class(self, module: str, name: str) -> object:
        """Return a class or a function by its name in the file."""
        if (module, name) in DEFAULTS:
            return dict
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array of numbers")
        return super().find_class(module, name)


def table_of(path: Path) -> pl.DataFrame:
    """Rows of a day: request_id, flag (a place in STAGES) and COLUMNS."""
    with path.open("rb") as file:
        requests = ArraysOnly(file).load()
    parts = []
    for request, stages in requests.items():
        for flag, rows in stages.items():
            if flag != "realshow" and len(rows):
                values = np.asarray(rows)[:, : len(COLUMNS)].astype(np.int64)
                part = pl.DataFrame(values, schema=list(COLUMNS), orient="row")
                parts.append(
                    part.select(
                        pl.lit(request, pl.Int64).alias("request_id"),
                        pl.lit(STAGES.index(flag), pl.Int64).alias("flag"),
                        pl.all(),
                    )
                )
    return pl.concat(parts)


def main() -> None:
    """Convert every day of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="request_id_dict of RecFlow")
    for path in sorted(parser.parse_args().folder.glob("*.pkl")):
        target = path.with_suffix(".feather")
        if not target.exists():
            table_of(path).write_ipc(target, compression="zstd")
            print(f"wrote {target}", flush=True)


if __name__ == "__main__":
    main()

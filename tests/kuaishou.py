"""Small folders in the published formats of RecFlow and KuaiRand, made up here."""

import pickle
from pathlib import Path

import numpy as np
import polars as pl
from pyarrow import feather

STAGES = (
    "realshow",
    "rerank_pos",
    "rerank_neg",
    "rank_pos",
    "rank_neg",
    "coarse_neg",
    "prerank_neg",
)
# Rows of a request whose furthest flag it is, in the order of STAGES.
SIZES = (4, 3, 4, 2, 5, 6, 7)
# What a row with a flag as its furthest one carries beside it.
ALSO = {
    "realshow": ("rerank_pos", "rank_neg"),
    "rerank_pos": ("rank_pos",),
    "rerank_neg": ("rank_neg",),
}
FEEDBACK = ("effective_view", "long_view", "like", "follow", "forward", "comment")
DAYS = ("2024-01-13", "2024-01-14", "2024-01-15")
# 2024-01-13 in Shanghai, in seconds.
START = 1_705_075_200


def recflow_day(day: int, requests: int = 20, users: int = 12, videos: int = 150):
    """Return the rows of a day, in the columns of all_stage and in any order."""
    some = np.random.default_rng(day)
    rows = []
    for place in range(requests):
        request = day * requests + place
        user = int(some.integers(users))
        seen = some.permutation(videos)[: sum(SIZES)]
        furthest = np.repeat(STAGES, SIZES)
        for order, (video, flag) in enumerate(zip(seen, furthest, strict=True)):
            flags = (flag, *ALSO.get(flag, ()))
            shown = flag == "realshow"
            likes = shown and int(video) % 3 == user % 3
            rows.append(
                {
                    "request_id": request,
                    "request_timestamp": (START + 86_400 * day + place) * 1000,
                    "user_id": user,
                    "device_id": user + 100,
                    "age": user % 5,
                    "gender": user % 2,
                    "province": user % 7,
                    "video_id": int(video),
                    "author_id": int(video) % 11,
                    "category_level_one": int(video) % 3,
                    "category_level_two": int(video) % 9,
                    "upload_type": int(video) % 4,
                    "upload_timestamp": START - 1000 * int(video),
                    "duration": 1000 + int(video),
                    **{name: int(name in flags) for name in STAGES},
                    "rank_index": 10 + order,
                    "rerank_index": 100 - order,
                    "playing_time": 500 * likes,
                    **{name: int(likes) for name in FEEDBACK},
                }
            )
            # A shown video of each request is liked by anyone; only half are "liked".
            if shown and order == 0:
                rows[-1] |= dict.fromkeys(FEEDBACK, 1) | {"like": place % 2}
    return pl.DataFrame(rows)


def write_feather(frame: pl.DataFrame, path: Path) -> None:
    """Write a table as pandas does: compressed, in pieces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(frame.to_arrow(), str(path), compression="lz4", chunksize=97)


def stage_arrays(frame: pl.DataFrame) -> dict:
    """Return what request_id_dict holds of a day: request, stage, rows by columns."""
    columns = [
        "video_id",
        "author_id",
        "duration",
        "category_level_two",
        "upload_type",
        "upload_timestamp",
        "category_level_one",
        "effective_view",
    ]
    out = {}
    for (request,), rows in frame.group_by(["request_id"], maintain_order=True):
        out[request] = {
            name: rows.filter(pl.col(name) == 1).select(columns).to_numpy()
            for name in STAGES
        }
    return out


def write_recflow(folder: Path, days=DAYS, protocol: int = 4, **sizes: int) -> Path:
    """Write the days of a RecFlow folder, in both of its forms."""
    (folder / "request_id_dict").mkdir(parents=True, exist_ok=True)
    for number, day in enumerate(days):
        frame = recflow_day(number, **sizes)
        write_feather(frame, folder / "all_stage" / f"{day}.feather")
        shown = frame.filter(pl.col("realshow") == 1)
        write_feather(shown, folder / "realshow" / f"{day}.feather")
        with (folder / "request_id_dict" / f"{day}.pkl").open("wb") as file:
            pickle.dump(stage_arrays(frame), file, protocol=protocol)
    return folder

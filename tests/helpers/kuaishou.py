"""Small folders in the published formats of RecFlow and KuaiRand."""

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
# The other flags of a row by its furthest one.
ALSO = {
    "realshow": ("rerank_pos", "rank_neg"),
    "rerank_pos": ("rank_pos",),
    "rerank_neg": ("rank_neg",),
}
# Columns of the arrays of a stage; the last one is effective_view.
ARRAYS = [
    *("video_id", "author_id", "duration", "category_level_two", "upload_type"),
    *("upload_timestamp", "category_level_one"),
]
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
    """Return the request_id_dict of a day: {request: {stage: rows by columns}}."""
    columns = [*ARRAYS, "effective_view"]
    out = {}
    for (request,), rows in frame.group_by(["request_id"], maintain_order=True):
        out[request] = {
            name: rows.filter(pl.col(name) == 1).select(columns).to_numpy()
            for name in STAGES
        }
    return out


def stage_table(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the discarded rows of a day as experiments/.../convert.py writes them."""
    parts = [
        pl.DataFrame(rows[:, :7], schema=ARRAYS, orient="row").select(
            pl.lit(request, pl.Int64).alias("request_id"),
            pl.lit(STAGES.index(name), pl.Int64).alias("flag"),
            pl.all(),
        )
        for request, stages in stage_arrays(frame).items()
        for name, rows in stages.items()
        if name != "realshow" and len(rows)
    ]
    return pl.concat(parts)


def write_recflow(folder: Path, days=DAYS, **sizes: int) -> Path:
    """Write the days of a RecFlow folder, in both of its forms."""
    for number, day in enumerate(days):
        frame = recflow_day(number, **sizes)
        write_feather(frame, folder / "all_stage" / f"{day}.feather")
        shown = frame.filter(pl.col("realshow") == 1)
        write_feather(shown, folder / "realshow" / f"{day}.feather")
        table = stage_table(frame)
        write_feather(table, folder / "request_id_dict" / f"{day}.feather")
    return folder


# ---------------------------------------------------------------- KuaiRand


def _words(text: str) -> list[str]:
    return text.split()


LOG_COLUMNS = _words(
    "user_id video_id date hourmin time_ms is_click is_like is_follow is_comment "
    "is_forward is_hate long_view play_time_ms duration_ms profile_stay_time "
    "comment_stay_time is_profile_enter is_rand tab"
)
USER_COLUMNS = _words(
    "user_id user_active_degree is_lowactive_period is_live_streamer is_video_author "
    "follow_user_num follow_user_num_range fans_user_num fans_user_num_range "
    "friend_user_num friend_user_num_range register_days register_days_range"
) + [f"onehot_feat{i}" for i in range(18)]
VIDEO_COLUMNS = _words(
    "video_id author_id video_type upload_dt upload_type visible_status video_duration "
    "server_width server_height music_id music_type tag"
)
# First second of 8 and of 22 April 2022 in Shanghai.
APRIL = (1_649_347_200, 1_650_556_800)


def kuairand_log(seed: int, start: int, rows: int, rand: int = 0) -> list[list]:
    """Return rows of a log, in the published order of columns."""
    some = np.random.default_rng(seed)
    out = []
    for place in range(rows):
        user, video = int(some.integers(15)), int(some.integers(60))
        click = int(video % 3 == user % 3)
        row = dict.fromkeys(LOG_COLUMNS, 0) | {
            "user_id": user,
            "video_id": video,
            "date": 20220408,
            "hourmin": 400,
            "time_ms": (start + place) * 1000 + 500,
            "is_click": click,
            "long_view": click * (video % 2),
            "is_rand": rand,
            "tab": place % 15,
        }
        out.append(list(row.values()))
    return out


def write_csv(path: Path, columns: list[str], rows: list[list]) -> Path:
    """Write a table as pandas does: quotes only where they are needed."""

    def field(value) -> str:
        return f'"{value}"' if "," in str(value) else str(value)

    lines = [",".join(columns), *(",".join(map(field, row)) for row in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def write_kuairand(folder: Path, version: str = "pure") -> Path:
    """Write a folder of KuaiRand with its ``data``."""
    data = folder / "data"
    early, late = kuairand_log(1, APRIL[0], 400), kuairand_log(2, APRIL[1], 200)
    for name, rows in (
        ("log_standard_4_08_to_4_21", early),
        ("log_standard_4_22_to_5_08", late),
    ):
        if version == "27k":
            for part, piece in ((1, rows[:150]), (2, rows[150:])):
                file = data / f"{name}_{version}_part{part}.csv"
                write_csv(file, LOG_COLUMNS, piece)
        else:
            write_csv(data / f"{name}_{version}.csv", LOG_COLUMNS, rows)
    random = kuairand_log(3, APRIL[1], 100, rand=1)
    write_csv(data / f"log_random_4_22_to_5_08_{version}.csv", LOG_COLUMNS, random)
    users = [
        [u, ("full_active", "UNKNOWN")[u % 2], 0, 0, u % 2, u, "(0,10]", 2 * u]
        + ["[1,10)", 0, "0", 100 + u, "61-90"]
        + [u % (i + 2) if i != 4 or u else "" for i in range(18)]
        for u in range(15)
    ]
    write_csv(data / f"user_features_{version}.csv", USER_COLUMNS, users)
    videos = [
        [
            *(v, v % 7, ("NORMAL", "AD")[v % 2], f"2022-04-{v % 28 + 1:02d}", "Web", 1),
            *(f"{1000.0 + v}" if v else "", 720.0, 1280.0, v % 5, 4.0),
            ("12,65", "39", "")[v % 3],
        ]
        for v in range(60)
    ]
    write_csv(data / f"video_features_basic_{version}.csv", VIDEO_COLUMNS, videos)
    # Two of its 51 statistics; those of 27K come in three parts.
    rows = [[v, 3, 10.5 + v, v / 2] for v in range(70)]
    columns = ["video_id", "counts", "show_cnt", "play_cnt"]
    stem = f"video_features_statistic_{version}"
    if version == "27k":
        for part in range(3):
            write_csv(data / f"{stem}_part{part + 1}.csv", columns, rows[part::3])
    else:
        write_csv(data / f"{stem}.csv", columns, rows)
    return folder

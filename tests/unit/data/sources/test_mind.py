"""MIND on small folders of its exact format, and every bad input."""

import pytest

from twotower_jax.data.config import DataConfig
from twotower_jax.data.log import Stage
from twotower_jax.data.sources import load
from twotower_jax.data.split import split
from twotower_jax.errors import InputError

TRAIN = (
    "1\tU1\t11/9/2019 9:05:58 AM\tN1 N2\tN3-1 N4-0\n"
    "2\tU2\t11/10/2019 12:00:00 PM\t\tN4-0 N5-0 N3-1\n"
    "3\tU1\t11/11/2019 12:00:01 AM\tN1 N2\tN5-1 N1-0\n"
)
DEV = (
    "1\tU1\t11/15/2019 8:00:00 AM\tN1 N2 N5 N6\tN4-1 N3-0\n"
    "2\tU3\t11/15/2019 9:00:00 AM\tN2\tN6-0 N5-1\n"
)
FIRST = 1573290358  # 2019-11-09 09:05:58 UTC


def news(*lines):
    rest = "\tAbstract, of \x85 it\thttps://a/b\t[]\t[]\n"
    return "".join("\t".join(line) + rest for line in lines)


NEWS = news(
    ("N1", "sports", "golf", 'The "Open": a review'),
    ("N2", "sports", "tennis", "Open"),
    ("N3", "news", "world", "Ünited we stand"),
    ("N4", "news", "world", ""),
    ("N5", "food", "", 'A 5" pie'),
    ("N9", "food", "pies", "Pie pie PIE"),
)
DEV_NEWS = news(("N1", "sports", "golf", "Review"), ("N6", "tv", "tv", "Late"))


def folder(path, train=(TRAIN, NEWS), dev=(DEV, DEV_NEWS), **keys):
    for name, files in (("MINDsmall_train", train), ("MINDsmall_dev", dev)):
        if files is None:
            continue
        (path / name).mkdir()
        for file, text in zip(("behaviors.tsv", "news.tsv"), files, strict=True):
            if text is not None:
                (path / name / file).write_bytes(text.encode())
    keys = {"split": "given"} | keys
    return DataConfig(source="mind", path=str(path), **keys)


def rows(log):
    """Return (request, part, user, item, stage, seconds after the first) of rows."""
    users, items = log.user_ids.to_list(), log.item_ids.to_list()
    part = [0] * len(log.user) if log.part is None else log.part.tolist()
    return [
        (request, part, users[u], items[i], Stage(stage).name, time - FIRST)
        for request, part, u, i, stage, time in zip(
            log.request.tolist(),
            part,
            log.user,
            log.item,
            log.stage,
            log.time.tolist(),
            strict=True,
        )
    ]


def test_impressions_of_train_and_dev(tmp_path):
    log = load(folder(tmp_path, history_clicks=False))
    assert rows(log) == [
        (0, 0, "U1", "N3", "CLICKED", 0),
        (0, 0, "U1", "N4", "EXPOSED", 0),
        (1, 0, "U2", "N4", "EXPOSED", 96842),
        (1, 0, "U2", "N5", "EXPOSED", 96842),
        (1, 0, "U2", "N3", "CLICKED", 96842),
        (2, 0, "U1", "N5", "CLICKED", 140043),
        (2, 0, "U1", "N1", "EXPOSED", 140043),
        (3, 2, "U1", "N4", "CLICKED", 514442),
        (3, 2, "U1", "N3", "EXPOSED", 514442),
        (4, 2, "U3", "N6", "EXPOSED", 518042),
        (4, 2, "U3", "N5", "CLICKED", 518042),
    ]


def test_clicks_of_before_are_training_positives_in_their_order(tmp_path):
    log = load(folder(tmp_path))
    # U1: N1 N2, then of dev N6 (N5 is a training positive already); U3: N2
    assert rows(log)[:4] == [
        (5, 0, "U1", "N1", "CLICKED", -3),
        (5, 0, "U1", "N2", "CLICKED", -2),
        (5, 0, "U1", "N6", "CLICKED", -1),
        (6, 0, "U3", "N2", "CLICKED", -1),
    ]
    assert len(rows(log)) == 4 + 11
    parts = split(log, folder_config(tmp_path))
    # A tenth of train, the latest positive, is the valid part that MIND lacks.
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (6, 1, 2)
    # A split by time puts no click of before into a later part either.
    temporal = split(log, folder_config(tmp_path, split="temporal", test_share=0.3))
    assert temporal.test.time.min() > FIRST


def folder_config(path, **keys):
    return DataConfig(source="mind", path=str(path), **({"split": "given"} | keys))


def test_the_catalogue_is_every_news_and_has_features(tmp_path):
    log = load(folder(tmp_path, history_clicks=False))
    assert log.item_ids.to_list() == ["N3", "N4", "N5", "N1", "N6", "N2", "N9"]
    category = log.item_features["category"]
    # N1 is in both files, as the first has it
    assert category.kind == "categorical" and category.size == 4
    assert category.values.tolist() == [0, 0, 1, 2, 3, 2, 1]
    assert log.item_features["subcategory"].kind == "categorical"
    title = log.item_features["title"]
    assert title.kind == "multi"
    words = [len(set(row) - {-1}) for row in title.values.tolist()]
    # Ünited we stand; nothing; A 5 pie; The Open a review; Late; Open; pie
    assert words == [3, 0, 3, 4, 1, 1, 1]


def test_one_part_alone(tmp_path):
    config = folder(tmp_path, dev=None, split="temporal", history_clicks=False)
    whole = load(config)
    assert whole.part is None and len(whole.user) == 7
    inner = DataConfig(source="mind", path=str(tmp_path / "MINDsmall_train"))
    assert load(inner).request.max() == whole.request.max() + 1
    with pytest.raises(InputError, match="data.split=given needs data that comes in"):
        split(whole, folder_config(tmp_path))


LINE = "1\tU1\t11/9/2019 9:05:58 AM\tN1\tN3-1\n"
BAD = {
    "fields": ((LINE + "2\tU2\tN1\n", NEWS), "row 2 has 3 fields separated by '.t'"),
    "cut": ((TRAIN[:-30], NEWS), "behaviors.tsv: row 3 has 3 fields .* instead of 5"),
    "label": (
        (LINE + LINE.replace("N3-1", "N3-1 N4"), NEWS),
        "behaviors.tsv: row 2, column 'impressions': 'N4' has no label -0 or -1",
    ),
    "label 2": ((LINE.replace("N3-1", "N3-2"), NEWS), "row 1, column 'impressions'"),
    "no news": ((LINE.replace("N3-1", " "), NEWS), "row 1, column 'shown': ' ' is em"),
    "no user": ((LINE.replace("U1", ""), NEWS), "row 1, column 'user': '' is empty"),
    "time": (
        (LINE + LINE.replace("11/9/2019", "2019-11-09"), NEWS),
        "row 2, column 'time': '2019-11-09 9:05:58 AM' is not a time such as '11/11/",
    ),
    "month": ((LINE.replace("11/9", "13/9"), NEWS), "row 1, column 'time': '13/9/20"),
    "empty": (("", NEWS), "behaviors.tsv: is empty"),
    "news fields": ((LINE, NEWS + "N8\tfood\n"), "news.tsv: row 7 has 2 fields"),
    "news id": (
        (LINE, NEWS.replace("N2\t", "\t")),
        "news.tsv: row 2, column 'news id'",
    ),
    "no news.tsv": ((LINE, None), "holds no file 'news.tsv'"),
    "zipped": (("PK\x03\x04\x00\x1f\x00", NEWS), "behaviors.tsv: holds the control ch"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(tmp_path, name):
    files, message = BAD[name]
    with pytest.raises(InputError, match=message):
        load(folder(tmp_path, train=files))


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="holds no behaviors.tsv and no folder that"):
        load(folder_config(tmp_path))
    config = folder(tmp_path)
    (tmp_path / "MINDlarge_train").mkdir()
    with pytest.raises(InputError, match="'MINDlarge_train' and 'MINDsmall_train'; ke"):
        load(config)

"""The fingerprint of a configuration, which names the folder of its run."""

import copy

from helpers.configs import with_choice, with_value

from twotower_jax.config import (
    LABELS,
    Config,
    fingerprint,
    from_dict,
    from_record,
    known_keys,
    to_dict,
)
from twotower_jax.config.root import FAMILIES


def leaf_keys():
    keys = known_keys()
    return [key for key in keys if not any(k.startswith(f"{key}.") for k in keys)]


# A value other than the default for the keys where adding 1, or a letter, is wrong.
OTHER = {
    "trackers": ["mlflow"],
    "data.split": "ratio",
    "data.query_features": {"a": "numeric"},
    "data.candidate_features": {"a": "numeric"},
    "data.valid_share": 0.2,
    "data.test_share": 0.2,
    "data.simulator.position_bias": 0.5,
    "data.simulator.click_rate": 0.5,
    "data.recflow.days": "3",
    "data.recflow.stages": "request_id_dict",
    "data.recflow.clicked": "like",
    "data.kuairand.clicked": "is_like",
    "data.kuairand.test": "standard",
    "data.kuairand.statistics": ["play_cnt"],
    "data.separator": "tab",
    "data.list_separator": "bar",
    "data.time_format": "%d/%m/%Y",
    "data.clicked_values": ["click"],
    "data.users_id": "x",
    "data.items_id": "x",
    "data.repeats": "first",
    "positives.exponent": 1.0,
    "positives.weight": "grade",
    "negatives.layout": "per_row",
    "negatives.hard.source": "mined",
    "negatives.hard.stages": ["ranked"],
    "negatives.hard.weights": [1.0, 2.0],
    "negatives.hard.pool": "user",
    "negatives.hard.log_q": "none",
    "negatives.hard_ratio": 0.25,
    "negatives.hard_start": 0.25,
    "negatives.hard_ramp": 0.5,
    "negatives.bank.size": 8192,
    "negatives.bank.warmup": 0.2,
    "negatives.filter.warmup": 0.2,
    "negatives.hard.mined.warmup": 0.2,
    "negatives.hard.mined.every": 0.2,
    "evaluation.auc": ["ranked"],
    "training.order": "time",
    "training.feed": "host",
    "training.update": "full",
    "data.since": "5",
    "data.until": "5",
    "negatives.mask": "none",
    "loss.logq.correct": "none",
    "loss.logq.frequency": "streaming",
    "loss.logq.streaming.alpha": 0.5,
    "loss.logq.strength": 0.5,
    "loss.calibration": 0.5,
    "loss.offset": -1.0,
    "loss.activation": "relu",
    "loss.tau_plus": 0.5,
    "loss.at_k.every": 0.5,
    "loss.two_way.correct": "users",
    "towers.hidden": [64],
    "towers.query_dropout": 0.1,
    "towers.init": "spectral",
    "towers.query": ["id", "history"],
    "towers.candidate": ["id", "x"],
    "towers.history_pooling": "attention",
    "towers.sequence.heads": 2,
    "towers.sequence.dropout": 0.3,
    "towers.sequence.longer": "newest",
    "towers.history_table": "shared",
    "towers.history_features": ["id", "x"],
    "optimizer.b1": 0.5,
    "optimizer.b2": 0.5,
    "evaluation.k": [10, 20],
}


def chosen(base, key):
    """Return a copy of a base in which the choice that has a key is made."""
    return with_choice(copy.deepcopy(base), key)


def changed(key, value):
    if key in OTHER:
        return OTHER[key]
    if isinstance(value, bool):
        return not value
    text = key in ("arm", "name") or key.startswith(("data.columns", "data.source"))
    if isinstance(value, str) or text or key.endswith("path"):
        return f"{value}x"
    return 2 if value is None else value + 1


# They decide the last digits alone, and a run goes on with others.
DEVICES = ("training.devices", "training.mesh.data", "training.mesh.table")


def test_the_fingerprint_changes_with_every_key_but_labels_and_devices():
    base = with_value("negatives.easy.num", 64)
    base["negatives"] |= {"hard_ratio": 0.5}
    base["negatives"]["hard"] |= {"num": 4, "log_q": "easy"}
    base["training"]["start_from"] = "outputs/a"
    base["towers"]["history_pooling"] = "transformer"
    keys = leaf_keys()
    keys.remove("data.columns.weight")  # positives.weight sets it
    tags = {family.key for family in FAMILIES.values()}
    keys = [key for key in keys if key not in tags]
    prints = {fingerprint(from_record(chosen(base, key))): "a start" for key in keys}
    starts = len(prints)
    assert {"seed", "loss.logq.correct", "data.columns.user", *LABELS} <= set(keys)
    for key in keys:
        before = chosen(base, key)
        values = copy.deepcopy(before)
        if key == "towers.init":  # another start, and no layers
            values["training"]["start_from"] = None
            values["towers"]["history_pooling"] = "mean"
        place = values
        *sections, last = key.split(".")
        for section in sections:
            place = place[section]
        place[last] = changed(key, place[last])
        config = from_record(values)
        found = fingerprint(config)
        assert config != from_record(before)
        if key in (*LABELS, *DEVICES):
            assert prints[found] == "a start", key
            continue
        assert found not in prints, f"{key} and {prints.get(found)}"
        prints[found] = key
    assert len(prints) == starts + len(keys) - len(LABELS) - len(DEVICES)


def test_the_fingerprint_does_not_depend_on_the_order_of_keys():
    assert len(fingerprint(Config())) == 10
    values = to_dict(Config())
    turned = dict(reversed(list(values.items())))
    assert fingerprint(from_dict(turned)) == fingerprint(Config())

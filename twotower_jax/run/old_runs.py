"""Configurations that older versions wrote, in the keys of this one."""

import copy
from typing import Any

# Shares of the training that were numbers of steps.
STEPS = (("bank", "warmup"), ("hard", "mined", "every"))


def modernised(values: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Return the stored keys of a run as this version writes them.

    Versions before 0.2 counted the warm-up of the bank and the period of mining in
    steps, which become shares of the training. A number of steps that has no share,
    such as one beyond the training, gets the default: evaluation does not read it, and
    a repetition differs. Versions without ``towers.sequence.longer`` trained on the
    newest positives of a sequence. Those whose results have no ``length`` trained to
    the last step with ``data.fit_valid``.

    Args:
      values: {key: value} of config.yaml.
      result: content of its result.json; {} without one.

    Returns:
      The keys; a copy where something changed.

    Examples:
      >>> old = {"negatives": {"bank": {"size": 64, "warmup": 10}}}
      >>> modernised(old, {"steps": 40})["negatives"]["bank"]
      {'size': 64, 'warmup': 0.25}
      >>> modernised(old, {"steps": 10})["negatives"]["bank"]
      {'size': 64}
      >>> fitted = {"data": {"fit_valid": True}, "training": {"patience": None}}
      >>> modernised(fitted, {"steps": 40})["training"]
      {'patience': 0}
      >>> modernised({"towers": {"history_pooling": "transformer"}}, {})["towers"]
      {'history_pooling': 'transformer', 'sequence': {'longer': 'newest'}}
    """
    values, steps = copy.deepcopy(values), result.get("steps")
    for *sections, key in STEPS:
        place = values.get("negatives")
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        number = place.get(key) if isinstance(place, dict) else None
        if not isinstance(place, dict) or not isinstance(number, int) or number < 1:
            continue
        del place[key]
        if key == "warmup" and steps and number < steps:
            place[key] = number / steps
    towers = values.get("towers")
    if isinstance(towers, dict) and towers.get("history_pooling") == "transformer":
        towers.setdefault("sequence", {}).setdefault("longer", "newest")
    data, training = values.get("data"), values.get("training")
    fitted = isinstance(data, dict) and data.get("fit_valid")
    before = bool(result) and "length" not in result
    if before and fitted and isinstance(training, dict):
        training["patience"] = 0
    return values

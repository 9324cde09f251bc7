"""Configurations that older versions wrote, in the keys of this one."""

import copy
from typing import Any

# Shares of the training that were numbers of steps.
SHARES = (("bank", "warmup"), ("hard", "mined", "every"))


def modernised(values: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of config.yaml as this version writes them.

    ``result`` is result.json of the run, {} without one. Versions before 0.2 counted
    the warm-up of the bank and the period of mining in steps, which become shares of
    the training. A number of steps that has no share, such as one beyond the training,
    gets the default: evaluation does not read it, and a repetition differs. Versions
    without ``towers.sequence.longer`` trained on the newest positives of a sequence.
    Those whose results have no ``length`` trained to the last step with
    ``data.fit_valid``.

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
    for *sections, key in SHARES:
        section = values.get("negatives")
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        number = section.get(key) if isinstance(section, dict) else None
        if not isinstance(section, dict) or not isinstance(number, int) or number < 1:
            continue
        del section[key]
        if key == "warmup" and steps and number < steps:
            section[key] = number / steps
    towers = values.get("towers")
    if isinstance(towers, dict) and towers.get("history_pooling") == "transformer":
        towers.setdefault("sequence", {}).setdefault("longer", "newest")
    data, training = values.get("data"), values.get("training")
    fits_valid = isinstance(data, dict) and data.get("fit_valid")
    before = bool(result) and "length" not in result
    if before and fits_valid and isinstance(training, dict):
        training["patience"] = 0
    return values

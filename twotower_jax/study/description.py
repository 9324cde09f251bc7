"""The description of a study in study.json: question, metric, base arm, controls.

A sweep writes the file beside its runs, so that `twotower report` later makes the same
report without options.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from twotower_jax.data.parse_text import parse_json
from twotower_jax.data.text_files import read_text, write_text
from twotower_jax.errors import InputError, unknown
from twotower_jax.registry import key

FILE = "study.json"
TEXTS = ("question", "answer", "source", "metric", "base", "rival", "tuned")


@dataclass(frozen=True)
class Description:
    """The description of a study; None for each part that is not given.

    Its fields are the keys of ``hydra.callbacks.study``.
    """

    question: str | None = key(
        None,
        doc="question of the study, one sentence, first in its report; null: none",
        example="-m experiment=quickstart "
        "'hydra.callbacks.study.question=Which negatives suit us?'",
    )
    source: str | None = key(
        None,
        doc="origin of the question or of the arms, such as a paper; null: none",
        example="-m experiment=quickstart "
        "'hydra.callbacks.study.source=Yi et al. 2019'",
    )
    metric: str | None = key(
        None,
        doc="main metric, which orders the arms and is compared first; null: recall@20",
        example="-m experiment=quickstart hydra.callbacks.study.metric=ndcg@20",
    )
    base: str | None = key(
        None,
        doc="label of the arm to which the others are compared; null: the first by "
        "name",
        example="-m experiment=quickstart hydra.callbacks.study.base=in-batch",
    )
    rival: str | None = key(
        None,
        doc="label of a second arm to which the others are compared, in all metrics, "
        "such as the best baseline; null: none",
        example="-m experiment=quickstart hydra.callbacks.study.rival=EASE",
    )
    tuned: str | None = key(
        None,
        doc="where each arm was tuned on these data, with three seeds or more; null: "
        "by the selections of the study, or untuned",
        example="-m experiment=quickstart "
        "'hydra.callbacks.study.tuned=by hand on validation'",
    )
    margin: float | None = key(
        None,
        doc="share of a mean, above 0 and below 1, up to which arms are equivalent; "
        "null: 0.02",
        example="-m experiment=quickstart hydra.callbacks.study.margin=0.05",
    )
    controls: dict[str, str] | None = key(
        None,
        doc="{arm: its control}, by their labels; null: searched, an arm that differs "
        "in one choice",
        example="-m experiment=quickstart "
        "'hydra.callbacks.study.controls={half exposed:uniform slots}'",
    )
    answer: str | None = key(
        None,
        doc="answer to the question, first in the report; null: the best arm and its "
        "difference to the base",
        example="-m experiment=quickstart "
        "'hydra.callbacks.study.answer=Uniform slots are enough.'",
    )

    def or_else(self, other: "Description") -> "Description":
        """This description, with its missing parts taken from another.

        Examples:
          >>> mine, other = Description(base="bce"), Description("Why?", base="bpr")
          >>> both = mine.or_else(other)
          >>> both.question, both.base
          ('Why?', 'bce')
        """
        given = {name: value for name, value in asdict(self).items() if value}
        return replace(other, **given)


def described(given: Mapping[str, Any], key: str) -> Description:
    """The description from values of the configuration.

    Examples:
      >>> made = described({"base": "in-batch", "margin": "0.05"}, "callbacks.study")
      >>> made.base, made.margin
      ('in-batch', 0.05)
    """
    names = [field.name for field in fields(Description)]
    for name in given:
        if name not in names:
            raise unknown(f"a key of {key}", name, names)
    values = {
        name: str(value)
        for name, value in given.items()
        if name in TEXTS and value is not None
    }
    margin = check_margin(f"{key}.margin", given.get("margin"))
    controls = _pairs(given.get("controls"), f"{key}.controls")
    return Description(**values, margin=margin, controls=controls)


def _pairs(controls: Any, key: str) -> dict[str, str] | None:
    """Return {arm: its control} as texts; None without any."""
    if controls is None:
        return None
    if not isinstance(controls, Mapping):
        raise InputError(
            f"{key}={controls} does not pair arms; give each arm its control, such as "
            "{half hard: none hard}"
        )
    return {str(arm): str(control) for arm, control in controls.items()} or None


def read_description(folder: str | Path) -> Description:
    """Read study.json of a folder; without the file, the description is empty."""
    path = Path(folder) / FILE
    if not path.is_file():
        return Description()
    try:
        values = parse_json(read_text(path))
        names = {field.name for field in fields(Description)}
        known = {key: value for key, value in values.items() if key in names}
        if not all(_has_its_type(key, value) for key, value in known.items()):
            raise ValueError
    except (OSError, ValueError, AttributeError):
        raise InputError(
            f"{path} is broken: question, answer, source, metric, base, rival and "
            "tuned must be texts, margin a number and controls pairs of arms; remove "
            "it, and give twotower report --question, --metric, --base"
        ) from None
    return Description(**known)


def _has_its_type(key: str, value: Any) -> bool:
    """Return whether a value of study.json has the type of its key."""
    if value is None:
        return True
    if key == "margin":
        return isinstance(value, float) and 0 < value < 1
    if key == "controls":
        pairs = value.items() if isinstance(value, dict) else [(None, None)]
        return all(isinstance(one, str) for pair in pairs for one in pair)
    return isinstance(value, str)


def first_description(given: Description, folders: Iterable[str | Path]) -> Description:
    """A given description, completed by study.json of the folders in their order."""
    for folder in folders:
        given = given.or_else(read_description(folder))
    return given


def write_description(description: Description, folder: str | Path) -> Path:
    """Write study.json."""
    text = json.dumps(asdict(description), indent=2, ensure_ascii=False)
    return write_text(Path(folder) / FILE, text + "\n")


def check_margin(key: str, margin: object) -> float | None:
    """Return a margin as a number.

    Examples:
      >>> check_margin("--margin", "0.05")
      0.05
      >>> check_margin("--margin", 2)
      Traceback (most recent call last):
        ...
      InputError: --margin=2 is not a share of the mean; give a number above 0 and ...
    """
    if margin is None:
        return None
    try:
        value = float(str(margin))
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise InputError(
            f"{key}={margin} is not a share of the mean; give a number above 0 and "
            "below 1, such as 0.02"
        )
    return value

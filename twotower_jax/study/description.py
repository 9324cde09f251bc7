"""The description of a study in study.json: question, metric, base arm, controls.

A sweep writes the file beside its runs, so that `twotower report` later makes the same
report without options.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from twotower_jax.config.convert import section_of
from twotower_jax.data.parse_text import parse_json
from twotower_jax.data.text_files import read_text, write_text
from twotower_jax.errors import InputError, unknown
from twotower_jax.registry import Key, check_keys, key

FILE, PREFIX = "study.json", "hydra.callbacks.study"
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
        above=0,
        high=1,
        doc="share of a mean up to which arms are equivalent; null: 0.02",
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

    def __post_init__(self) -> None:
        check_keys(self, PREFIX)

    def or_else(self, other: "Description") -> "Description":
        """This description, with its missing parts taken from another."""
        given = {name: value for name, value in asdict(self).items() if value}
        return replace(other, **given)


def described(given: Mapping[str, Any]) -> Description:
    """The description from values of the configuration; some may be numbers."""
    names, values = [field.name for field in fields(Description)], dict(given)
    for name, value in given.items():
        if name not in names:
            raise unknown(f"a key of {PREFIX}", name, names)
        if name in TEXTS and value is not None:
            values[name] = str(value)
    if isinstance(pairs := values.get("controls"), Mapping):
        values["controls"] = {str(arm): str(one) for arm, one in pairs.items()}
    return section_of(Description, values, f"{PREFIX}.")


def read_description(folder: str | Path) -> Description:
    """Read study.json of a folder; without the file, the description is empty."""
    path = Path(folder) / FILE
    if not path.is_file():
        return Description()
    try:
        values = parse_json(read_text(path))
        names = {field.name for field in fields(Description)}
        known = {key: value for key, value in values.items() if key in names}
        return section_of(Description, known)
    except (OSError, ValueError, AttributeError):
        raise InputError(
            f"{path} is broken: question, answer, source, metric, base, rival and "
            "tuned must be texts, margin a number and controls pairs of arms; remove "
            "it, and give twotower report --question, --metric, --base"
        ) from None


def first_description(given: Description, folders: Iterable[str | Path]) -> Description:
    """A given description, completed by study.json of the folders in their order."""
    for folder in folders:
        given = given.or_else(read_description(folder))
    return given


def write_description(description: Description, folder: str | Path) -> Path:
    """Write study.json."""
    text = json.dumps(asdict(description), indent=2, ensure_ascii=False)
    return write_text(Path(folder) / FILE, text + "\n")


def check_margin(option: str, margin: str | None) -> float | None:
    """A margin from the text of an option."""
    if margin is None:
        return None
    try:
        value = float(margin)
    except ValueError:
        raise InputError(f"{option}={margin} is no number; give 0.02 or so") from None
    Key("", above=0, high=1).check(option, value)
    return value

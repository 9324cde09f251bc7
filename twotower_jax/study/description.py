"""What a study asks: its question, its primary metric, its base arm, in study.json.

A sweep writes the file beside its runs, so that `twotower report` makes the same
report later without options.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from twotower_jax.errors import InputError
from twotower_jax.study.arms import write_whole

FILE = "study.json"


@dataclass(frozen=True)
class Description:
    """What a study asks; None for what nobody has said.

    Attributes:
      question: what the study is to answer, one sentence.
      source: where the question or its arms come from.
      metric: the primary metric: it orders the arms and is compared first.
      base: the arm that the others are compared to.
    """

    question: str | None = None
    source: str | None = None
    metric: str | None = None
    base: str | None = None

    def or_else(self, other: "Description") -> "Description":
        """Return this description, with what it leaves open taken from another."""
        said = {name: value for name, value in asdict(self).items() if value}
        return replace(other, **said)


def read_description(folder: str | Path) -> Description:
    """Return the description in study.json of a folder, an empty one without it.

    Raises:
      InputError: when the file is not what a sweep writes.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return Description()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(Description)}
        texts = {key: value for key, value in values.items() if key in known}
        if not all(value is None or isinstance(value, str) for value in texts.values()):
            raise ValueError
    except (OSError, ValueError, AttributeError, RecursionError):
        raise InputError(
            f"{path} is broken: it holds no texts of question, source, metric and "
            "base; remove it, and give twotower report --question, --metric, --base"
        ) from None
    return Description(**texts)


def first_description(given: Description, folders: Iterable[str | Path]) -> Description:
    """Return what is given, completed by study.json of the folders in their order."""
    for folder in folders:
        given = given.or_else(read_description(folder))
    return given


def write_description(description: Description, folder: str | Path) -> Path:
    """Write study.json into a folder and return its path."""
    text = json.dumps(asdict(description), indent=2, ensure_ascii=False)
    return write_whole(Path(folder) / FILE, text + "\n")

"""The description of a study in study.json: question, source, metric and base arm.

A sweep writes the file beside its runs, so that `twotower report` later makes the same
report without options.
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
    """The description of a study; None for each part that is not given.

    Attributes:
      question: the question of the study, one sentence.
      source: the origin of the question or of the arms.
      metric: the primary metric, which orders the arms and is compared first.
      base: the arm to which the others are compared.
    """

    question: str | None = None
    source: str | None = None
    metric: str | None = None
    base: str | None = None

    def or_else(self, other: "Description") -> "Description":
        """This description, with its missing parts taken from another.

        Examples:
          >>> Description(base="bce").or_else(Description(metric="mrr@5", base="bpr"))
          Description(question=None, source=None, metric='mrr@5', base='bce')
        """
        given = {name: value for name, value in asdict(self).items() if value}
        return replace(other, **given)


def read_description(folder: str | Path) -> Description:
    """Read study.json of a folder; without the file, the description is empty.

    Args:
      folder: a folder of runs or of a report.

    Raises:
      InputError: when the content of the file is not a description.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return Description()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        names = {field.name for field in fields(Description)}
        texts = {key: value for key, value in values.items() if key in names}
        if not all(value is None or isinstance(value, str) for value in texts.values()):
            raise ValueError
    except (OSError, ValueError, AttributeError, RecursionError):
        raise InputError(
            f"{path} is broken: question, source, metric and base must be texts; "
            "remove it, and give twotower report --question, --metric, --base"
        ) from None
    return Description(**texts)


def first_description(given: Description, folders: Iterable[str | Path]) -> Description:
    """A given description, completed by study.json of the folders in their order.

    Args:
      given: the parts that the user gives.
      folders: folders that may hold study.json.

    Returns:
      The completed description.
    """
    for folder in folders:
        given = given.or_else(read_description(folder))
    return given


def write_description(description: Description, folder: str | Path) -> Path:
    """Write study.json.

    Args:
      description: the description of a study.
      folder: an existing folder.

    Returns:
      The path of the file.
    """
    text = json.dumps(asdict(description), indent=2, ensure_ascii=False)
    return write_whole(Path(folder) / FILE, text + "\n")

"""Cases of a test of which some run in `make test`, and all in `make test-all`."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def quick(cases: Iterable[Any], names: Collection[Any]) -> list[Any]:
    """Return parameters of which those that are not in ``names`` are marked slow."""
    return [
        pytest.param(case, marks=[] if case in names else [pytest.mark.slow])
        for case in cases
    ]

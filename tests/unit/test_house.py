"""The counts of `benchmarks/house.py` on a package of a few lines, and on this one."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = runpy.run_path(str(ROOT / "benchmarks" / "house.py"))

FIRST = '''"""What a module says."""

from small.second import scores

if TYPE_CHECKING:
    import small.third


# A comment alone.
def bare(x, y): ...  # Beside code: there is no other.


def ranks(scores: Array, k: int) -> Array:
    """Return the ranks, [batch] ints.

    Args:
      scores: [batch, items].
      k: number of ranks.

    >>> ranks(scores, 2)
    """
    assert k is not None


class Table:
    """Rows."""

    def rows(self, a: int, b, c, d, e, f, *args: int) -> np.ndarray:
        """Return the rows."""
'''

SECOND = '''"""Scores."""


def scores():
    from small import first


def _long():
'''


@pytest.fixture
def package(tmp_path):
    """Return the folder of a package with one fault of nearly every kind."""
    folder = tmp_path / "small"
    for name, text in {
        "__init__.py": "",
        "first.py": FIRST,
        "second.py": SECOND + "    pass\n" * 40,
        "room/third.py": "",
        "tests/other.py": "def f(): ...",
        "test_first.py": "def f(): ...",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "README.md").write_text("It tells.\n\n```\nIt says.\n```\n")
    return folder


def test_a_small_package_is_counted(package):
    rows = {row.point: row for row in HOUSE["measure"](package)}
    values = {point: row.value for point, row in rows.items()}
    assert values == {
        "top-level .py files / folders": "3 / 1",
        "functions over 40 lines": "20.0 %, 1",
        "functions with over 6 parameters": "1",
        "public functions annotated": "25.0 % of 4",
        "public functions documented": "50.0 % of 4",
        "public array functions with shapes": "50.0 % of 2",
        "Args sections, 2 parameters or more": "50.0 % of 2",
        "doctests": "1, 1 `>>>`",
        "comment lines": "1.6 %",
        "largest file": f"48 lines, {Path('small', 'second.py')}",
        '"what a/the/is ..."': "285.7 per 10,000 words, 1",
        '"tells", "says"': "571.4 per 10,000 words, 2",
        '"is no ..."': "285.7 per 10,000 words, 1",
        "`assert ... is not None`": "1",
        "import cycles": "1",
    }
    (cycle,) = rows["import cycles"].places
    assert cycle.name == "small.first, small.second"
    shapeless = rows["public array functions with shapes"].places
    assert [place.name for place in shapeless] == ["Table.rows"]


def test_this_package_has_no_cycle_and_a_short_top_level():
    rows = {row.point: row.value for row in HOUSE["measure"](ROOT / "twotower_jax")}
    assert rows["import cycles"] == "0"
    assert int(rows["top-level .py files / folders"].split(" / ")[0]) <= 9

"""The numbers of the simulator's README, recomputed."""

import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.realdata import data_folder

import twotower_jax.data.simulator as simulator
from twotower_jax.data.concentration import gini
from twotower_jax.data.log import Stage
from twotower_jax.data.simulator.config import SimulatorConfig
from twotower_jax.data.simulator.facts import truth, uniform_exposures
from twotower_jax.data.simulator.record import simulate
from twotower_jax.data.simulator.world import make_sizes

pytestmark = pytest.mark.slow  # of the default world

README = Path(simulator.__file__).parent / "README.md"
DEFAULT = SimulatorConfig()


def table(first: str) -> dict[str, list[str]]:
    """Return the table whose header begins so: cells by the first of each row."""
    lines = README.read_text(encoding="utf-8").splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = {}
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[name] = cells
    return rows


def column(first: str, name: str) -> dict[str, str]:
    """Return one column of a table, but for its head and empty cells."""
    rows = table(first)
    place = rows[first].index(name)
    found = {key: cells[place] for key, cells in rows.items()}
    return {k: v for k, v in found.items() if v and k != first and "---" not in k}


def top(counts: np.ndarray, share: float) -> float:
    """Return the share of the sum that the highest share of the counts has."""
    largest = np.sort(counts)[::-1][: math.ceil(share * len(counts))]
    return largest.sum() / counts.sum()


def inequality(items: np.ndarray) -> dict[str, str]:
    return {
        "share of the top 1 % items": f"{top(items, 0.01):.3f}",
        "Gini of items": f"{gini(items):.3f}",
        "share of items without": f"{(items == 0).mean():.3f}",
    }


def of_clicks(users: np.ndarray, items: np.ndarray) -> dict[str, str]:
    """Return the table's numbers from the clicks of each user and each item."""
    return inequality(items) | {
        "number": str(int(items.sum())),
        "share of the top 10 % items": f"{top(items, 0.1):.3f}",
        "share of the top 1 % users": f"{top(users, 0.01):.3f}",
        "Gini of users": f"{gini(users):.3f}",
    }


@pytest.fixture(scope="module")
def made():
    return simulate(DEFAULT)


def test_the_default_world_has_a_row_a_kept_item(made):
    assert len(made.user) == 2_500_000


def test_clicks_and_exposures_of_the_readme(made):
    log = made
    hit, shown = log.stage == Stage.CLICKED, log.stage >= Stage.EXPOSED
    items = np.bincount(log.item[hit], minlength=log.num_items)
    users = np.bincount(log.user[hit], minlength=log.num_users)
    assert column("clicks", "this world") == of_clicks(users, items)
    items = np.bincount(log.item[shown], minlength=log.num_items)
    expected = inequality(items) | {
        "number": str(int(shown.sum())),
        "click rate": f"{hit.sum() / shown.sum():.3f}",
    }
    assert column("exposures", "this world") == expected


def test_stages_of_the_readme(made):
    log = made
    request = log.stage[log.request == 17]
    sizes = make_sizes(DEFAULT)
    names = ("retrieved", "pre-ranked", "ranked", "re-ranked", "exposed")
    expected = {name: str(size) for name, size in zip(names, sizes, strict=True)}
    expected["rows kept per discarded stage"] = "10"
    assert column("funnel", "this world") == expected
    assert (request < Stage.EXPOSED).sum() == 40
    # The passed share is the quotient of a row and the one before, of both funnels.
    for cells in (column("funnel", "RecFlow"), column("funnel", "this world")):
        passed = {k: float(v) for k, v in cells.items() if "kept" not in k}
        quotients = np.array(list(passed.values()))
        place = 1 if "coarse ranked" in cells else 3
        shown = [float(table("funnel")[name][place]) for name in list(passed)[1:]]
        np.testing.assert_allclose(shown, quotients[1:] / quotients[:-1], atol=0.0051)


def test_true_probabilities_of_the_readme(made):
    log = made
    users = log.user_ids.to_numpy()[log.user]
    items = log.item_ids.to_numpy()[log.item]
    p = truth(DEFAULT, users, items, (log.request + 0.5) / DEFAULT.requests)
    stage = np.minimum(log.stage, Stage.EXPOSED)
    expected = {s.name.lower(): f"{p[stage == s].mean():.3f}" for s in Stage if s < 5}
    uniform = uniform_exposures(DEFAULT, number=200_000).probability.mean()
    expected["uniform"] = f"{uniform:.3f}"
    assert column("furthest stage", "P(click)") == expected


def test_parameters_of_the_readme_are_those_of_the_configuration():
    expected = {f"`{key.name}`": f"`{key.default}`" for key in fields(DEFAULT)}
    assert column("key", "default") == expected


@pytest.mark.realdata
def test_gowalla_of_the_readme():
    folder = data_folder("gowalla")
    counts, items = [], []
    for name in ("train", "valid", "test"):
        for line in (folder / f"{name}.txt").read_text().splitlines():
            user, *of_user = map(int, line.split())
            counts.append((user, len(of_user)))
            items += of_user
    users, sizes = np.array(counts).T
    found = of_clicks(np.bincount(users, sizes), np.bincount(items))
    assert column("clicks", "Gowalla") == found


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "least"), [("MovieLens", 0), ("MovieLens, 4 and more", 4)]
)
def test_movielens_of_the_readme(name, least):
    ratings = pl.read_csv(data_folder("ml-latest-small") / "ratings.csv")
    users = np.unique(ratings["userId"].to_numpy(), return_inverse=True)[1]
    items = np.unique(ratings["movieId"].to_numpy(), return_inverse=True)[1]
    keep = ratings["rating"].to_numpy() >= least
    found = of_clicks(
        np.bincount(users[keep], minlength=users.max() + 1),
        np.bincount(items[keep], minlength=items.max() + 1),
    )
    assert column("clicks", name) == found

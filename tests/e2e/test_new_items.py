"""Items without a training click are found by their features."""

import numpy as np
import polars as pl
import pytest
from helpers import tiny

import twotower_jax
from twotower_jax.errors import InputError
from twotower_jax.evaluation.retrieve import top_k
from twotower_jax.export import write
from twotower_jax.run import run
from twotower_jax.run.folder import run_folder

GROUPS, USERS, WARM, COLD = 8, 240, 160, 40
FIRST_COLD = WARM


class World:
    """Users and items of eight groups: a user clicks items of the own group mostly."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.user = np.repeat(np.arange(USERS), 16)
        groups = np.where(
            rng.random(len(self.user)) < 0.9,
            self.user % GROUPS,
            rng.integers(0, GROUPS, len(self.user)),
        )
        warm = rng.integers(0, WARM // GROUPS, len(self.user)) * GROUPS + groups
        late = rng.integers(0, COLD // GROUPS, len(self.user)) * GROUPS + groups
        self.held_out = np.arange(len(self.user)) % 8 == 0  # clicks on cold items
        self.item = np.where(self.held_out, FIRST_COLD + late, warm)
        self.group = np.arange(WARM + COLD) % GROUPS
        noise = rng.normal(size=(WARM + COLD, GROUPS))
        self.content = np.eye(GROUPS)[self.group] + 0.2 * noise
        self.cold = [f"i{n}" for n in range(FIRST_COLD, WARM + COLD)]

    def recall(self, model, vectors):
        """Return the recall@20 of the held-out clicks with these vectors added."""
        queries = model.embed_queries([f"u{n}" for n in range(USERS)])
        every = np.concatenate([model.item_vectors, vectors])
        names = [*model.item_ids, *self.cold]
        lists = top_k(queries, every, 20)[1]
        listed = {(u, names[i]) for u, row in enumerate(lists) for i in row}
        clicks = {
            (u, f"i{i}")
            for u, i in zip(self.user, self.item * self.held_out, strict=True)
            if i
        }
        return len(clicks & listed) / len(clicks)


WORLD = World()


def export(folder, *words):
    """Return the model of a run on the world without its cold items."""
    kept = ~WORLD.held_out
    clicks = pl.DataFrame(
        {
            "user": [f"u{n}" for n in WORLD.user[kept]],
            "item": [f"i{n}" for n in WORLD.item[kept]],
        }
    )
    clicks.write_csv(folder / "clicks.csv")
    features(range(WARM)).write_csv(folder / "items.csv")
    config = tiny.make_config(
        folder,
        "data=table",
        f"data.path={folder / 'clicks.csv'}",
        f"data.items_path={folder / 'items.csv'}",
        "data.columns.time=null",
        "data.split=ratio",
        "data.candidate_features={group: categorical, size: numeric}",
        "training.steps=150",
        "training.eval_every=50",
        *words,
    )
    run(config)
    write.export_run(run_folder(config), folder / "model")
    return twotower_jax.load_model(folder / "model")


def features(items, groups=WORLD.group):
    rows = list(items)
    return pl.DataFrame(
        {
            "item": [f"i{n}" for n in rows],
            "group": [f"g{groups[n]}" for n in rows],
            "size": [float(n % 3) for n in rows],
        }
    )


@pytest.fixture(scope="module")
def by_features(tmp_path_factory):
    words = ("towers.candidate=[id,group,size]",)
    return export(tmp_path_factory.mktemp("features"), *words)


def test_features_find_cold_items(by_features):
    """Features of other items are the control."""
    model = by_features
    cold = range(FIRST_COLD, WARM + COLD)
    right = model.embed_items(features(cold))
    other = model.embed_items(features(cold, (WORLD.group + 3) % GROUPS))
    recall, control = (WORLD.recall(model, one) for one in (right, other))
    assert recall > 0.4 and recall > 2 * control, (recall, control)


def test_an_item_of_the_training_keeps_the_embedding_of_its_id(by_features):
    model = by_features
    vectors = model.item_vectors
    codes = [int(name[1:]) for name in model.item_ids]
    frame = features(codes)
    np.testing.assert_allclose(model.embed_items(frame), vectors, rtol=0, atol=1e-6)
    nameless = model.embed_items(frame.drop("item"))
    assert np.abs(nameless - vectors).max() > 0.1
    # An unknown value is a missing one; a missing number is the mean.
    missing = pl.DataFrame({"group": [None, "new"], "size": [1.0, None]})
    first, second = model.embed_items(missing.cast({"size": pl.Float64}))
    scale = pl.Series([float(code % 3) for code in codes]).mean()
    same = pl.DataFrame({"group": [None], "size": [scale]})
    np.testing.assert_allclose(second, model.embed_items(same)[0], atol=1e-6)
    assert np.abs(first).max() > 0


def test_questions_that_do_not_fit(by_features):
    for call, message in (
        (
            lambda: by_features.embed_items(pl.DataFrame({"group": ["g1"]})),
            r"has no column 'size'; the item tower reads \['group', 'size'\]",
        ),
        (
            lambda: by_features.embed_items(
                pl.DataFrame({"group": ["g1"], "size": ["big"]})
            ),
            "row 1, column 'size': 'big' is not a number",
        ),
    ):
        with pytest.raises(InputError, match=message):
            call()

"""Models: a choice is one file with its keys, its formula and its registration.

`TOWERS` holds the choices of ``towers=``, and `BASELINES` those without towers, whose
numbers are read beside another model too (``baselines=true``) and have a section.
"""

# The order of the names in help and tables.
# isort: off
from twotower_jax.model.towers.two_tower import TwoTower
from twotower_jax.model.towers.popularity import BuyAgain, Popularity
from twotower_jax.model.towers.item_knn import ItemKnn, ItemKnnConfig
from twotower_jax.model.towers.ease import Ease, EaseConfig
from twotower_jax.model.towers.ials import Ials, IalsConfig

# isort: on
from twotower_jax.model.towers.choice import (
    BASELINES,
    TOWERS,
    Baseline,
    Scores,
    SequenceConfig,
    Tower,
    Towers,
    baseline,
    baselines_for,
)

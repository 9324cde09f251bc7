"""Models: a choice is one file with its keys, its formula and its registration.

The classes are the choices of ``towers=``: `TOWERS` holds all of them by name, and
`BASELINES` those that score items without towers. The numbers of a baseline are read
beside another model too (``baselines=true``), so they have a section of their own.
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

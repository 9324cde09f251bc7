"""The model: embedding tables and two towers."""

from typing import TYPE_CHECKING

from twotower_jax.lazy import lazy_exports

if TYPE_CHECKING:
    from twotower_jax.model.embeddings import FeatureSpec
    from twotower_jax.model.tower import Model, TowerSpec, l2_normalize
    from twotower_jax.model.two_tower import (
        all_candidates,
        all_queries,
        embed_candidates,
        encode,
        init_params,
    )

# Imported on use: the keys of towers, in this room, are read before JAX may be.
MODULES = {
    "embeddings": "FeatureSpec",
    "tower": "Model TowerSpec l2_normalize",
    "two_tower": "all_candidates all_queries embed_candidates encode init_params",
}
__getattr__ = lazy_exports(__name__, MODULES)

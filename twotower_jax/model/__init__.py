"""The model: embedding tables and two towers."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twotower_jax.model.embed import all_candidates, all_queries
    from twotower_jax.model.embeddings import FeatureSpec
    from twotower_jax.model.specs import Model
    from twotower_jax.model.tower import TowerSpec, l2_normalize
    from twotower_jax.model.two_tower import embed_candidates, encode, init_params

__all__ = [
    "FeatureSpec",
    "Model",
    "TowerSpec",
    "all_candidates",
    "all_queries",
    "embed_candidates",
    "encode",
    "init_params",
    "l2_normalize",
]

# Imported on use: the keys of towers, in this room, are read before JAX may be.
MODULES = {
    "embed": ("all_candidates", "all_queries"),
    "embeddings": ("FeatureSpec",),
    "specs": ("Model",),
    "tower": ("TowerSpec", "l2_normalize"),
    "two_tower": ("embed_candidates", "encode", "init_params"),
}


def __getattr__(name: str) -> Any:
    """Return a function or class of `MODULES`."""
    for module, names in MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

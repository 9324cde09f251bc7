"""Libraries that are imported at their first use: JAX takes most of a second."""

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

__all__ = ["Lazy", "jax", "jnp", "keys", "lazy_exports", "np", "optax", "shards"]


class Lazy:
    """A module that is imported at its first use."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from twotower_jax import keys
    from twotower_jax.arrays import shards
else:
    jax, jnp, np, optax = map(Lazy, ("jax", "jax.numpy", "numpy", "optax"))
    keys, shards = map(Lazy, ("twotower_jax.keys", "twotower_jax.arrays.shards"))


def lazy_exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package that exports {module: "names"} on their use."""
    of_name = {name: file for file, names in modules.items() for name in names.split()}

    def exported(name: str) -> Any:
        if name not in of_name:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{of_name[name]}"), name)

    return exported

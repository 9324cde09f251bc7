"""One run, from its configuration to its folder."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twotower_jax.run.execute import run as run


def __getattr__(name: str) -> Any:
    """Return ``run``; it is imported on use, for it imports JAX."""
    if name != "run":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from twotower_jax.run.execute import run

    return run

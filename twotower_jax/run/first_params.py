"""The parameters that a run starts with, where they are not random."""

import numpy as np

from twotower_jax.config import Config
from twotower_jax.model.spectral import SpectralVectors, spectral_vectors
from twotower_jax.model.two_tower import Model
from twotower_jax.run.inputs import Loaded, train_clicks
from twotower_jax.run.latest import Latest
from twotower_jax.run.parent import Parent, warm_start
from twotower_jax.training.warm_start import KnownRows, WarmStart

_vectors: Latest[SpectralVectors] = Latest(2)


def first_params(
    config: Config, data: Loaded, model: Model, parent: Parent | None
) -> WarmStart | None:
    """Return the parameters of another run, or of ``towers.init=spectral``.

    Args:
      config: the run.
      data: its data.
      model: both towers.
      parent: the run of ``training.start_from``, or None.

    Returns:
      The parameters; None where all are random.
    """
    if parent is not None:
        return warm_start(parent, model, data)
    return _spectral(config, data) if config.towers.init == "spectral" else None


def _spectral(config: Config, data: Loaded) -> WarmStart:
    """Return singular vectors of the training clicks, the same for every seed.

    Users and items without a training positive keep their random start, and so do the
    tables of features.
    """
    dim = config.towers.dim
    vectors = _vectors.get(
        (data.fingerprint, dim), lambda: spectral_vectors(train_clicks(data), dim)
    )
    return WarmStart(
        {
            "tables/query.id": _known(vectors.users),
            "tables/query.history": _known(vectors.history),
            "tables/candidate.id": _known(vectors.items),
        },
        {},
    )


def _known(vectors: np.ndarray) -> KnownRows:
    """Return the rows of a table that are not 0."""
    rows = np.flatnonzero(vectors.any(axis=1))
    return KnownRows(rows.astype(np.int32), vectors[rows])

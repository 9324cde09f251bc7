"""The signal that ends a training, agreed by all of its processes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from twotower_jax.data.processes import alone, put
from twotower_jax.data.shards import DATA, TABLE
from twotower_jax.training.mesh import whole
from twotower_jax.training.signals import StopRequest


class AgreedStop:
    """The signal that ends a training, known to all of its processes at one step.

    The processes ask with each dispatch and read the answer when it has ended, so that
    no step waits for it.

    Args:
      request: Signals of this process.
      mesh: Devices of all processes.
    """

    def __init__(self, request: StopRequest, mesh: Mesh):
        self._request, self._mesh = request, mesh
        self._alone, self._heard = alone(), 0

    @property
    def number(self) -> int | None:
        """Number of the signal, or None."""
        return self._request.number if self._alone else self._heard or None

    def ask(self) -> jax.Array | None:
        """Return the largest number of all processes, on its way; None of one alone."""
        if self._alone:
            return None
        spread = NamedSharding(self._mesh, PartitionSpec((DATA, TABLE)))
        own = np.full(self._mesh.size, self._request.number or 0, np.int32)
        return _largest(put(own, spread), whole(self._mesh))

    def hear(self, answer: jax.Array | None) -> None:
        """Note an answer of `ask`."""
        if answer is not None:
            self._heard = self._heard or int(answer)


@partial(jax.jit, static_argnums=1)
def _largest(numbers: jax.Array, where: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(jnp.max(numbers), where)

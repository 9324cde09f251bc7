"""A source of your own: negatives of the positive's category, with exact log q."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from twotower_jax.negatives import Slots, Source
from twotower_jax.negatives.source import no_pools


@dataclass(frozen=True)
class SameCategory(Source):
    """Uniform draws for each row from the items of its positive's category."""

    category: np.ndarray  # [num_items], from 0
    num: int

    def draw(self, memory, key, batch):
        """Slots [B, num]: place u of the sorted items of the row's category."""
        order = jnp.asarray(np.argsort(self.category, kind="stable"), jnp.int32)
        size = np.bincount(self.category)
        first, size = jnp.asarray(np.cumsum(size) - size), jnp.asarray(size)
        own = jnp.asarray(self.category)[batch.items][:, None]
        share = jax.random.uniform(key("same category"), (batch.size, self.num))
        items = order[first[own] + (share * size[own]).astype(int)]
        return Slots(items, items < 0, no_pools(batch.size))

    def log_count(self, memory, batch, drawn, items):
        """num / size of the category for its items, none for all others."""
        own, of_item = (jnp.asarray(self.category)[i] for i in (batch.items, items))
        log_n = jnp.log(self.num / jnp.asarray(np.bincount(self.category))[own])
        return jnp.where(of_item == own[:, None], log_n[:, None], -jnp.inf)

"""The configuration: plain dataclasses with ranges, one module a group."""

from twotower_jax.config.root import LABELS as LABELS
from twotower_jax.config.root import Config as Config
from twotower_jax.config.root import fingerprint as fingerprint
from twotower_jax.config.root import from_dict as from_dict
from twotower_jax.config.root import known_keys as known_keys
from twotower_jax.config.root import to_dict as to_dict

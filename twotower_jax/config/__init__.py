"""The configuration: plain dataclasses with allowed values, one module per section."""

from twotower_jax.config.convert import fingerprint as fingerprint
from twotower_jax.config.convert import from_dict as from_dict
from twotower_jax.config.convert import from_record as from_record
from twotower_jax.config.convert import known_keys as known_keys
from twotower_jax.config.describe import describe_keys as describe_keys
from twotower_jax.config.root import LABELS as LABELS
from twotower_jax.config.root import Config as Config
from twotower_jax.registry import to_dict as to_dict

"""twotower_jax: which training samples should a two-tower model learn from?"""

__version__ = "0.1.0"

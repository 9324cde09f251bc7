"""Figures and numbers of the documentation, computed with the package's functions.

A module has `draw() -> Figure`, `values() -> dict of texts`, or both. The site's build
calls them; `python docs/figures/draw.py` writes the figures to a folder.
"""

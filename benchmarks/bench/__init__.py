"""Ratios to peers and to the floors of the machine: `make bench`."""

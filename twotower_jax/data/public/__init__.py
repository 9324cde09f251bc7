"""Public data sets: their catalogue, download and unpacking."""

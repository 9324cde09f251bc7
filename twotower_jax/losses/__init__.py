"""Losses of arrays: row by row, and block by block over a batch."""

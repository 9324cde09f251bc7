"""Logs on disk as arrays: prepared once by streaming, read by memory maps."""

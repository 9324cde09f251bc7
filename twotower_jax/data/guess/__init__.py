"""Guesses about a log of unknown layout: separators, columns, times, features."""

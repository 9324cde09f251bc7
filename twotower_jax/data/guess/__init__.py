"""Guesses about a log of unknown layout: separators, columns, times, features.

The functions read a sample and return keys of the configuration with their reasons.
They decide nothing for a run: the keys are printed, and ``twotower train`` reads them.
"""

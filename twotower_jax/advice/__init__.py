"""Advice: which samples to train on, from a user's own log, with proof."""

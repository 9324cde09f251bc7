"""Samples of training: positives, proposals, pools, expected counts and columns."""

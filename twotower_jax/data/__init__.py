"""Logs of a funnel, their splits, features and batches."""

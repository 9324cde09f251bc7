"""What happened: logs, splits, features and batches."""

"""Quality: exact retrieval over the whole catalogue, and metrics per query."""

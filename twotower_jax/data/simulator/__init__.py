"""The embedded world: a funnel with known truth (formulas in README.md)."""

"""Sweeps: Hydra jobs, launchers and sweepers."""

"""Training of the towers: draws, loss, step, loop and checkpoints."""

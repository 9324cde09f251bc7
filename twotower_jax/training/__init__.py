"""How the towers are trained: model, step, loop, checkpoints."""

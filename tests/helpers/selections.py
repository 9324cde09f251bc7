"""Overrides of a small selection, shared by its tests."""

from helpers import tiny

TUNE = "hydra.sweeper.tune={optimizer.learning_rate:[0.01,0.4],training.epochs:'1,2'}"
# An axis of one arm alone, found by its choice of arms=.
OWN = "hydra.sweeper.arm_tune={uniform:{negatives.easy.num:[16,64]}}"
STUDY = (
    "train",
    "-m",
    "hydra/sweeper=select",
    *tiny.SMALL[:-3],
    "training.eval_every=10",
    "evaluation.k=[20]",
    "arms=popularity,uniform,in_batch_logq",
    "name=study",
)

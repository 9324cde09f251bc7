"""Losses: a choice is one file with its keys, its formula and its registration.

Functions take logits and weights of rows; `LOSSES` holds the choices of ``loss=``.
"""

from twotower_jax.losses.cosine import Ccl, Dcl, Hcl, Psl, ccl, debiased, psl
from twotower_jax.losses.cross_entropy import Bce, Gbce, bce, gbce
from twotower_jax.losses.loss import LOSSES, Loss, SampledLoss, Tempered
from twotower_jax.losses.softmax import (
    FullSoftmax,
    SampledSoftmax,
    SoftmaxAtK,
    sampled_softmax,
)
from twotower_jax.losses.terms import ItemTerm, Term
from twotower_jax.losses.triplet import Hinge, Logistic, hinge, logistic

"""Losses: a choice is one file with its keys, its formula and its registration.

The functions take logits and weights of rows. The classes are the choices of ``loss=``,
and `LOSSES` holds them by name.
"""

from twotower_jax.losses.bpr import Logistic, logistic
from twotower_jax.losses.cosine_contrastive import Ccl, ccl
from twotower_jax.losses.cross_entropy import Bce, Gbce, bce, gbce
from twotower_jax.losses.debiased_contrastive import Dcl, Hcl, debiased
from twotower_jax.losses.loss import LOSSES, Loss, SampledLoss, Tempered
from twotower_jax.losses.pairwise_softmax import Psl, psl
from twotower_jax.losses.softmax import FullSoftmax, SampledSoftmax, sampled_softmax
from twotower_jax.losses.softmax_at_k import SoftmaxAtK
from twotower_jax.losses.term import ItemTerm, Term
from twotower_jax.losses.triplet_hinge import Hinge, hinge

__all__ = [
    "LOSSES",
    "Bce",
    "Ccl",
    "Dcl",
    "FullSoftmax",
    "Gbce",
    "Hcl",
    "Hinge",
    "ItemTerm",
    "Logistic",
    "Loss",
    "Psl",
    "SampledLoss",
    "SampledSoftmax",
    "SoftmaxAtK",
    "Tempered",
    "Term",
    "bce",
    "ccl",
    "debiased",
    "gbce",
    "hinge",
    "logistic",
    "psl",
    "sampled_softmax",
]

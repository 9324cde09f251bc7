"""Weights of positives by item: the expected appearances of a positive in an epoch."""

from typing import NamedTuple

import numpy as np


class Settings(NamedTuple):
    """The numbers of all strategies; each strategy reads its own.

    Attributes:
      exponent: g of upsample_cold and downsample_hot, b of power.
      reference: c_ref of both, in positives; None is the mean count of the items that
        have a positive.
      max_repeat: r_max of upsample_cold.
      threshold: t of word2vec and word2vec_c.
      cap: positives per item and epoch of cap.
    """

    exponent: float = 0.5
    reference: float | None = None
    max_repeat: float = 10
    threshold: float = 1e-3
    cap: int = 100


DEFAULTS = Settings()


def none(counts: np.ndarray, settings: Settings) -> np.ndarray:
    """Weight 1: every positive once per epoch.

    Args:
      counts: [n] float64 positives of each item, above 0.
      settings: ignored.

    Returns:
      [n] float64 ones.
    """
    del settings
    return np.ones(len(counts))


def upsample_cold(counts: np.ndarray, settings: Settings) -> np.ndarray:
    """Repetition of unpopular items: w_i = min(r_max, max(1, (c_ref / c_i)^g)).

    Args:
      counts: [n] float64 positives c_i of each item, above 0.
      settings: exponent g, reference c_ref, max_repeat r_max.

    Returns:
      [n] float64, at least 1.

    Examples:
      >>> upsample_cold(np.array([1.0, 4.0]), Settings(0.5, reference=4)).tolist()
      [2.0, 1.0]
    """
    ratio = (_reference(counts, settings) / counts) ** settings.exponent
    return np.minimum(settings.max_repeat, np.maximum(1, ratio))


def downsample_hot(counts: np.ndarray, settings: Settings) -> np.ndarray:
    """Dropping of positives of popular items: w_i = min(1, (c_ref / c_i)^g).

    Args:
      counts: [n] float64 positives c_i of each item, above 0.
      settings: exponent g, reference c_ref.

    Returns:
      [n] float64 in (0, 1].

    Examples:
      >>> downsample_hot(np.array([1.0, 16.0]), Settings(0.5, reference=4)).tolist()
      [1.0, 0.5]
    """
    ratio = _reference(counts, settings) / counts
    return np.minimum(1, ratio**settings.exponent)


def _reference(counts: np.ndarray, settings: Settings) -> float:
    """Return c_ref: the setting, else the mean count."""
    return float(counts.mean()) if settings.reference is None else settings.reference


def word2vec(counts: np.ndarray, settings: Settings) -> np.ndarray:
    """Subsampling of frequent words, as in the paper: w_i = min(1, sqrt(t / f_i)).

    Args:
      counts: [n] float64 positives c_i of each item, above 0; f_i = c_i / C.
      settings: threshold t.

    Returns:
      [n] float64 in (0, 1].

    Examples:
      >>> word2vec(np.array([1.0, 9.0]), Settings(threshold=0.1)).round(4).tolist()
      [1.0, 0.3333]

    References:
      Mikolov et al., Distributed Representations of Words and Phrases and their
      Compositionality, NIPS 2013, eq. 5 (discards with 1 - sqrt(t / f)).
    """
    return np.minimum(1, np.sqrt(settings.threshold * counts.sum() / counts))


def word2vec_c(counts: np.ndarray, settings: Settings) -> np.ndarray:
    """Subsampling as in the C program word2vec: w_i = min(1, sqrt(t / f_i) + t / f_i).

    Args:
      counts: [n] float64 positives c_i of each item, above 0; f_i = c_i / C.
      settings: threshold t.

    Returns:
      [n] float64 in (0, 1].
    """
    ratio = settings.threshold * counts.sum() / counts
    return np.minimum(1, np.sqrt(ratio) + ratio)


def power(counts: np.ndarray, settings: Settings) -> np.ndarray:
    """Draws of items from c^b: w_i = C (c_i^b / sum_j c_j^b) / c_i, C draws per epoch.

    b = 1 is none in expectation; b = 0 draws every item equally often.

    Args:
      counts: [n] float64 positives c_i of each item, above 0.
      settings: exponent b.

    Returns:
      [n] float64, above 0.

    Examples:
      >>> power(np.array([1.0, 3.0]), Settings(exponent=0)).round(4).tolist()
      [2.0, 0.6667]
    """
    # The ratio to the largest count, so that a large power does not overflow.
    share = (counts / counts.max()) ** settings.exponent
    return counts.sum() * (share / share.sum()) / counts


def cap(counts: np.ndarray, settings: Settings) -> np.ndarray:
    """At most k positives per item and epoch: w_i = min(1, k / c_i).

    Args:
      counts: [n] float64 positives c_i of each item, above 0.
      settings: cap k.

    Returns:
      [n] float64 in [0, 1].

    Examples:
      >>> cap(np.array([4.0, 1.0]), Settings(cap=2)).tolist()
      [0.5, 1.0]
    """
    return np.minimum(1, settings.cap / counts)

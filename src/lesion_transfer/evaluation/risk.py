"""Probabilities as risks: where to call a picture positive, can they be trusted, are they useful.

As in :mod:`~lesion_transfer.evaluation.ranking`, ``weights`` (n, B) say how often each picture is
in each of B resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesion_transfer.evaluation.ranking import ratio

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

BINS = 10


def youden_threshold(positive: Flags, probabilities: Floats) -> float:
    """Return the probability from which to call a picture positive.

    It maximises Youden's J = sensitivity + specificity − 1 (*Cancer* 3, 1950). Of equals, the
    lowest, which misses the fewest; between two neighbouring probabilities, their midpoint. Equal
    probabilities leave no choice: all are called positive.

    Parameters
    ----------
    positive, probabilities
        Shape (n,), of pictures that the probabilities' classifier was not fitted on; both classes
        occur.
    """
    values, index = np.unique(probabilities, return_inverse=True)
    positives = np.bincount(index, positive, len(values))
    negatives = np.bincount(index, ~positive, len(values))
    # J of "positive from value i on", up to a constant: positives at or above, negatives at or
    # above, each as a share of its class.
    above = positives[::-1].cumsum()[::-1] / positives.sum()
    alarms = negatives[::-1].cumsum()[::-1] / negatives.sum()
    best = int(np.argmax(above - alarms >= (above - alarms).max() - 1e-12))
    return float(values[best] if best == 0 else (values[best - 1] + values[best]) / 2)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Observed frequency against predicted risk, in bins of equal width.

    Attributes
    ----------
    predicted, observed
        Shape (BINS,): the mean probability and the share of positives; NaN in an empty bin.
    count
        Shape (BINS,): pictures.
    """

    predicted: Floats
    observed: Floats
    count: Floats

    @classmethod
    def of(cls, positive: Flags, probabilities: Floats) -> Reliability:
        """Bin the pictures, shape (n,), by their probability."""
        index = _bins(probabilities)
        ones = np.ones(len(index))
        count, risks, positives = (
            np.bincount(index, each, BINS).astype(np.float64)
            for each in (ones, probabilities, positive)
        )
        return cls(ratio(risks, count), ratio(positives, count), count)


def calibration_error(truth: Flags, probabilities: Floats, weights: Floats) -> Floats:
    """Return the expected calibration error, (B,), in 0–1: how far frequencies are from risks.

    Over ten bins of equal width, Σ share · |observed − predicted| (Naeini, Cooper & Hauskrecht,
    AAAI 2015) of the positive class; of K > 2 classes, the mean over them (Kull et al., *Beyond
    temperature scaling*, NeurIPS 2019). Small samples raise it even where the risks are right.

    Parameters
    ----------
    truth, probabilities
        Shape (n, K): membership, and rows that sum to 1.
    weights
        Shape (n, B).
    """
    columns = [1] if truth.shape[1] == 2 else range(truth.shape[1])
    errors = []
    for k in columns:
        index = _bins(probabilities[:, k])
        order = np.argsort(index, kind="stable")
        first = np.flatnonzero(np.diff(index[order], prepend=-1))
        excess = (truth[:, k] - probabilities[:, k])[order, None] * weights[order]
        gaps = np.abs(np.add.reduceat(excess, first)).sum(axis=0)
        errors.append(ratio(gaps, weights.sum(axis=0)))
    return np.asarray(np.mean(errors, axis=0))


def net_benefit(
    positive: Flags, probabilities: Floats, thresholds: Floats, weights: Floats
) -> Floats:
    """Net benefit of acting from a risk on: true positives less weighed false ones, per picture.

    TP / n − FP / n · t / (1 − t), where t is the risk at which acting and not acting are worth the
    same (Vickers & Elkin, *Medical Decision Making* 26, 2006, equation 1). Acting on all gives
    π − (1 − π) · t / (1 − t) at a prevalence π; acting on none, 0.

    Parameters
    ----------
    positive, probabilities
        Shape (n,).
    thresholds
        Shape (T,), each in [0, 1).
    weights
        Shape (n, B).

    Returns
    -------
    ndarray
        Shape (T, B).
    """
    acted = (probabilities[:, None] >= thresholds).T
    worth = np.where(positive, 1.0, -(thresholds / (1 - thresholds))[:, None])
    return ratio((acted * worth) @ weights, weights.sum(axis=0))


def _bins(probabilities: Floats) -> NDArray[np.int64]:
    """Return the bin of each picture, (n,); a probability of 1 is in the last.

    Rounded first, so that 0.3 made of 0.1 + 0.2 falls where 0.3 does.
    """
    index = np.floor(np.round(probabilities * BINS, 9))
    return np.minimum(index, BINS - 1).astype(np.int64)

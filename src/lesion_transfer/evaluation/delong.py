"""DeLong's test: whether two fitted classifiers differ on one fold's test pictures."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lesion_transfer.evaluation.paired import Statistic

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def components(labels: Integers, scores: Floats) -> Floats:
    """Return each picture's structural component of the AUC, (n,).

    The components of either class average to the AUC, and their variances give its variance
    (DeLong, DeLong & Clarke-Pearson, *Biometrics* 44, 1988, equations 4–5). They come from
    mid-ranks, in n log n steps (Sun & Xu, *IEEE Signal Processing Letters* 21, 2014). Of K classes,
    a component is the sum over the rankings A(i|j) that the picture takes part in, as a share of
    all of them; the averages of the classes add up to twice Hand and Till's mean.

    Parameters
    ----------
    labels
        Shape (n,), 0 to K − 1, every class at least once.
    scores
        Shape (n,) for two classes, (n, K) for K.
    """
    if scores.ndim == 1:
        return _ranking(labels == 1, scores)
    K = scores.shape[1]
    found = np.zeros(len(labels))
    for i in range(K):
        for j in set(range(K)) - {i}:
            pair = (labels == i) | (labels == j)
            found[pair] += _ranking(labels[pair] == i, scores[pair, i])
    return np.asarray(found / (K * (K - 1)))


def _ranking(member: NDArray[np.bool_], scores: Floats) -> Floats:
    """Members: the share of others they outrank. Others: the share of members that outrank them."""
    members, others = scores[member], scores[~member]
    ranks = stats.rankdata(scores)
    found = np.empty(len(scores))
    found[member] = (ranks[member] - stats.rankdata(members)) / len(others)
    found[~member] = 1 - (ranks[~member] - stats.rankdata(others)) / len(members)
    return found


def delong(labels: Integers, first: Floats, second: Floats) -> Statistic:
    """Test the difference of two AUCs on the same pictures; z and its two-sided p.

    It takes pictures to be independent: several pictures of one lesion make it too sure, and the
    bootstrap of groups is to be preferred. The p-values of folds must not be combined: the folds of
    cross-validation share pictures.

    Parameters
    ----------
    labels
        Shape (n,), 0 to K − 1, every class at least twice.
    first, second
        Scores of the two arms, shape (n,) for two classes, (n, K) for K.
    """
    a, b = components(labels, first), components(labels, second)
    by_class = [(a - b)[labels == k] for k in np.unique(labels)]
    difference = sum(float(each.mean()) for each in by_class) / 2
    variance = sum(float(each.var(ddof=1)) / len(each) for each in by_class)
    if variance < 1e-24:
        same = abs(difference) < 1e-12
        return Statistic(0.0, 1.0) if same else Statistic(math.copysign(math.inf, difference), 0.0)
    z = difference / math.sqrt(variance)
    return Statistic(z, float(2 * stats.norm.sf(abs(z))))

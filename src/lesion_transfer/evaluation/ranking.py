"""Metrics of a ranking, for a sample and any number of its resamples at once.

A resample is a column of weights: how often each picture is in it. Scores are sorted once, whatever
the number of resamples; after that a metric is a few cumulative sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ranking:
    """How often members and others of a class have each distinct score, lowest score first.

    Attributes
    ----------
    members, others
        Shape (u, B): u distinct scores, B resamples; weights, not negative.
    """

    members: Floats
    others: Floats

    @classmethod
    def of(cls, member: NDArray[np.bool_], scores: Floats, weights: Floats) -> Ranking:
        """Rank pictures, the members of a class against the others.

        Parameters
        ----------
        member, scores
            Shape (n,); higher scores are to mean membership.
        weights
            Shape (n, B).
        """
        order = np.argsort(scores, kind="stable")
        ranked, weights, member = scores[order], weights[order], member[order]
        members = weights * member[:, None]
        others = weights - members
        first = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])[: len(ranked)])
        if len(first) < len(ranked):  # ties: one row for each distinct score
            members, others = np.add.reduceat(members, first), np.add.reduceat(others, first)
        if np.isnan(scores).any():
            members = members * np.nan
        return cls(members, others)

    def auc(self) -> Floats:
        """Chance that a member outranks another, ties counting one half; (B,), in 0–1.

        NaN for a resample without members or without others, as for every metric here.
        """
        below = np.cumsum(self.others, axis=0) - 0.5 * self.others
        wins = np.einsum("ub,ub->b", self.members, below)
        return ratio(wins, self.members.sum(axis=0) * self.others.sum(axis=0))

    def average_precision(self) -> Floats:
        """Mean precision over the members, (B,), in 0–1: the area below the PR curve in steps."""
        hits = np.cumsum(self.members[::-1], axis=0)
        alarms = np.cumsum(self.others[::-1], axis=0)
        precision = hits / np.maximum(hits + alarms, np.finfo(np.float64).tiny)
        area = np.einsum("ub,ub->b", self.members[::-1], precision)
        return ratio(area, hits[-1])

    def sensitivity_at(self, specificity: float) -> Floats:
        """Highest sensitivity of a threshold whose specificity is at least this; (B,), in 0–1.

        Thresholds are the scores themselves, nothing is interpolated; one above them all always
        qualifies, so the least is 0.
        """
        hits = np.cumsum(self.members[::-1], axis=0)
        alarms = np.cumsum(self.others[::-1], axis=0)
        # Half a millionth of a picture of slack, for the rounding of (1 − specificity) · others.
        allowed = alarms <= (1 - specificity) * alarms[-1] + 5e-7
        return ratio(np.where(allowed, hits, 0.0).max(axis=0), hits[-1] * (alarms[-1] > 0))


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; NaN where the denominator is 0: there is no such number."""
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.asarray(np.divide(numerator, denominator, out=out, where=denominator > 0))


def pairwise_aucs(
    labels: NDArray[np.int64], scores: Floats, weights: Floats
) -> dict[tuple[int, int], Floats]:
    """Hand & Till's A(i, j) of every pair of classes, each (B,).

    (*Machine Learning* 45, 2001, section 2.1): the mean of ranking the members of i and j by score
    column i and by column j.

    Parameters
    ----------
    labels, scores, weights
        Shapes (n,), (n, K) and (n, B).
    """
    found = {}
    for i, j in combinations(range(scores.shape[1]), 2):
        pair = (labels == i) | (labels == j)
        by_i, by_j = (
            Ranking.of(labels[pair] == k, scores[pair, k], weights[pair]).auc() for k in (i, j)
        )
        found[i, j] = 0.5 * (by_i + by_j)
    return found

"""Tests of whether two arms differ, from the AUCs of the folds they share.

All read ``differences``, shape (R, 2): first arm minus second, one row for each repeat of two-fold
cross-validation, one column for each half. They ask the same question with different answers to the
fact that folds share training pictures; ``benchmarks/paired_tests.py`` measures how often each is
wrong and how much it sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

ROPE = 0.01
"""Differences of AUC up to this are of no practical importance."""


class Statistic(NamedTuple):
    """The value of a test statistic and its two-sided p-value."""

    value: float
    p: float


def combined_f(differences: Floats) -> Statistic:
    """Alpaydin's combined 5×2cv F test, the primary one here.

    *Combined 5×2 cv F test for comparing supervised classification learning algorithms*, Neural
    Computation 11, 1999, equation 3.2: f = Σᵢⱼ dᵢⱼ² / (2 Σᵢ sᵢ²), approximately F(10, 5) for five
    repeats; for R, by the same derivation, F(2R, R).

    Parameters
    ----------
    differences
        Shape (R, 2), R ≥ 2.
    """
    repeats = _repeats(differences)
    statistic = _divide(float((differences**2).sum()), 2 * float(_variances(differences).sum()))
    return Statistic(statistic, float(stats.f.sf(statistic, 2 * repeats, repeats)))


def dietterich_t(differences: Floats) -> Statistic:
    """Dietterich's 5×2cv paired t test.

    *Approximate statistical tests for comparing supervised classification learning algorithms*,
    Neural Computation 10, 1998, section 2.5: t = d₁₁ / √(Σᵢ sᵢ² / 5), approximately t(5). Which of
    the ten differences is d₁₁ is arbitrary, which is why the F test was made.
    """
    repeats = _repeats(differences)
    spread = math.sqrt(float(_variances(differences).mean()))
    statistic = _divide(float(differences[0, 0]), spread)
    return Statistic(statistic, float(2 * stats.t.sf(abs(statistic), repeats)))


def corrected_t(differences: Floats, test_train_ratio: float = 1.0) -> Statistic:
    """Nadeau and Bengio's corrected resampled t test.

    *Inference for the generalization error*, Machine Learning 52, 2003, section 4:
    t = d̄ / √((1/n + n_test/n_train) s²), t(n − 1) for n = 2R folds.
    """
    mean, scale, freedom = _student(differences, test_train_ratio)
    statistic = _divide(mean, scale)
    return Statistic(statistic, float(2 * stats.t.sf(abs(statistic), freedom)))


def corrected_interval(
    differences: Floats, confidence: float = 0.95, test_train_ratio: float = 1.0
) -> tuple[float, float]:
    """Return the interval of the mean difference that belongs to :func:`corrected_t`."""
    mean, scale, freedom = _student(differences, test_train_ratio)
    half_width = scale * float(stats.t.ppf(0.5 + confidence / 2, freedom))
    return mean - half_width, mean + half_width


@dataclass(frozen=True, slots=True)
class Posterior:
    """Probabilities that the first arm is worse, practically as good, better; they sum to 1."""

    worse: float
    same: float
    better: float


def rope_posterior(
    differences: Floats, rope: float = ROPE, test_train_ratio: float = 1.0
) -> Posterior:
    """Bayesian correlated t test with a region of practical equivalence.

    Corani & Benavoli, *A Bayesian approach for comparing cross-validated algorithms on multiple
    data sets*, Machine Learning 100, 2015; Benavoli, Corani, Demšar & Zaffalon, *Time for a
    change*, JMLR 18, 2017, section 4.1. With the usual flat prior the mean difference has a
    Student posterior of n − 1 degrees of freedom, mean d̄ and squared scale (1/n + ρ/(1 − ρ)) s²,
    where ρ = n_test / (n_test + n_train) is the correlation of folds, so that ρ/(1 − ρ) is
    ``test_train_ratio``.

    Parameters
    ----------
    differences
        Shape (R, 2) of AUCs, 0–1.
    rope
        Mean differences within ± this are of no practical importance.
    test_train_ratio
        1 for two-fold cross-validation.
    """
    mean, scale, freedom = _student(differences, test_train_ratio)
    if scale == 0:  # all differences are the same
        better, worse = float(mean > rope), float(mean < -rope)
    else:
        better = float(stats.t.sf((rope - mean) / scale, freedom))
        worse = float(stats.t.cdf((-rope - mean) / scale, freedom))
    return Posterior(worse, 1 - worse - better, better)


def effect_size(differences: Floats) -> float:
    """Mean difference in units of its standard deviation over folds (Cohen's d of pairs).

    ±∞ where all differences are the same, 0 where they are all zero.
    """
    return _divide(float(differences.mean()), float(differences.std(ddof=1)))


def holm(p: Floats) -> Floats:
    """Return p-values adjusted by Holm's step-down method.

    *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics
    6, 1979. Whatever the tests' dependence, the chance of any false alarm in the family is at most
    the level at which adjusted values are read.

    Parameters
    ----------
    p
        Shape (m,): the p-values of all tests of one family.
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _repeats(differences: Floats) -> int:
    if differences.ndim != 2 or differences.shape[1] != 2 or len(differences) < 2:
        raise ValueError(
            f"differences of R×2 cross-validation have shape (R, 2), R ≥ 2; not {differences.shape}"
        )
    return len(differences)


def _variances(differences: Floats) -> Floats:
    """Return sᵢ², (R,): squared deviations of each repeat's two differences from their mean."""
    return np.asarray(((differences[:, 0] - differences[:, 1]) ** 2) / 2)


def _student(differences: Floats, test_train_ratio: float) -> tuple[float, float, int]:
    """Mean, its corrected standard error, and degrees of freedom."""
    n = differences.size
    variance = float(differences.var(ddof=1))
    # The same number n times has a variance of rounding alone.
    variance = 0.0 if variance < 1e-24 else variance
    return float(differences.mean()), math.sqrt((1 / n + test_train_ratio) * variance), n - 1


def _divide(difference: float, spread: float) -> float:
    """Return difference / spread; without any spread ±∞, and 0 without a difference."""
    if abs(difference) < 1e-24:
        return 0.0
    return difference / spread if spread > 1e-24 else math.copysign(math.inf, difference)

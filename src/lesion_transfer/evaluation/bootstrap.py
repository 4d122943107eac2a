"""Intervals by resampling groups: what other patients like these might have given.

The classifiers stay as they are and groups of test pictures are drawn with replacement; so the
interval covers the chance of the test pictures, not that of the training. The interval over folds
(:func:`~lesion_transfer.evaluation.statistics.summarise`) covers the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lesion_transfer.evaluation.metrics import measure
from lesion_transfer.evaluation.predictions import Predictions

Floats = NDArray[np.float64]
Measure = Callable[[Predictions, Floats], Mapping[str, Floats]]

RESAMPLES = 1000
NEEDED = 0.8
"""Share of the resamples in which a metric must exist for its interval to be given."""
BIASED = ("calibration_error",)
"""Metrics that a resample raises: repeated pictures make frequencies lumpier than they are."""
CELLS = 4_000_000
"""Weights in memory at once, pictures × resamples."""


class Estimate(NamedTuple):
    """A value and its percentile interval; NaN where there is none."""

    value: float
    low: float
    high: float


def group_counts(n_groups: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield how often each group is drawn, shape (n_groups, some resamples), first the sample.

    The first column is ones. The rest depends on ``n_groups`` and ``seed`` alone: arms that were
    tested on the same groups meet the same resamples, which is what pairs them.
    """
    rng = np.random.default_rng(seed)
    yield np.ones((n_groups, 1))
    step = max(1, CELLS // n_groups)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(n_groups, size=(n_groups, size)) * size + np.arange(size)
        counts = np.bincount(drawn.ravel(), minlength=n_groups * size)
        yield counts.reshape(n_groups, size).astype(np.float64)


def replicates(
    folds: Sequence[Predictions],
    resamples: int = RESAMPLES,
    seed: int = 0,
    measured: Measure = measure,
) -> dict[str, Floats]:
    """Return each metric's mean over the folds: of the sample, then of each resample of groups.

    A group is drawn once for all folds, with all its pictures: the repeats of cross-validation test
    the same pictures again, which adds no patients.

    Parameters
    ----------
    folds
        Of one arm, at least one.
    resamples
        How many.
    seed
        Fixes what is drawn.
    measured
        Which metrics: (predictions, weights (n, B)) → arrays (B,).

    Returns
    -------
    dict
        Arrays (1 + resamples,), NaN where a fold of the resample has no such number.
    """
    names = np.unique(np.concatenate([fold.groups for fold in folds]).astype(str))
    where = [np.searchsorted(names, fold.groups.astype(str)) for fold in folds]
    parts: dict[str, list[Floats]] = {}
    for counts in group_counts(len(names), resamples, seed):
        values = [measured(fold, counts[rows]) for fold, rows in zip(folds, where, strict=True)]
        for name in values[0]:
            parts.setdefault(name, []).append(np.mean([value[name] for value in values], axis=0))
    return {name: np.concatenate(part) for name, part in parts.items()}


def estimate(values: Floats, confidence: float = 0.95) -> Estimate:
    """Return the sample's value and the percentile interval of its resamples.

    (Efron & Tibshirani, *An introduction to the bootstrap*, 1993, chapter 13.) Resamples without a
    value, for want of a class, are left out; where more than a fifth are, there is no interval. Nor
    is there one where all that have a value have the same: of two melanomas, both found, resamples
    find 100 % always, which is no reason to be sure of it.

    Parameters
    ----------
    values
        Shape (1 + resamples,), as from :func:`replicates`.
    confidence
        In 0–1, both excluded.
    """
    there = values[1:][~np.isnan(values[1:])]
    if len(there) < max(1.0, NEEDED * (len(values) - 1)):
        return Estimate(float(values[0]), np.nan, np.nan)
    if np.ptp(there) < 1e-12:
        return Estimate(float(values[0]), np.nan, np.nan)
    tail = (1 - confidence) / 2
    low, high = np.quantile(there, [tail, 1 - tail])
    return Estimate(float(values[0]), float(low), float(high))


def intervals(values: Mapping[str, Floats]) -> dict[str, Estimate]:
    """Return the :func:`estimate` of every metric.

    Those of :data:`BIASED` are moved down by the bias that resampling adds, the resamples' mean
    less the sample's value, but not below 0: else the interval would lie above the value.
    """
    return {
        name: _moved(estimate(value), value) if name in BIASED else estimate(value)
        for name, value in values.items()
    }


def _moved(found: Estimate, values: Floats) -> Estimate:
    bias = float(np.nanmean(values[1:])) - found.value if len(values) > 1 else 0.0
    low, high = np.maximum([found.low - bias, found.high - bias], 0.0)
    return Estimate(found.value, float(low), float(high))

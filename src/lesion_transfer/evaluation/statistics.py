"""What the folds of an arm say together: mean, spread, and an interval that is not too narrow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation and confidence interval of ``n`` folds' values."""

    n: int
    mean: float
    sd: float
    ci_low: float
    ci_high: float

    @property
    def percent(self) -> str:
        """Mean, spread and interval in %, as a reader wants them."""
        mean = f"{100 * self.mean:.1f}"
        if math.isnan(self.sd):
            return f"{mean} %"
        low, high = 100 * self.ci_low, 100 * self.ci_high
        return f"{mean} ± {100 * self.sd:.1f} % (95 % interval {low:.1f} to {high:.1f})"


def summarise(
    values: ArrayLike, confidence: float = 0.95, test_train_ratio: float = 1.0
) -> Summary:
    """Summarise the values of one arm's folds.

    Folds share training pictures, so their values are not independent and the usual standard error
    sd / √n is too small. The interval is the corrected resampled t of Nadeau & Bengio (*Inference
    for the generalization error*, Machine Learning 52, 2003): mean ± t(n − 1) · sd ·
    √(1/n + n_test / n_train). It covers the chance of the split and of the training, for training
    sets of this size; not a change of population. It is not cut off at 0 or 1.

    Parameters
    ----------
    values
        Shape (n,), n ≥ 1. A NaN makes every figure NaN: a fold without a number is not left out
        in silence.
    confidence
        Of the interval, in 0–1, both excluded.
    test_train_ratio
        n_test / n_train; 1 for r×2 cross-validation.

    Returns
    -------
    Summary
        With one value, ``sd`` and the interval are NaN.

    Raises
    ------
    ValueError
        There is no value, or ``confidence`` is none.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"expected one value per fold, at least one; got shape {values.shape}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} is not between 0 and 1")
    n, mean = values.size, float(values.mean())
    if n == 1:
        return Summary(n, mean, math.nan, math.nan, math.nan)
    sd = float(values.std(ddof=1))
    quantile = float(stats.t.ppf(0.5 + confidence / 2, df=n - 1))
    half_width = quantile * sd * math.sqrt(1 / n + test_train_ratio)
    return Summary(n, mean, sd, mean - half_width, mean + half_width)

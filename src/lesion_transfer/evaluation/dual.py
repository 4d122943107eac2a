"""Linear classifiers of two classes, fitted from the inner products of their rows.

Both kinds of classifier have coefficients that are weighted sums of the rows they were fitted on
(the representer theorem), so one can be fitted and applied without the rows themselves, at a cost
that does not depend on how many features there are.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC

from lesion_transfer.evaluation.interior import solve_dual
from lesion_transfer.evaluation.logistic import solve_logistic

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

LIBSVM_STEPS_PER_ROW = 50
"""Beyond this many steps per row the interior-point method is faster than libsvm."""


class Dual(Protocol):
    """A fitted classifier: decision = gram[:, support] @ weights + intercept."""

    @property
    def support(self) -> Integers:
        """The rows with a weight, (s,)."""

    @property
    def weights(self) -> Floats:
        """Their weights, (s,)."""

    @property
    def intercept(self) -> float:
        """The decision where all inner products are 0."""

    @classmethod
    def fit(cls, gram: Floats, target: Flags, C: float) -> Self:
        """Fit to inner products (n, n) and targets (n,), both classes weighing the same."""

    def raised(self, gram: Floats, target: Flags, C: float) -> Self:
        """Return the solution of the same problem at a larger ``C``."""


@dataclass(frozen=True)
class DualSVM:
    """A two-class SVM; see :class:`Dual`."""

    support: Integers
    weights: Floats
    intercept: float
    bounded: bool
    """Some weight is held back by C; if none is, every larger C has this same solution."""
    slow: bool
    """Too much for libsvm, and so for every larger C."""

    @classmethod
    def fit(cls, gram: Floats, target: Flags, C: float, slow: bool = False) -> DualSVM:
        """Solve with libsvm; if ``slow``, or it turns out to be, by the interior point."""
        # class_weight="balanced" spelt out: it costs scikit-learn a label encoder per fit.
        weight = dict(enumerate(_balance(target)))
        upper = C * np.where(target, weight[1], weight[0])
        svc = SVC(C=C, kernel="precomputed", class_weight=weight, cache_size=400)
        if not slow:
            svc.max_iter = LIBSVM_STEPS_PER_ROW * len(target)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                svc.fit(gram, target.astype(np.int64))
            slow = svc.fit_status_ != 0
        if slow:
            solution = solve_dual(gram, np.where(target, 1.0, -1.0), upper)
            if solution is not None:
                weights, intercept = solution
                bounded = bool((np.abs(weights) > upper * (1 - 1e-6)).any())
                return cls(np.arange(len(target)), weights, intercept, bounded, True)
            svc.max_iter = -1
            svc.fit(gram, target.astype(np.int64))
        support, weights = svc.support_.astype(np.int64), svc.dual_coef_[0]
        bounded = bool((np.abs(weights) >= upper[support] * (1 - 1e-9)).any())
        return cls(support, weights, float(svc.intercept_[0]), bounded, slow)

    def raised(self, gram: Floats, target: Flags, C: float) -> DualSVM:
        """See :meth:`Dual.raised`."""
        return DualSVM.fit(gram, target, C, self.slow) if self.bounded else self


@dataclass(frozen=True)
class DualLogistic:
    """Logistic regression of two classes with an L2 penalty; see :class:`Dual`."""

    support: Integers
    weights: Floats
    intercept: float

    @classmethod
    def fit(
        cls, gram: Floats, target: Flags, C: float, start: DualLogistic | None = None
    ) -> DualLogistic:
        """Solve by Newton's method, from ``start`` where a smaller C has been solved."""
        cost = C * _balance(target)[target.astype(np.int64)]
        begin = None if start is None else (start.weights, start.intercept)
        weights, intercept = solve_logistic(gram, np.where(target, 1.0, -1.0), cost, begin)
        return cls(np.arange(len(target)), weights, intercept)

    def raised(self, gram: Floats, target: Flags, C: float) -> DualLogistic:
        """See :meth:`Dual.raised`."""
        return DualLogistic.fit(gram, target, C, self)


def targets_of(labels: Integers, n_classes: int) -> list[Flags]:
    """One target for two classes, one-vs-rest targets for more."""
    positives = (1,) if n_classes == 2 else range(n_classes)
    return [labels == positive for positive in positives]


def decisions_of(gram: Floats, train: Integers, held_out: Integers, fits: Sequence[Dual]) -> Floats:
    """Decision values, shape (len(held_out), m), of classifiers fitted on the rows ``train``."""
    return np.column_stack(
        [gram[np.ix_(held_out, train[fit.support])] @ fit.weights + fit.intercept for fit in fits]
    )


def _balance(target: Flags) -> Floats:
    """Weights of the negative and the positive class that make both weigh n / 2."""
    n, positives = len(target), np.count_nonzero(target)
    return np.array([n / (2 * (n - positives)), n / (2 * positives)])

"""The paper's classifier: a linear SVM on L2-normalised features, with calibrated probabilities.

Everything is chosen on the pictures given, the training half: C by the AUC of stratified shuffles,
the calibration from out-of-fold decision values. The result, :class:`LinearHead`, is four arrays,
so that it can become two dense layers of a network and needs no pickle.

Rows are multiplied with each other once; every sub-problem is then solved from that Gram matrix, at
a cost that does not depend on the number of features: by libsvm, with scikit-learn's default
tolerance, or where that would take long, by :mod:`~lesion_transfer.evaluation.interior`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sklearn
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.svm import SVC

from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.calibration import calibrate
from lesion_transfer.evaluation.interior import solve_dual
from lesion_transfer.evaluation.metrics import auc
from lesion_transfer.protocols import SVM

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NORM_EPSILON = 1e-12
"""Rows shorter than this are divided by it instead of their length; so a zero row stays zero."""

CALIBRATION_FOLDS = 5

LIBSVM_STEPS_PER_ROW = 50
"""Beyond this many steps per row the interior-point method is faster than libsvm."""


def l2_normalise(features: ArrayLike) -> Floats:
    """Return ``features``, shape (n, d), with every row divided by max(its length, NORM_EPSILON).

    Raises
    ------
    ValueError
        The array is not two-dimensional, or a value is NaN or infinite.
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"features must have shape (n, d), not {rows.shape}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"features are not finite in {np.count_nonzero(~finite)} of {len(rows)} rows, first in "
            f"row {int(finite.argmin())}: the network that made them has probably diverged"
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, NORM_EPSILON))


def gram_matrix(features: ArrayLike) -> Floats:
    """Return the inner products, shape (n, n), of the L2-normalised rows of ``features``.

    Folds that share features, as those of a frozen source do, can share this: a fold's Gram matrix
    is ``gram[np.ix_(train, train)]``.
    """
    rows = l2_normalise(features)
    return np.asarray(rows @ rows.T)


@dataclass(frozen=True)
class LinearHead:
    """A fitted classifier of feature rows: m decision values, then K class probabilities.

    With two classes m = 1, a positive decision meaning ``classes[1]``; with K > 2, m = K
    one-vs-rest decisions. The probabilities are those of the training half's class frequencies.

    Attributes
    ----------
    coef, intercept
        Shapes (d, m) and (m,), float64: decision = normalised features @ coef + intercept.
    calibration_coef, calibration_intercept
        Shapes (m, K) and (K,), float64: probabilities = softmax(decision @ calibration_coef +
        calibration_intercept). Column 0 is zero; so for two classes softmax is the sigmoid.
    classes
        The K class names.
    C
        The chosen one.
    validation_auc
        Mean AUC at ``C`` over the shuffles that chose it, 0–1.
    """

    coef: Floats
    intercept: Floats
    calibration_coef: Floats
    calibration_intercept: Floats
    classes: tuple[str, ...]
    C: float
    validation_auc: float

    def decision(self, features: ArrayLike) -> Floats:
        """Decision values of raw (not normalised) ``features`` (n, d): (n,) if m = 1, else (n, m).

        Raises
        ------
        ValueError
            A feature is NaN or infinite.
        """
        values = l2_normalise(features) @ self.coef + self.intercept
        return np.asarray(values[:, 0] if values.shape[1] == 1 else values)

    def probabilities(self, features: ArrayLike) -> Floats:
        """Class probabilities (n, K) of raw ``features`` (n, d); rows sum to 1."""
        decision = self.decision(features).reshape(-1, len(self.intercept))
        logits = decision @ self.calibration_coef + self.calibration_intercept
        return np.asarray(softmax(logits, axis=1))


def fit_head(
    features: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    spec: SVM,
    seed: int,
    gram: Floats | None = None,
) -> LinearHead:
    """Choose C, fit the SVM and calibrate it, on one training half.

    C is the one with the highest mean AUC over ``spec.shuffles`` stratified shuffles; of equals,
    the smallest. As in the paper the shuffles are stratified but not grouped: two pictures of one
    lesion may fall on both sides of a shuffle, never of a fold. Where ``spec.validation_share`` of
    the rarest class would be less than one picture, the held-out share is raised until it is one.

    Parameters
    ----------
    features
        Shape (n, d), any float type; not yet normalised.
    labels
        Shape (n,), integers, indices into ``classes``.
    classes
        The K class names.
    spec
        The grid and the shuffles.
    seed
        Fixes the shuffles and the calibration's folds; the same inputs give the same head.
    gram
        Shape (n, n): :func:`gram_matrix` of ``features``, where the caller has it already.

    Raises
    ------
    UserError
        A class has fewer than two pictures.
    ValueError
        A feature is NaN or infinite, or shapes do not fit together.
    """
    rows = l2_normalise(features)
    labels = np.asarray(labels, dtype=np.int64)
    gram = np.asarray(rows @ rows.T) if gram is None else np.asarray(gram, dtype=np.float64)
    if labels.shape != (len(rows),) or gram.shape != (len(rows), len(rows)):
        raise ValueError(
            f"{len(rows)} feature rows, labels {labels.shape}, Gram matrix {gram.shape}: "
            "these do not fit together"
        )
    counts = np.bincount(labels, minlength=len(classes))
    if len(counts) > len(classes) or counts.min() < 2:
        found = ", ".join(f"{name}: {count}" for name, count in zip(classes, counts, strict=False))
        raise UserError(
            f"the SVM cannot be trained on these pictures ({found})",
            expected=f"at least 2 pictures of each of the {len(classes)} classes in a training "
            "half, better 20",
            next_step="add pictures of the rare class, or choose a design without it",
        )
    # Inputs are checked above; scikit-learn would check them again at every one of ~100 fits.
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        C, validation_auc = _choose_c(gram, labels, counts, spec, seed)
        out_of_fold = _out_of_fold_decisions(gram, labels, counts, C, seed)
        fits = [_Dual.fit(gram, target, C) for target in _targets(labels, len(classes))]
    calibration_coef, calibration_intercept = calibrate(out_of_fold, labels, counts)
    return LinearHead(
        coef=np.column_stack([rows[fit.support].T @ fit.weights for fit in fits]),
        intercept=np.array([fit.intercept for fit in fits]),
        calibration_coef=calibration_coef,
        calibration_intercept=calibration_intercept,
        classes=tuple(classes),
        C=C,
        validation_auc=validation_auc,
    )


# --- the support vector machine, in its dual form ------------------------------------------------


@dataclass(frozen=True)
class _Dual:
    """A two-class SVM: decision = gram[:, support] @ weights + intercept."""

    support: Integers
    weights: Floats
    intercept: float
    bounded: bool
    """Some weight is held back by C; if none is, every larger C has this same solution."""
    slow: bool
    """Too much for libsvm, and so for every larger C."""

    @classmethod
    def fit(cls, gram: Floats, target: NDArray[np.bool_], C: float, slow: bool = False) -> _Dual:
        """Solve with libsvm; if ``slow``, or it turns out to be, by the interior point."""
        # class_weight="balanced" spelt out: it costs scikit-learn a label encoder per fit.
        n, positives = len(target), np.count_nonzero(target)
        weight = {0: n / (2 * (n - positives)), 1: n / (2 * positives)}
        upper = C * np.where(target, weight[1], weight[0])
        svc = SVC(C=C, kernel="precomputed", class_weight=weight, cache_size=400)
        if not slow:
            svc.max_iter = LIBSVM_STEPS_PER_ROW * n
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                svc.fit(gram, target.astype(np.int64))
            slow = svc.fit_status_ != 0
        if slow:
            solution = solve_dual(gram, np.where(target, 1.0, -1.0), upper)
            if solution is not None:
                weights, intercept = solution
                bounded = bool((np.abs(weights) > upper * (1 - 1e-6)).any())
                return cls(np.arange(n), weights, intercept, bounded, True)
            svc.max_iter = -1
            svc.fit(gram, target.astype(np.int64))
        support, weights = svc.support_.astype(np.int64), svc.dual_coef_[0]
        bounded = bool((np.abs(weights) >= upper[support] * (1 - 1e-9)).any())
        return cls(support, weights, float(svc.intercept_[0]), bounded, slow)

    def raised(self, gram: Floats, target: NDArray[np.bool_], C: float) -> _Dual:
        """Return the solution of the same problem at a larger ``C``."""
        return _Dual.fit(gram, target, C, self.slow) if self.bounded else self


def _targets(labels: Integers, n_classes: int) -> list[NDArray[np.bool_]]:
    """One target for two classes, one-vs-rest targets for more."""
    positives = (1,) if n_classes == 2 else range(n_classes)
    return [labels == positive for positive in positives]


def _decisions(gram: Floats, train: Integers, held_out: Integers, fits: Sequence[_Dual]) -> Floats:
    """Decision values, shape (len(held_out), m), of SVMs fitted on the rows ``train``."""
    return np.column_stack(
        [gram[np.ix_(held_out, train[fit.support])] @ fit.weights + fit.intercept for fit in fits]
    )


def _choose_c(
    gram: Floats, labels: Integers, counts: Integers, spec: SVM, seed: int
) -> tuple[float, float]:
    """Return the chosen C and its mean AUC over the shuffles."""
    grid = sorted(spec.C)
    splitter = StratifiedShuffleSplit(
        n_splits=spec.shuffles,
        test_size=max(spec.validation_share, 1 / counts.min()),
        random_state=seed,
    )
    aucs = np.empty((spec.shuffles, len(grid)))
    for row, (train, held_out) in zip(aucs, splitter.split(gram, labels), strict=True):
        part = gram[np.ix_(train, train)]
        targets = _targets(labels[train], len(counts))
        fits: list[_Dual] = []
        for column, C in enumerate(grid):
            if fits:
                fits = [
                    fit.raised(part, target, C) for fit, target in zip(fits, targets, strict=True)
                ]
            else:
                fits = [_Dual.fit(part, target, C) for target in targets]
            row[column] = auc(labels[held_out], _decisions(gram, train, held_out, fits))
    means = aucs.mean(axis=0)
    # Means that differ by rounding alone are equal.
    chosen = int(np.argmax(means >= means.max() - 1e-12))
    return grid[chosen], float(means[chosen])


def _out_of_fold_decisions(
    gram: Floats, labels: Integers, counts: Integers, C: float, seed: int
) -> Floats:
    """Decision values, shape (n, m), each from an SVM that has not seen its row."""
    folds = StratifiedKFold(
        min(CALIBRATION_FOLDS, int(counts.min())), shuffle=True, random_state=seed
    )
    decisions = np.empty((len(labels), 1 if len(counts) == 2 else len(counts)))
    for train, held_out in folds.split(gram, labels):
        part = gram[np.ix_(train, train)]
        fits = [_Dual.fit(part, target, C) for target in _targets(labels[train], len(counts))]
        decisions[held_out] = _decisions(gram, train, held_out, fits)
    return decisions

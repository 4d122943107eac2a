"""The paper's classifier: a linear SVM on L2-normalised features, with calibrated probabilities.

Everything is chosen on the pictures given, the training half: C by the AUC of stratified shuffles,
the calibration and the threshold from out-of-fold decision values. The result, :class:`LinearHead`,
is four arrays, so that it can become two dense layers of a network and needs no pickle.

Rows are multiplied with each other once; every sub-problem is then solved from that Gram matrix:
see :mod:`~lesion_transfer.evaluation.dual`. Logistic regression can take the SVM's place; for the
network's own softmax see :mod:`~lesion_transfer.evaluation.softmax`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sklearn
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.calibration import calibrate
from lesion_transfer.evaluation.dual import (
    Dual,
    DualLogistic,
    DualSVM,
    decisions_of,
    targets_of,
)
from lesion_transfer.evaluation.metrics import auc
from lesion_transfer.evaluation.risk import youden_threshold
from lesion_transfer.protocols import SVM

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NORM_EPSILON = 1e-12
"""Rows shorter than this are divided by it instead of their length; so a zero row stays zero."""

CALIBRATION_FOLDS = 5

MIN_UNSEEN = 10
"""Pictures of each class, not seen by the network, from which on they alone calibrate a head."""

KINDS: dict[str, type[Dual]] = {"svm": DualSVM, "logistic": DualLogistic}


def l2_normalise(features: ArrayLike) -> Floats:
    """Return ``features``, shape (n, d), with every row divided by max(its length, NORM_EPSILON).

    Raises
    ------
    ValueError
        The array is not two-dimensional, or a value is NaN or infinite.
    """
    rows = _finite_rows(features)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, NORM_EPSILON))


def _finite_rows(features: ArrayLike) -> Floats:
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"features must have shape (n, d), not {rows.shape}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"features are not finite in {np.count_nonzero(~finite)} of {len(rows)} rows, first in "
            f"row {int(finite.argmin())}: the network that made them has probably diverged"
        )
    return rows


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
        The chosen one; NaN where there was none to choose.
    validation_auc
        Mean AUC at ``C`` over the shuffles that chose it, 0–1.
    threshold
        Two classes: the positive probability from which to call a picture positive, chosen by
        :func:`~lesion_transfer.evaluation.risk.youden_threshold` on out-of-fold probabilities.
        More: NaN, the most probable class is the answer.
    calibrated_on
        How many pictures calibration and threshold come from.
    normalised
        Whether features are L2-normalised first; so in all but the network's own softmax.
    """

    coef: Floats
    intercept: Floats
    calibration_coef: Floats
    calibration_intercept: Floats
    classes: tuple[str, ...]
    C: float
    validation_auc: float
    threshold: float
    calibrated_on: int
    normalised: bool = True

    def decision(self, features: ArrayLike) -> Floats:
        """Decision values of raw (not normalised) ``features`` (n, d): (n,) if m = 1, else (n, m).

        Raises
        ------
        ValueError
            A feature is NaN or infinite.
        """
        rows = _finite_rows(features)
        values = (l2_normalise(rows) if self.normalised else rows) @ self.coef + self.intercept
        return np.asarray(values[:, 0] if values.shape[1] == 1 else values)

    def probabilities(self, features: ArrayLike) -> Floats:
        """Class probabilities (n, K) of raw ``features`` (n, d); rows sum to 1."""
        decision = self.decision(features).reshape(-1, len(self.intercept))
        return _softmax(decision, self.calibration_coef, self.calibration_intercept)


def fit_head(
    features: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    spec: SVM,
    seed: int,
    gram: Floats | None = None,
    unseen: NDArray[np.bool_] | None = None,
) -> LinearHead:
    """Choose C, fit the classifier of ``spec.head``, calibrate it, choose a threshold.

    All on one training half.

    C is the one with the highest mean AUC over ``spec.shuffles`` stratified shuffles; of equals,
    the smallest. As in the paper the shuffles are stratified but not grouped: two pictures of one
    lesion may fall on both sides of a shuffle, never of a fold. Where ``spec.validation_share`` of
    the rarest class would be less than one picture, the held-out share is raised until it is one.

    A network separates the pictures it was trained on better than it will others, and a calibration
    that sees them gives risks that are too extreme. So it and the threshold come from the
    ``unseen`` ones, where these hold :data:`MIN_UNSEEN` of each class.

    Parameters
    ----------
    features
        Shape (n, d), any float type; not yet normalised.
    labels
        Shape (n,), integers, indices into ``classes``.
    classes
        The K class names.
    spec
        The kind of classifier, the grid and the shuffles.
    seed
        Fixes the shuffles and the calibration's folds; the same inputs give the same head.
    gram
        Shape (n, n): :func:`gram_matrix` of ``features``, where the caller has it already.
    unseen
        Shape (n,), bool: the pictures that the features' network was not trained on; None: all.

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
        kind = KINDS[spec.head]
        C, validation_auc = _choose_c(kind, gram, labels, counts, spec, seed)
        out_of_fold = _out_of_fold_decisions(kind, gram, labels, counts, C, seed)
        fits = [kind.fit(gram, target, C) for target in targets_of(labels, len(classes))]
    if unseen is not None:
        counts_unseen = np.bincount(labels[unseen], minlength=len(classes))
        if counts_unseen.min() >= MIN_UNSEEN:
            out_of_fold, labels, counts = out_of_fold[unseen], labels[unseen], counts_unseen
    calibration_coef, calibration_intercept = calibrate(out_of_fold, labels, counts)
    probabilities = _softmax(out_of_fold, calibration_coef, calibration_intercept)
    binary = len(classes) == 2
    return LinearHead(
        coef=np.column_stack([rows[fit.support].T @ fit.weights for fit in fits]),
        intercept=np.array([fit.intercept for fit in fits]),
        calibration_coef=calibration_coef,
        calibration_intercept=calibration_intercept,
        classes=tuple(classes),
        C=C,
        validation_auc=validation_auc,
        threshold=youden_threshold(labels == 1, probabilities[:, 1]) if binary else np.nan,
        calibrated_on=len(labels),
    )


def _softmax(decisions: Floats, coef: Floats, intercept: Floats) -> Floats:
    return np.asarray(softmax(decisions @ coef + intercept, axis=1))


def _choose_c(
    kind: type[Dual], gram: Floats, labels: Integers, counts: Integers, spec: SVM, seed: int
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
        targets = targets_of(labels[train], len(counts))
        fits: list[Dual] = []
        for column, C in enumerate(grid):
            if fits:
                fits = [
                    fit.raised(part, target, C) for fit, target in zip(fits, targets, strict=True)
                ]
            else:
                fits = [kind.fit(part, target, C) for target in targets]
            row[column] = auc(labels[held_out], decisions_of(gram, train, held_out, fits))
    means = aucs.mean(axis=0)
    # Means that differ by rounding alone are equal.
    chosen = int(np.argmax(means >= means.max() - 1e-12))
    return grid[chosen], float(means[chosen])


def _out_of_fold_decisions(
    kind: type[Dual], gram: Floats, labels: Integers, counts: Integers, C: float, seed: int
) -> Floats:
    """Decision values, shape (n, m), each from a classifier that has not seen its row."""
    folds = StratifiedKFold(
        min(CALIBRATION_FOLDS, int(counts.min())), shuffle=True, random_state=seed
    )
    decisions = np.empty((len(labels), 1 if len(counts) == 2 else len(counts)))
    for train, held_out in folds.split(gram, labels):
        part = gram[np.ix_(train, train)]
        fits = [kind.fit(part, target, C) for target in targets_of(labels[train], len(counts))]
        decisions[held_out] = decisions_of(gram, train, held_out, fits)
    return decisions

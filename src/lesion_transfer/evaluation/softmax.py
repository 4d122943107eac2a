"""The network's own classifier as a head, beside those that are fitted on its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.calibration import calibrate
from lesion_transfer.evaluation.metrics import auc
from lesion_transfer.evaluation.risk import youden_threshold
from lesion_transfer.evaluation.svm import LinearHead


def softmax_head(
    kernel: ArrayLike,
    bias: ArrayLike,
    classes: Sequence[str],
    features: ArrayLike,
    labels: ArrayLike,
) -> LinearHead:
    """Return the classifier a network was trained under, calibrated, with a threshold.

    The features are not normalised, and nothing but the calibration is fitted. A softmax is the
    same whatever is added to all its logits: decisions are the difference of the logits (two
    classes), or the logits less their mean. Classes that training resampled to the same size make
    its probabilities those of equally frequent classes; calibrated, they are those of the training
    half, as of every head. Calibration and threshold need pictures that the network was not trained
    on: the validation part of the training half.

    Parameters
    ----------
    kernel, bias
        Of the network's last layer, shapes (d, K) and (K,).
    classes
        The K class names.
    features, labels
        Of the validation part: shapes (n, d) and (n,).

    Returns
    -------
    LinearHead
        ``C`` is NaN; ``validation_auc`` is that of the validation part, which has also chosen the
        epoch.

    Raises
    ------
    UserError
        A class has no picture in the validation part.
    """
    coef, intercept = (np.asarray(each, dtype=np.float64) for each in (kernel, bias))
    labels = np.asarray(labels, dtype=np.int64)
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() == 0:
        found = ", ".join(f"{name}: {count}" for name, count in zip(classes, counts, strict=True))
        raise UserError(
            f"the network's softmax cannot be calibrated: its validation part holds {found}",
            expected="at least one picture of each class, better 20, none of which the network was "
            "trained on",
            next_step="add pictures of the rare class, raise finetune.validation_share, or use "
            "svm.head: svm",
        )
    binary = len(classes) == 2
    if binary:
        coef, intercept = coef[:, 1:] - coef[:, :1], intercept[1:] - intercept[:1]
    else:
        coef, intercept = coef - coef.mean(axis=1, keepdims=True), intercept - intercept.mean()
    raw = LinearHead(
        coef=coef,
        intercept=intercept,
        calibration_coef=np.zeros((len(intercept), len(classes))),
        calibration_intercept=np.zeros(len(classes)),
        classes=tuple(classes),
        C=np.nan,
        validation_auc=np.nan,
        threshold=np.nan,
        calibrated_on=len(labels),
        normalised=False,
    )
    decision = raw.decision(features)
    calibration = calibrate(decision.reshape(len(labels), -1), labels, counts)
    head = replace(
        raw,
        calibration_coef=calibration[0],
        calibration_intercept=calibration[1],
        validation_auc=auc(labels, decision),
    )
    if not binary:
        return head
    return replace(
        head, threshold=youden_threshold(labels == 1, head.probabilities(features)[:, 1])
    )

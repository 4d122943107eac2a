"""The network's own classifier as a head, beside those that are fitted on its features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

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
    """Return the head that gives what the network's softmax gives.

    Nothing is fitted and the features are not normalised; decisions are differences of logits (two
    classes) or the logits. The threshold, which needs pictures that the network was not trained on,
    comes from the validation part of the training half.

    Parameters
    ----------
    kernel, bias
        Of the network's last layer, shapes (d, K) and (K,).
    classes
        The K class names.
    features, labels
        Of the validation part: shapes (n, d) and (n,), every class at least once.
    """
    coef, intercept = (np.asarray(each, dtype=np.float64) for each in (kernel, bias))
    labels = np.asarray(labels)
    K = len(classes)
    binary = K == 2
    if binary:
        coef, intercept = coef[:, 1:] - coef[:, :1], intercept[1:] - intercept[:1]
        calibration = np.array([[0.0, 1.0]])
    else:
        # Logits less the first: the same softmax, with a first column of zero as in every head.
        calibration = np.eye(K)
        calibration[0] = -1.0
        calibration[:, 0] = 0.0
    head = LinearHead(
        coef=coef,
        intercept=intercept,
        calibration_coef=calibration,
        calibration_intercept=np.zeros(K),
        classes=tuple(classes),
        C=np.nan,
        validation_auc=np.nan,
        threshold=np.nan,
        normalised=False,
    )
    found = head.probabilities(features)
    return LinearHead(
        **vars(head)
        | {
            "validation_auc": auc(labels, head.decision(features)),
            "threshold": youden_threshold(labels == 1, found[:, 1]) if binary else np.nan,
        }
    )

"""The classifier that a training starts from: random, or fitted to the features that are there."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lesion_transfer.evaluation.svm import fit_head
from lesion_transfer.protocols import SVM

Floats = npt.NDArray[np.float32]


def random_classifier(features: int, classes: int, seed: int) -> tuple[Floats, Floats]:
    """Draw kernel (features, classes) and bias (classes,), as Glorot & Bengio 2010."""
    limit = math.sqrt(6 / (features + classes))
    kernel = np.random.default_rng([seed, 0]).uniform(-limit, limit, (features, classes))
    return kernel.astype(np.float32), np.zeros(classes, np.float32)


def probe(
    features: Floats, labels: npt.NDArray[np.int64], classes: int, seed: int, *, balanced: bool
) -> tuple[Floats, Floats]:
    """Return kernel (d, K) and bias (K,) of a softmax over features that are not normalised.

    From a random classifier, the first gradients that reach the network are noise, and spoil
    features that were good (Kumar et al. 2022, *Fine-tuning can distort pretrained features*).
    This one is the logistic regression that could be a fold's head, its C and its calibration
    chosen within these pictures; all feature vectors are taken to have their mean length.

    Parameters
    ----------
    features, labels
        Of the training pictures, (n, d) and (n,).
    classes
        K.
    seed
        Fixes the shuffles that choose C.
    balanced
        Whether training shows, or weighs, all classes alike: its probabilities are then those of
        equally frequent classes.

    Raises
    ------
    UserError
        A class has fewer than two pictures.
    """
    names = [str(number) for number in range(classes)]
    head = fit_head(features, labels, names, SVM(head="logistic"), seed)
    kernel = head.coef @ head.calibration_coef
    kernel /= np.linalg.norm(features, axis=1).mean()
    bias = head.intercept @ head.calibration_coef + head.calibration_intercept
    if balanced:
        bias = bias - np.log(np.bincount(labels, minlength=classes))
    # A softmax is the same whatever is added to all logits.
    kernel -= kernel.mean(axis=1, keepdims=True)
    return kernel.astype(np.float32), (bias - bias.mean()).astype(np.float32)

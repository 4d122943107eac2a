"""The classifier that a training starts from: random, or fitted to the features that are there."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.svm import fit_head
from lesion_transfer.protocols import SVM

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

MAX_PROBED = 1000
"""Pictures that a probe is fitted to: its time grows with their third power, to 20 s here."""


def random_classifier(features: int, classes: int, seed: int) -> tuple[Floats, Floats]:
    """Draw kernel (features, classes) and bias (classes,), as Glorot & Bengio 2010."""
    limit = math.sqrt(6 / (features + classes))
    kernel = np.random.default_rng([seed, 0]).uniform(-limit, limit, (features, classes))
    return kernel.astype(np.float32), np.zeros(classes, np.float32)


def probed(labels: Integers, seed: int) -> Integers:
    """Return the positions of the pictures a probe is fitted to, in order: all, if they are few.

    Of more than :data:`MAX_PROBED` every class has the same number, or all it has.
    """
    if len(labels) <= MAX_PROBED:
        return np.arange(len(labels))
    rng = np.random.default_rng([seed, 1])
    shuffled = rng.permutation(len(labels))
    each = MAX_PROBED // len(np.unique(labels))
    few = [shuffled[labels[shuffled] == name][:each] for name in np.unique(labels)]
    return np.sort(np.concatenate(few))


def probe(
    features: Floats, labels: Integers, prior: npt.ArrayLike, seed: int
) -> tuple[Floats, Floats]:
    """Return kernel (d, K) and bias (K,) of a softmax over features that are not normalised.

    From a random classifier, the first gradients that reach the network are noise, and spoil
    features that were good (Kumar et al. 2022, *Fine-tuning can distort pretrained features*).
    This one is the logistic regression that could be a fold's head, its C and its calibration
    chosen within these pictures; all feature vectors are taken to have their mean length.

    Parameters
    ----------
    features, labels
        Of training pictures, (n, d) and (n,); their inner products are kept, (n, n).
    prior
        (K,): how often training shows each class, or weighs it, on any scale. The probabilities
        are those of such frequencies.
    seed
        Fixes the shuffles that choose C.

    Raises
    ------
    UserError
        A class has fewer than two pictures, or the features are all zero or no numbers.
    """
    prior = np.asarray(prior, np.float64)
    counts = np.bincount(labels, minlength=len(prior))
    length = float(np.linalg.norm(features, axis=1).mean())
    if counts.min() < 2:
        raise UserError(
            f"probe: there are {counts.min()} training pictures of class {counts.argmin()}",
            expected="at least two of each class, for a classifier to start from",
            next_step="set probe: false in the protocol, or add pictures",
        )
    if not 0 < length < math.inf:
        raise UserError(
            f"probe: the source's features of the training pictures have a mean length of {length}",
            expected="features that are numbers, and not all zero",
            next_step="look at the source's training curves; its network has probably diverged",
        )
    names = [str(number) for number in range(len(prior))]
    head = fit_head(features, labels, names, SVM(head="logistic"), seed)
    kernel = head.coef @ head.calibration_coef / length
    bias = head.intercept @ head.calibration_coef + head.calibration_intercept
    bias = bias + np.log(prior / counts)
    # A softmax is the same whatever is added to all logits.
    kernel -= kernel.mean(axis=1, keepdims=True)
    return kernel.astype(np.float32), (bias - bias.mean()).astype(np.float32)

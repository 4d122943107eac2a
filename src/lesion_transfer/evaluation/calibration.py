"""From decision values to class probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def calibrate(decisions: Floats, labels: Integers, counts: Integers) -> tuple[Floats, Floats]:
    """Fit softmax(decisions @ coef + intercept) to the labels; return coef (m, K), intercept (K,).

    Multinomial logistic regression on Platt's smoothed targets (*Probabilistic outputs for support
    vector machines*, 1999; for K classes: (N_k + 1) / (N_k + K) for the true one, the rest shared),
    which keep the solution finite where the classes are separable, without a penalty to choose.
    With two classes the slope is kept from falling below zero: a useless score then gives every
    picture the class frequencies, never the opposite of the decision.

    Parameters
    ----------
    decisions
        Shape (n, m), float64, of pictures that their SVM was not fitted on; any scale.
    labels
        Shape (n,), integers, 0 to K − 1.
    counts
        Shape (K,): how often each label occurs.
    """
    n_classes, m = len(counts), decisions.shape[1]
    smoothed = np.eye(n_classes) * counts[:, None] + 1.0
    targets = (smoothed / (counts[:, None] + n_classes))[labels]
    # At small C decisions are tiny: standardised, the problem is well conditioned at any C.
    centre, scale = decisions.mean(axis=0), decisions.std(axis=0)
    scale[scale == 0] = 1.0
    design = np.column_stack([(decisions - centre) / scale, np.ones(len(labels))])

    def loss(flat: Floats) -> tuple[float, Floats]:
        logits = np.zeros((len(labels), n_classes))
        logits[:, 1:] = design @ flat.reshape(m + 1, n_classes - 1)
        log_p = log_softmax(logits, axis=1)
        gradient = design.T @ (np.exp(log_p) - targets)[:, 1:] / len(labels)
        return float(-(targets * log_p).sum() / len(labels)), gradient.ravel()

    # Two classes: the parameters are the slope and the intercept.
    slope = (0.0 if n_classes == 2 else -np.inf, np.inf)
    bounds = [slope] + [(-np.inf, np.inf)] * ((m + 1) * (n_classes - 1) - 1)
    start = np.zeros((m + 1) * (n_classes - 1))
    fit = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-9},
    )
    solution = np.zeros((m + 1, n_classes))
    solution[:, 1:] = fit.x.reshape(m + 1, n_classes - 1)
    coef = solution[:m] / scale[:, None]
    return coef, solution[m] - centre @ coef

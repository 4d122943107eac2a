"""Logistic regression with an L2 penalty, from inner products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

Floats = NDArray[np.float64]

MAX_ITERATIONS = 200
TOLERANCE = 1e-10
"""Newton decrement, relative to the loss, at which to stop."""


def solve_logistic(
    gram: Floats, signs: Floats, cost: Floats, start: tuple[Floats, float] | None = None
) -> tuple[Floats, float]:
    """Minimise ½ aᵀKa + Σ costᵢ log(1 + exp(−signsᵢ fᵢ)), f = Ka + b, over a and b.

    Newton's method in its dual form (Rasmussen & Williams, *Gaussian processes for machine
    learning*, 2006, algorithm 3.1), each step halved until the loss falls: as the loss is convex,
    it ends at the minimum.

    Parameters
    ----------
    gram
        K, shape (n, n), positive semidefinite.
    signs
        Shape (n,): +1 for the positive class, −1 for the other.
    cost
        Shape (n,), positive: C times the weight of the row's class.
    start
        Where to begin; the solution at a smaller cost saves steps.

    Returns
    -------
    tuple of ndarray and float
        The weights a, shape (n,), and the intercept b.
    """

    def loss(a: Floats, b: float) -> float:
        f = gram @ a
        return float(0.5 * a @ f + cost @ np.logaddexp(0.0, -signs * (f + b)))

    a, b = start if start is not None else (np.zeros(len(signs)), 0.0)
    current = loss(a, b)
    for _ in range(MAX_ITERATIONS):
        f = gram @ a + b
        pull = cost * signs * expit(-signs * f)  # minus the loss's derivative by f
        curvature = np.maximum(cost * expit(f) * expit(-f), 1e-12 * cost)
        root = np.sqrt(curvature)
        # The Newton system (K + 1/curvature) a + b = f + pull / curvature, Σa = 0, scaled by the
        # root of the curvature so that its matrix is never worse than I + something semidefinite.
        factor = cho_factor(np.eye(len(f)) + gram * np.outer(root, root), check_finite=False)
        wanted, ones = (
            root * cho_solve(factor, root * vector, check_finite=False)
            for vector in (f + pull / curvature, np.ones(len(f)))
        )
        new_b = float(wanted.sum() / ones.sum())
        da, db = wanted - new_b * ones - a, new_b - b
        length, fallen = 1.0, loss(a + da, b + db)
        while fallen > current and length > 1e-8:
            length /= 2
            fallen = loss(a + length * da, b + length * db)
        if not current - fallen > TOLERANCE * current:
            break
        a, b, current = a + length * da, b + length * db, fallen
    return a, b

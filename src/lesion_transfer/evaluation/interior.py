"""An interior-point solution of the SVM's dual problem, for where libsvm would take minutes.

libsvm moves two coefficients at a time; on overlapping classes the steps it needs grow with C, to
ten million and more at C = 1e4. An interior-point method needs some twenty to forty iterations at
any C, each a Cholesky factorisation of the Gram matrix.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Floats = NDArray[np.float64]

MAX_ITERATIONS = 100
TOLERANCE = 1e-8
"""Of the optimality conditions; libsvm's default is 1e-3."""


def solve_dual(gram: Floats, signs: Floats, upper: Floats) -> tuple[Floats, float] | None:
    """Minimise ½ aᵀQa − Σa over 0 ≤ a ≤ ``upper``, signsᵀa = 0, where Q = gram · signs signsᵀ.

    Mehrotra's predictor–corrector method (*SIAM Journal on Optimization* 2, 1992).

    Parameters
    ----------
    gram
        Shape (n, n), positive semidefinite.
    signs
        Shape (n,): +1 for the positive class, −1 for the other.
    upper
        Shape (n,), positive: C times the weight of the row's class.

    Returns
    -------
    tuple of ndarray and float, or None
        The weights a · signs, shape (n,), and the intercept: decision = gram @ weights +
        intercept. None where the method does not converge.
    """
    Q = gram * np.outer(signs, signs)
    b = 0.0
    # Inside the box, on the plane (class weights are balanced), and not far out at a large C.
    a = upper * min(0.5, 1.0 / (Q @ upper).max())
    z = w = np.maximum(1.0, np.abs(Q @ a - 1.0))  # multipliers of 0 ≤ a and of a ≤ upper
    for _ in range(MAX_ITERATIONS):
        room = upper - a
        dual = Q @ a + signs * b - 1.0 - z + w
        primal = float(signs @ a)
        gap = float(a @ z + room @ w)
        size = 1.0 + float(a.sum())
        if max(np.abs(dual).max(), abs(primal) / size, gap / size) < TOLERANCE:
            return a * signs, b
        system = Q + np.diag(z / a + w / room)
        try:
            factor = cho_factor(system, check_finite=False)
        except np.linalg.LinAlgError:
            return None
        along = cho_solve(factor, signs, check_finite=False)

        def direction(low: Floats, high: Floats) -> tuple[Floats, float, Floats, Floats]:
            """Return Newton's step towards a·z = a·z + low and room·w = room·w + high."""
            step = cho_solve(factor, low / a - high / room - dual, check_finite=False)  # noqa: B023
            db = float(signs @ step + primal) / float(signs @ along)  # noqa: B023
            da = step - along * db  # noqa: B023
            return da, db, (low - z * da) / a, (high + w * da) / room  # noqa: B023

        da, _, dz, dw = direction(-a * z, -room * w)
        length = _longest((a, da), (room, -da), (z, dz), (w, dw))
        after = (a + length * da) @ (z + length * dz) + (room - length * da) @ (w + length * dw)
        target = (float(after) / gap) ** 3 * gap / (2 * len(a))
        da, db, dz, dw = direction(target - a * z - da * dz, target - room * w + da * dw)
        length = 0.995 * _longest((a, da), (room, -da), (z, dz), (w, dw))
        a, b, z, w = a + length * da, b + length * db, z + length * dz, w + length * dw
    return None


def _longest(*pairs: tuple[Floats, Floats]) -> float:
    """Return the longest step, at most 1, that keeps every value + step · change ≥ 0."""
    shrink = max(float((-change / value).max()) for value, change in pairs)
    return 1.0 / max(shrink, 1.0)

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression

from lesion_transfer.evaluation.calibration import calibrate


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_calibration_is_logistic_regression_on_platts_targets(K, scale):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, K, 90)
    decisions = np.eye(K)[labels][:, -1:] if K == 2 else np.eye(K)[labels]
    decisions = scale * (decisions + rng.normal(size=decisions.shape))
    counts = np.bincount(labels)
    coef, intercept = calibrate(decisions, labels, counts)
    # Soft targets as weighted copies of every row, one per class.
    weights = ((np.eye(K) * counts[:, None] + 1) / (counts[:, None] + K))[labels].ravel()
    rows, targets = np.repeat(decisions / scale, K, axis=0), np.tile(np.arange(K), len(labels))
    expected = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(rows, targets, weights)
    found = np.exp(decisions @ coef + intercept)
    found /= found.sum(axis=1, keepdims=True)
    assert_allclose(found, expected.predict_proba(decisions / scale), atol=1e-5)


def test_calibration_is_finite_where_classes_are_separate_and_never_reverses():
    labels = np.repeat([0, 1], 20)
    for sign in (1.0, -1.0):
        coef, intercept = calibrate(sign * (2.0 * labels[:, None] - 1), labels, np.bincount(labels))
        assert np.isfinite(coef).all()
        assert np.isfinite(intercept).all()
        assert coef[0, 1] >= 0

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression

from lesion_transfer.evaluation.dual import DualLogistic
from lesion_transfer.evaluation.svm import gram_matrix, l2_normalise


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([1e-3, 1.0, 1e2, 1e4]), st.sampled_from([2, 5, 80]))
def test_is_scikit_learns(seed, C, d):
    rng = np.random.default_rng(seed)
    target = np.append([True, True, False], rng.random(57) < 0.3)
    features = rng.normal(size=(60, d)) + 0.3 * target[:, None]
    rows, gram = l2_normalise(features), gram_matrix(features)
    found = DualLogistic.fit(gram, target, C)
    reference = LogisticRegression(
        C=C, class_weight="balanced", solver="newton-cholesky", tol=1e-10, max_iter=500
    ).fit(rows, target)
    decision = gram @ found.weights + found.intercept
    assert_allclose(decision, reference.decision_function(rows), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("C", [0.1, 1e4])
def test_a_start_elsewhere_ends_in_the_same_place(C):
    rng = np.random.default_rng(0)
    target = rng.random(80) < 0.4
    gram = gram_matrix(rng.normal(size=(80, 6)) + 0.5 * target[:, None])
    straight = DualLogistic.fit(gram, target, C)
    risen = DualLogistic.fit(gram, target, 1e-3).raised(gram, target, C)
    assert_allclose(gram @ straight.weights, gram @ risen.weights, rtol=1e-3, atol=1e-3)
    assert straight.intercept == pytest.approx(risen.intercept, rel=1e-3, abs=1e-3)

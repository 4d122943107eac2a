import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from lesion_transfer.evaluation.dual import DualSVM
from lesion_transfer.evaluation.interior import solve_dual
from lesion_transfer.evaluation.svm import gram_matrix


def problem(seed, n=60, d=5):
    rng = np.random.default_rng(seed)
    target = rng.random(n) < 0.3
    target[:4] = [True, True, False, False]
    gram = gram_matrix(rng.normal(size=(n, d)) + 0.3 * target[:, None])
    weights = n / (2 * np.where(target, target.sum(), n - target.sum()))
    return gram, target, np.where(target, 1.0, -1.0), weights


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([1e-3, 1.0, 1e2, 1e4]), st.sampled_from([2, 5, 80]))
def test_is_optimal(seed, C, d):
    """Primal and dual objective agree: the proof that both are optimal."""
    gram, _, signs, balance = problem(seed, d=d)
    upper = C * balance
    weights, intercept = solve_dual(gram, signs, upper)
    a = weights * signs
    assert (a >= 0).all()
    assert (a <= upper).all()
    assert abs(weights.sum()) <= 1e-7 * (1 + a.sum())
    norm = weights @ gram @ weights
    hinge = np.maximum(0, 1 - signs * (gram @ weights + intercept))
    dual = a.sum() - norm / 2
    assert norm / 2 + upper @ hinge == pytest.approx(dual, rel=1e-6, abs=1e-9)


def test_agrees_with_libsvm_run_to_the_end():
    gram, target, signs, balance = problem(0)
    weights, intercept = solve_dual(gram, signs, 10 * balance)
    svc = SVC(C=10, kernel="precomputed", class_weight="balanced", tol=1e-9).fit(gram, target)
    assert gram @ weights + intercept == pytest.approx(svc.decision_function(gram), abs=1e-4)


@pytest.mark.slow
def test_takes_over_where_libsvm_is_slow():
    gram, target, *_ = problem(0, n=200)
    assert not DualSVM.fit(gram, target, 1.0).slow
    assert DualSVM.fit(gram, target, 1e4).slow

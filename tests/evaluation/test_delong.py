import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from lesion_transfer.evaluation.delong import components, delong
from lesion_transfer.evaluation.metrics import auc


def draw(seed, n=40, K=2):
    rng = np.random.default_rng(seed)
    labels = np.append(np.repeat(np.arange(K), 2), rng.integers(0, K, n))
    shape = (len(labels),) if K == 2 else (len(labels), K)
    truth = labels if K == 2 else np.eye(K)[labels]
    common = rng.normal(size=shape)
    return labels, *(np.round(truth + common + rng.normal(size=shape), 1) for _ in "ab")


def by_definition(labels, first, second):
    """DeLong et al. 1988 with the kernel ψ written out, every pair of pictures compared."""
    kernels = []
    for scores in (first, second):
        x, y = scores[labels == 1], scores[labels == 0]
        kernels.append((x[:, None] > y) + 0.5 * (x[:, None] == y))
    areas = [kernel.mean() for kernel in kernels]
    by_positive = np.cov([kernel.mean(axis=1) for kernel in kernels])
    by_negative = np.cov([kernel.mean(axis=0) for kernel in kernels])
    S = by_positive / (labels == 1).sum() + by_negative / (labels == 0).sum()
    contrast = np.array([1, -1])
    return (areas[0] - areas[1]) / math.sqrt(contrast @ S @ contrast)


OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
1.6 5.6  5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
4.3 7.0  4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
3.0 4.7  8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
3.2 5.1  5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
3.5 6.2  5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
3.6 6.6  5 1
"""
"""The patients of DeLong et al. 1988: albumin, total protein, K-G score, whether surgery helped."""


def test_is_the_articles_own_example():
    """Areas, standard errors and tests as SAS prints them (PROC LOGISTIC, Comparing ROC Curves)."""
    albumin, protein, score, labels = np.array(OVARIAN.split(), float).reshape(-1, 4).T
    labels, score = labels.astype(int), 10 - score
    published = {(0.7366, 0.0927): albumin, (0.7258, 0.1028): score, (0.6478, 0.1000): protein}
    for (area, error), values in published.items():
        parts = [components(labels, values)[labels == k] for k in (0, 1)]
        found = math.sqrt(sum(part.var(ddof=1) / len(part) for part in parts))
        assert auc(labels, values) == pytest.approx(area, abs=5e-5)
        assert found == pytest.approx(error, abs=5e-5)
    for values, chi_square, p in ((albumin, 0.0127, 0.9102), (protein, 0.5554, 0.4561)):
        test = delong(labels, values, score)
        assert (test.value**2, test.p) == pytest.approx((chi_square, p), abs=5e-5)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_is_delongs_definition(seed):
    labels, first, second = draw(seed)
    z = by_definition(labels, first, second)
    assert delong(labels, first, second) == pytest.approx((z, 2 * stats.norm.sf(abs(z))))


@given(st.integers(0, 10_000), st.sampled_from([2, 3, 4]))
def test_components_average_to_the_auc(seed, K):
    labels, scores, _ = draw(seed, K=K)
    found = components(labels, scores)
    averages = [found[labels == k].mean() for k in range(K)]
    assert sum(averages) / 2 == pytest.approx(auc(labels, scores))
    if K == 2:
        assert_allclose(averages, auc(labels, scores))


def test_two_columns_are_two_classes():
    labels, first, second = draw(0)
    both = [np.column_stack([-scores, scores]) for scores in (first, second)]
    assert delong(labels, *both) == pytest.approx(delong(labels, first, second))


def test_three_class_variance_is_that_of_the_bootstrap():
    labels, first, second = draw(1, n=400, K=3)
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(labels), len(labels)) for _ in range(600)]
    spread = np.std([auc(labels[d], first[d]) - auc(labels[d], second[d]) for d in drawn])
    z = (auc(labels, first) - auc(labels, second)) / spread
    assert delong(labels, first, second).value == pytest.approx(z, rel=0.12)


def test_equal_scores_do_not_differ():
    labels, first, _ = draw(0)
    assert delong(labels, first, 2 * first) == (0.0, 1.0)


def test_scores_that_separate_the_classes_the_right_and_the_wrong_way():
    labels = np.arange(10) % 2
    assert delong(labels, labels * 1.0, -labels * 1.0) == (math.inf, 0.0)
    assert delong(labels, -labels * 1.0, labels * 1.0) == (-math.inf, 0.0)


def test_false_alarms_are_as_many_as_they_should_be():
    p = [delong(*draw(seed, n=100)).p for seed in range(600)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.025)

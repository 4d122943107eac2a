import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import roc_curve

from lesion_transfer.evaluation.risk import (
    Reliability,
    calibration_error,
    net_benefit,
    youden_threshold,
)


@given(st.integers(0, 10_000))
def test_no_threshold_has_a_higher_j(seed):
    rng = np.random.default_rng(seed)
    positive = np.append([True, False], rng.random(40) < 0.3)
    risk = rng.integers(0, 12, 42) / 12
    false_rate, true_rate, _ = roc_curve(positive, risk, drop_intermediate=False)
    called = risk >= youden_threshold(positive, risk)
    found = called[positive].mean() - called[~positive].mean()
    assert found == pytest.approx(max(true_rate - false_rate))


def test_threshold_lies_between_and_prefers_the_lower():
    positive = np.array([False, False, True, True])
    assert youden_threshold(positive, np.array([0.1, 0.2, 0.6, 0.7])) == pytest.approx(0.4)
    # J is 1/2 from 0.2 on and from 0.7 on: the lower misses none.
    assert youden_threshold(positive, np.array([0.1, 0.5, 0.2, 0.7])) == pytest.approx(0.15)


def test_threshold_of_constant_risks_calls_all_positive():
    positive = np.array([False, True, False])
    assert (np.full(3, 0.3) >= youden_threshold(positive, np.full(3, 0.3))).all()


def test_reliability():
    risk = np.array([0.05, 0.08, 0.1 + 0.2, 0.35, 1.0])
    found = Reliability.of(np.array([False, True, True, False, True]), risk)
    assert_array_equal(found.count, [2, 0, 0, 2, 0, 0, 0, 0, 0, 1])
    assert_allclose(found.observed[[0, 3, 9]], [0.5, 0.5, 1.0])
    assert_allclose(found.predicted[[0, 3, 9]], [0.065, 0.325, 1.0])
    assert np.isnan(found.observed[1])


def test_frequencies_that_are_as_predicted_have_no_error():
    risk = np.repeat([0.25, 0.75], 8)
    positive = np.tile([1, 0, 0, 0, 1, 0, 0, 0], 2) == 1
    positive[8:] = ~positive[8:]
    truth = np.column_stack([~positive, positive])
    found = calibration_error(truth, np.column_stack([1 - risk, risk]), np.ones((16, 1)))
    assert found == pytest.approx([0.0])


def test_net_benefit_of_acting_on_all_and_on_none():
    """Vickers & Elkin 2006: π − (1 − π) t / (1 − t), and 0."""
    rng = np.random.default_rng(0)
    positive = rng.random(50) < 0.3
    thresholds = np.array([0.0, 0.1, 0.5, 0.8])
    ones, share = np.ones((50, 1)), positive.mean()
    everyone = net_benefit(positive, np.ones(50), thresholds, ones)[:, 0]
    assert_allclose(everyone, share - (1 - share) * thresholds / (1 - thresholds))
    assert_array_equal(net_benefit(positive, np.zeros(50), thresholds[1:], ones), 0)


def test_a_perfect_score_gains_the_prevalence_at_any_threshold():
    positive = np.arange(10) < 3
    found = net_benefit(positive, positive * 1.0, np.array([0.1, 0.5, 0.9]), np.ones((10, 1)))
    assert_allclose(found, 0.3)

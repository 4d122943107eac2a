import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from lesion_transfer.evaluation.paired import (
    combined_f,
    corrected_interval,
    corrected_t,
    dietterich_t,
    effect_size,
    holm,
    rope_posterior,
)

FIRST = np.array([0.80, 0.82, 0.79, 0.85, 0.81, 0.80, 0.83, 0.84, 0.78, 0.82])
SECOND = np.array([0.79, 0.80, 0.80, 0.82, 0.80, 0.79, 0.80, 0.83, 0.77, 0.80])
DIFFERENCES = (FIRST - SECOND).reshape(5, 2)


def test_five_by_two_tests_are_mlxtends():
    """mlxtend 0.25, ``paired_ttest_5x2cv`` and ``combined_ftest_5x2cv``, on these ten scores."""
    assert dietterich_t(DIFFERENCES) == pytest.approx((0.6741998624632435, 0.5300916186704526))
    assert combined_f(DIFFERENCES) == pytest.approx((1.4545454545454537, 0.35599709668243973))


def test_posterior_is_baycomps():
    """baycomp 1.0.3, ``two_on_single(x, y, rope=0.01, runs=5)`` (the JMLR article's own code)."""
    found = rope_posterior(DIFFERENCES)
    assert (found.better, found.same, found.worse) == pytest.approx(
        (0.6236657566199726, 0.33481818171533284, 0.04151606166469457)
    )


def test_corrected_t_is_its_formula():
    mean, sd = DIFFERENCES.mean(), stats.tstd(DIFFERENCES.ravel())
    t = mean / (sd * math.sqrt(1 / 10 + 1))
    assert corrected_t(DIFFERENCES) == pytest.approx((t, 2 * stats.t.sf(t, 9)))
    low, high = corrected_interval(DIFFERENCES)
    assert (low + high) / 2 == pytest.approx(mean)
    assert high - mean == pytest.approx(2.2621571628 * sd * math.sqrt(1.1))


def test_corrected_t_without_training_pictures_in_common_is_the_usual_one():
    usual = stats.ttest_rel(FIRST, SECOND)
    assert corrected_t(DIFFERENCES, 0.0) == pytest.approx((usual.statistic, usual.pvalue))


def test_critical_values_are_the_published_ones():
    """Alpaydin 1999, section 3: F(10, 5) is 4.74 at 5 %; Dietterich 1998: |t(5)| is 2.571."""
    assert stats.f.sf(4.74, 10, 5) == pytest.approx(0.05, abs=1e-3)
    # dᵢ₁ = a, dᵢ₂ = b for all i: f = (a² + b²) / (a − b)², t = a √2 / |a − b|.
    a, b = 3.0, 1.0
    same = np.tile([a, b], (5, 1))
    assert combined_f(same).value == pytest.approx((a**2 + b**2) / (a - b) ** 2)
    assert dietterich_t(same).value == pytest.approx(a * math.sqrt(2) / (a - b))


@pytest.mark.parametrize("test", [combined_f, corrected_t])
def test_two_sided_tests_do_not_depend_on_the_order(test):
    other = -DIFFERENCES[::-1, ::-1]
    assert test(other).p == pytest.approx(test(DIFFERENCES).p)


def test_mirrored_arms_have_the_mirrored_posterior():
    found, mirrored = rope_posterior(DIFFERENCES), rope_posterior(-DIFFERENCES)
    assert (found.better, found.same) == pytest.approx((mirrored.worse, mirrored.same))


@pytest.mark.parametrize("test", [combined_f, dietterich_t, corrected_t])
def test_no_spread(test):
    assert test(np.zeros((5, 2))) == (0.0, 1.0)
    assert test(np.full((5, 2), 0.1)) == (math.inf, 0.0)


def test_no_spread_of_the_posterior_and_the_effect():
    assert rope_posterior(np.full((5, 2), 0.1)).better == 1
    assert rope_posterior(np.full((5, 2), -0.1)).worse == 1
    assert rope_posterior(np.zeros((5, 2))).same == 1
    assert effect_size(np.zeros((5, 2))) == 0
    assert effect_size(DIFFERENCES) == pytest.approx(0.014 / stats.tstd(DIFFERENCES.ravel()))


def test_holm_is_a_worked_example():
    """p = 0.01, 0.04, 0.03, 0.005: 0.005·4, 0.01·3, 0.03·2, then never less than the one before."""
    assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    assert_allclose(holm(np.array([0.9, 0.8])), [1.0, 1.0])
    assert holm(np.array([])).shape == (0,)


@pytest.mark.parametrize("shape", [(10,), (1, 2), (5, 3)])
def test_refuses_what_is_not_r_by_two(shape):
    with pytest.raises(ValueError, match=r"shape \(R, 2\)"):
        combined_f(np.zeros(shape))

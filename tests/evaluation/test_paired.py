import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.datasets import make_moons
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.svm import SVC

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


def test_corrected_t_and_posterior_are_those_of_scikit_learns_example():
    """ "Statistical comparison of models using grid search", ten times ten-fold: as it prints them.

    Its p-value is one-sided: the radial kernel is better than the linear one.
    """
    X, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    radial, linear = (
        cross_val_score(SVC(kernel=kernel), X, y, scoring="roc_auc", cv=folds)
        for kernel in ("rbf", "linear")
    )
    differences = (radial - linear).reshape(-1, 2)
    t, p = corrected_t(differences, test_train_ratio=10 / 90)
    assert (t, p / 2) == pytest.approx((0.750, 0.227), abs=5e-4)
    assert rope_posterior(differences, 0.0, 10 / 90).better == pytest.approx(0.773, abs=5e-4)
    found = rope_posterior(differences, 0.01, 10 / 90)
    assert (found.worse, found.same, found.better) == pytest.approx((0.068, 0.432, 0.5), abs=5e-4)


@given(st.integers(0, 10_000), st.sampled_from([2, 5]), st.sampled_from([1.0, 1 / 9]))
def test_posterior_follows_from_its_model(seed, repeats, ratio):
    """Correlated normal differences, prior 1/σ²: Bayes' theorem on a grid of means.

    With the standard deviation integrated out, the density of a mean m is that of
    (d − m)ᵀM⁻¹(d − m) to the power −n/2, where M has ones and the correlation ρ.
    """
    d = np.random.default_rng(seed).normal(0.01, 0.02, (repeats, 2))
    n, rho = d.size, ratio / (1 + ratio)
    inverse = np.linalg.inv(np.full((n, n), rho) + (1 - rho) * np.eye(n))
    # Far tails weigh: with three degrees of freedom they are long.
    means = np.sinh(np.linspace(-12, 12, 20_001)) * 0.001
    away = d.ravel() - means[:, None]
    density = np.einsum("mi,ij,mj->m", away, inverse, away) ** (-n / 2)
    mass = density * np.gradient(means)
    found = rope_posterior(d, 0.01, ratio)
    expected = [mass[part].sum() / mass.sum() for part in (means < -0.01, means > 0.01)]
    assert [found.worse, found.better] == pytest.approx(expected, abs=2e-3)


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


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_closed_testing_with_bonferroni(p):
    """Marcus, Peritz & Gabriel 1976: a test's adjusted p is the largest over all sets it is in."""
    sets = [s for size in range(1, len(p) + 1) for s in combinations(range(len(p)), size)]
    bonferroni = {s: min(1.0, len(s) * min(p[i] for i in s)) for s in sets}
    expected = [max(bonferroni[s] for s in sets if i in s) for i in range(len(p))]
    assert_allclose(holm(np.array(p)), expected)


@pytest.mark.parametrize("shape", [(10,), (1, 2), (5, 3)])
def test_refuses_what_is_not_r_by_two(shape):
    with pytest.raises(ValueError, match=r"shape \(R, 2\)"):
        combined_f(np.zeros(shape))

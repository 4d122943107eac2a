import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import normalize
from sklearn.svm import SVC

from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.metrics import auc
from lesion_transfer.evaluation.svm import MIN_UNSEEN, fit_head, gram_matrix, l2_normalise
from lesion_transfer.protocols import SVM

SPEC = SVM()


def pictures(n=120, d=20, K=2, shift=0.5, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.append(np.repeat(np.arange(K), 5), rng.choice(K, n - 5 * K))
    direction = np.random.default_rng(99).normal(size=(K, d))
    features = rng.normal(size=(n, d)) + shift * direction[labels] + 0.5
    return np.maximum(features, 0).astype(np.float32), labels


@pytest.mark.parametrize("shift", [0.2, 0.5])
def test_equals_grid_search(shift):
    features, labels = pictures(shift=shift)
    test, test_labels = pictures(shift=shift, seed=1)
    splits = StratifiedShuffleSplit(SPEC.shuffles, test_size=SPEC.validation_share, random_state=7)
    grid = {"C": list(SPEC.C)}
    svc = SVC(kernel="linear", class_weight="balanced")
    search = GridSearchCV(svc, grid, scoring="roc_auc", cv=splits)
    search.fit(normalize(features.astype(np.float64)), labels)
    head = fit_head(features, labels, ("benign", "melanoma"), SPEC, seed=7)
    expected = search.decision_function(normalize(test.astype(np.float64)))
    assert search.best_params_["C"] == head.C
    assert head.validation_auc == pytest.approx(search.best_score_, abs=1e-12)
    assert_allclose(head.decision(test), expected, atol=1e-4)
    assert auc(test_labels, head.decision(test)) == pytest.approx(
        auc(test_labels, expected), abs=1e-6
    )


def test_three_classes_are_one_vs_rest():
    features, labels = pictures(K=3)
    test, _ = pictures(K=3, seed=1)
    # At a larger C libsvm's tolerance (1e-3) leaves its answers further apart than this.
    head = fit_head(features, labels, "abc", SVM(C=(1.0,)), seed=0)
    svc = SVC(kernel="linear", class_weight="balanced", C=1.0)
    rest = OneVsRestClassifier(svc).fit(l2_normalise(features), labels)
    assert_allclose(head.decision(test), rest.decision_function(l2_normalise(test)), atol=1e-4)


@pytest.mark.parametrize("K", [2, 3])
def test_probabilities(K):
    features, labels = pictures(K=K)
    head = fit_head(features, labels, "abc"[:K], SPEC, seed=0)
    m = 1 if K == 2 else K
    assert head.coef.shape == (20, m)
    assert head.calibration_coef.shape == (m, K)
    assert_array_equal(head.calibration_coef[:, 0], 0)
    probabilities = head.probabilities(features)
    assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.7
    if K == 2:
        logits = head.decision(features) * head.calibration_coef[0, 1]
        assert_allclose(probabilities[:, 1], expit(logits + head.calibration_intercept[1]))


def test_is_deterministic_and_takes_a_gram_matrix():
    features, labels = pictures()
    first, second = (
        fit_head(features, labels, "ab", SPEC, seed=3, gram=gram)
        for gram in (None, gram_matrix(features))
    )
    assert_array_equal(first.coef, second.coef)
    assert_array_equal(first.calibration_coef, second.calibration_coef)


def test_zero_rows_stay_zero_and_length_does_not_matter():
    features, labels = pictures()
    features[3] = 0
    head = fit_head(features, labels, "ab", SPEC, seed=0)
    assert_allclose(head.decision(features[3:4]), head.intercept)
    assert_allclose(head.decision(features * 2**20), head.decision(features), atol=1e-9)


def test_ties_go_to_the_smallest_c():
    features, labels = pictures(shift=5.0)
    assert fit_head(features, labels, "ab", SVM(C=(100.0, 10.0)), seed=0).C == 10.0


def test_rare_class_is_in_every_shuffle():
    features, labels = pictures(K=3)
    labels[(labels == 2) & (np.cumsum(labels == 2) > 2)] = 0
    head = fit_head(features, labels, "abc", SPEC, seed=0)
    assert np.isfinite(head.validation_auc)


def test_refuses_a_class_of_one():
    features, labels = pictures()
    labels[:] = 0
    labels[0] = 1
    with pytest.raises(UserError, match="benign: 119, melanoma: 1"):
        fit_head(features, labels, ("benign", "melanoma"), SPEC, seed=0)


def test_refuses_what_is_not_finite():
    features, labels = pictures()
    features[4, 2] = np.nan
    with pytest.raises(ValueError, match=r"1 of 120 rows, first in row 4"):
        fit_head(features, labels, "ab", SPEC, seed=0)


def test_logistic_regression_can_take_its_place():
    features, labels = pictures()
    test, _ = pictures(seed=1)
    head = fit_head(features, labels, "ab", SVM(C=(1.0,), head="logistic"), seed=0)
    rows, tested = (l2_normalise(each) for each in (features, test))
    reference = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-10, max_iter=1000)
    expected = reference.fit(rows, labels).decision_function(tested)
    assert_allclose(head.decision(test), expected, atol=1e-4)
    three, labels = pictures(K=3)
    head = fit_head(three, labels, "abc", SVM(head="logistic"), seed=0)
    assert head.validation_auc > 0.7


def test_the_threshold_comes_from_pictures_the_svm_has_not_seen():
    features, labels = pictures()
    head = fit_head(features, labels, "ab", SPEC, seed=0)
    assert 0 < head.threshold < 1
    other = features.copy()
    called = head.probabilities(other)[:, 1] >= head.threshold
    # Youden's point on out-of-fold probabilities: a threshold for use, not one that fits these.
    assert called[labels == 1].mean() + (~called)[labels == 0].mean() > 1
    three, labels = pictures(K=3)
    assert np.isnan(fit_head(three, labels, "abc", SVM(C=(1.0,)), seed=0).threshold)


def memorised(seed):
    """Features of a network that has learnt four of five pictures by heart; which it has not."""
    features, labels = pictures(n=400, shift=0.3, seed=seed)
    unseen = np.arange(400) % 5 == 0
    features[~unseen, 0] += 6.0 * labels[~unseen]
    return features, labels, unseen


def log_loss(head, features, labels):
    return -np.log(head.probabilities(features)[np.arange(len(labels)), labels]).mean()


@pytest.mark.parametrize("seed", range(5))
def test_risks_come_from_pictures_the_network_has_not_seen(seed):
    features, labels, unseen = memorised(seed)
    new, new_labels = pictures(n=2000, shift=0.3, seed=100 + seed)
    plain = fit_head(features, labels, "ab", SVM(C=(1.0,)), seed=0)
    head = fit_head(features, labels, "ab", SVM(C=(1.0,)), seed=0, unseen=unseen)
    assert_array_equal(head.decision(new), plain.decision(new))
    assert log_loss(head, new, new_labels) < log_loss(plain, new, new_labels) - 0.03
    assert head.threshold != plain.threshold


def test_few_unseen_pictures_do_not_calibrate_alone():
    features, labels, unseen = memorised(0)
    some = unseen & (np.cumsum(unseen & (labels == 1)) < MIN_UNSEEN)
    plain = fit_head(features, labels, "ab", SVM(C=(1.0,)), seed=0)
    head = fit_head(features, labels, "ab", SVM(C=(1.0,)), seed=0, unseen=some)
    assert_array_equal(head.calibration_coef, plain.calibration_coef)
    assert head.threshold == plain.threshold

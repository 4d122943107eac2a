import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.risk import youden_threshold
from lesion_transfer.evaluation.softmax import softmax_head


def trained(K, n=60, seed=0):
    """A last layer, and features of which it knows something."""
    rng = np.random.default_rng(seed)
    kernel, bias = rng.normal(size=(6, K)), rng.normal(size=K)
    labels = np.arange(n) % K
    return kernel, bias, rng.normal(size=(n, 6)) + 0.3 * kernel.T[labels], labels


def test_ranks_two_classes_as_the_network_does():
    kernel, bias, features, labels = trained(2)
    head = softmax_head(kernel, bias, "ab", features, labels)
    risk = softmax(features @ kernel + bias, axis=1)[:, 1]
    assert_allclose(head.decision(features), np.log(risk / (1 - risk)))
    assert head.validation_auc == pytest.approx(roc_auc_score(labels, risk))
    assert np.isnan(head.C)


def test_three_classes_are_the_logits_whatever_is_added_to_all():
    kernel, bias, features, labels = trained(3)
    head = softmax_head(kernel, bias, "abc", features, labels)
    decision = head.decision(features)
    assert_allclose(softmax(decision, axis=1), softmax(features @ kernel + bias, axis=1))
    assert_allclose(decision.sum(axis=1), 0, atol=1e-12)
    shifted = softmax_head(kernel + features[:1].T, bias - 3, "abc", features, labels)
    assert_allclose(shifted.decision(features), decision)
    assert head.probabilities(features).argmax(axis=1).tolist() != labels.tolist()
    assert np.isnan(head.threshold)


@pytest.mark.parametrize("K", [2, 3])
def test_probabilities_are_those_of_the_training_half(K):
    """A network trained on classes of equal size is too sure of the rare one."""
    kernel, bias, features, labels = trained(K, n=600)
    rows = np.append(np.flatnonzero(labels == 0), np.flatnonzero(labels > 0)[::5])
    head = softmax_head(kernel, bias, "abc"[:K], features[rows], labels[rows])
    found = head.probabilities(features[rows])
    assert_allclose(found.sum(axis=1), 1)
    assert_allclose(found.mean(axis=0), np.bincount(labels[rows]) / len(rows), atol=0.01)
    assert_array_equal(head.calibration_coef[:, 0], 0)
    if K == 2:
        assert head.threshold == youden_threshold(labels[rows] == 1, found[:, 1])


def test_a_class_that_is_not_held_out_is_named():
    kernel, bias, features, labels = trained(3)
    with pytest.raises(UserError, match="validation part holds benign: 20, melanoma: 20, rare: 0"):
        softmax_head(kernel, bias, ("benign", "melanoma", "rare"), features[labels < 2],
                     labels[labels < 2])  # fmt: skip

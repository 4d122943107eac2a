import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn import metrics as reference

from lesion_transfer.evaluation.metrics import auc, fold_metrics


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=60))
def test_auc_is_scikit_learns_with_ties(rows):
    labels, scores = (np.array(column, dtype=int) for column in zip(*rows, strict=True))
    if len(set(labels)) == 2:
        assert_allclose(auc(labels, scores), reference.roc_auc_score(labels, scores), atol=1e-12)
    else:
        assert np.isnan(auc(labels, scores))


@given(st.integers(0, 10_000), st.integers(3, 5))
def test_multiclass_auc_is_hand_and_tills(seed, K):
    rng = np.random.default_rng(seed)
    labels = np.append(np.arange(K), rng.integers(0, K, 40))
    scores = rng.integers(1, 6, (len(labels), K)).astype(float)
    scores /= scores.sum(axis=1, keepdims=True)
    expected = reference.roc_auc_score(labels, scores, multi_class="ovo", average="macro")
    assert_allclose(auc(labels, scores), expected, atol=1e-12)


@given(st.integers(0, 10_000))
def test_auc_of_reversed_scores_is_the_complement(seed):
    rng = np.random.default_rng(seed)
    labels, scores = np.append([0, 1], rng.integers(0, 2, 30)), rng.integers(0, 5, 32)
    assert auc(labels, scores) + auc(labels, -scores) == pytest.approx(1)


def test_auc_does_not_exist_without_a_class_or_with_nan():
    assert np.isnan(auc([1, 1], [0.1, 0.2]))
    assert np.isnan(auc([0, 1, 1], np.eye(3)))
    assert np.isnan(auc([0, 1], [0.1, np.nan]))
    with pytest.raises(ValueError, match="do not fit"):
        auc([0, 1], [0.1, 0.2, 0.3])


def test_binary_fold_metrics_are_scikit_learns():
    rng = np.random.default_rng(0)
    labels = (rng.random(200) < 0.3).astype(int)
    decision = rng.normal(size=200) + labels
    positive = 1 / (1 + np.exp(-decision))
    found = fold_metrics(labels, decision, np.column_stack([1 - positive, positive]), ("b", "m"))
    predicted = positive >= 0.5
    assert found == pytest.approx(
        {
            "auc": reference.roc_auc_score(labels, decision),
            "average_precision": reference.average_precision_score(labels, decision),
            "accuracy": reference.accuracy_score(labels, predicted),
            "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted),
            "log_loss": reference.log_loss(labels, positive),
            "brier": reference.brier_score_loss(labels, positive),
            "sensitivity": reference.recall_score(labels, predicted),
            "specificity": reference.recall_score(labels, predicted, pos_label=0),
        }
    )


def test_three_class_fold_metrics():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    probabilities = rng.dirichlet(np.ones(3), 200)
    found = fold_metrics(labels, probabilities, probabilities, ("benign", "basal cell", "a/b"))
    pairs = ("auc_benign_vs_basal_cell", "auc_benign_vs_a_b", "auc_basal_cell_vs_a_b")
    assert np.mean([found[pair] for pair in pairs]) == pytest.approx(found["auc"])
    assert found["log_loss"] == pytest.approx(reference.log_loss(labels, probabilities))
    expected = ((probabilities - np.eye(3)[labels]) ** 2).sum(axis=1).mean()
    assert found["brier"] == pytest.approx(expected)
    assert found["average_precision"] == pytest.approx(
        reference.average_precision_score(np.eye(3)[labels], probabilities)
    )

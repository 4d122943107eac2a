import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from samples import make_predictions, metrics_of
from sklearn import metrics as reference

from lesion_transfer.evaluation.metrics import auc, cross_entropy, measure, quadratic_kappa
from lesion_transfer.evaluation.predictions import Predictions, confusion

SEEDS = st.integers(0, 10_000)


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=60))
def test_auc_is_scikit_learns_with_ties(rows):
    labels, scores = (np.array(column, dtype=int) for column in zip(*rows, strict=True))
    if len(set(labels)) == 2:
        assert_allclose(auc(labels, scores), reference.roc_auc_score(labels, scores), atol=1e-12)
    else:
        assert np.isnan(auc(labels, scores))


@given(SEEDS, st.integers(3, 5))
def test_multiclass_auc_is_hand_and_tills(seed, K):
    rng = np.random.default_rng(seed)
    labels = np.append(np.arange(K), rng.integers(0, K, 40))
    scores = rng.integers(1, 6, (len(labels), K)).astype(float)
    scores /= scores.sum(axis=1, keepdims=True)
    expected = reference.roc_auc_score(labels, scores, multi_class="ovo", average="macro")
    assert_allclose(auc(labels, scores), expected, atol=1e-12)


@given(SEEDS)
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


@given(SEEDS, st.booleans())
def test_binary_fold_metrics_are_scikit_learns(seed, ties):
    fold = make_predictions(2, seed=seed, ties=ties)
    labels, risk = fold.labels, fold.probabilities[:, 1]
    predicted = risk >= 0.4
    found = metrics_of(fold)
    false_rate, true_rate, _ = reference.roc_curve(labels, fold.decision, drop_intermediate=False)
    hits, alarms = (labels[risk >= 0.1] == 1).sum(), (labels[risk >= 0.1] == 0).sum()
    assert found.pop("calibration_error") == pytest.approx(bin_by_bin(labels, risk))
    assert found == pytest.approx(
        {
            "auc": reference.roc_auc_score(labels, fold.decision),
            "average_precision": reference.average_precision_score(labels, fold.decision),
            "accuracy": reference.accuracy_score(labels, predicted),
            "balanced_accuracy": reference.balanced_accuracy_score(labels, predicted),
            "log_loss": reference.log_loss(labels, risk),
            "brier": reference.brier_score_loss(labels, risk),
            "sensitivity": reference.recall_score(labels, predicted),
            "specificity": reference.recall_score(labels, predicted, pos_label=0),
            "sensitivity_at_90_specificity": true_rate[false_rate <= 0.1 + 1e-9].max(),
            "sensitivity_at_95_specificity": true_rate[false_rate <= 0.05 + 1e-9].max(),
            "net_benefit_at_10": (hits - alarms / 9) / len(labels),
        }
    )


def bin_by_bin(positive, risk):
    """Calibration error as its definition says it."""
    index = np.minimum((risk * 10).astype(int), 9)
    return sum(
        abs(positive[index == b].mean() - risk[index == b].mean()) * (index == b).mean()
        for b in set(index)
    )


def test_three_class_fold_metrics():
    fold = make_predictions(3, n=200)
    fold = Predictions(**vars(fold) | {"classes": ("benign", "basal cell", "a/b")})
    labels, probabilities = fold.labels, fold.probabilities
    found = metrics_of(fold)
    pairs = ("auc_benign_vs_basal_cell", "auc_benign_vs_a_b", "auc_basal_cell_vs_a_b")
    assert np.mean([found[pair] for pair in pairs]) == pytest.approx(found["auc"])
    assert found["auc"] == auc(labels, fold.decision)
    assert found["log_loss"] == pytest.approx(reference.log_loss(labels, probabilities))
    expected = ((probabilities - np.eye(3)[labels]) ** 2).sum(axis=1).mean()
    assert found["brier"] == pytest.approx(expected)
    assert found["average_precision"] == pytest.approx(
        reference.average_precision_score(np.eye(3)[labels], fold.decision)
    )
    errors = [bin_by_bin(labels == k, probabilities[:, k]) for k in range(3)]
    assert found["calibration_error"] == pytest.approx(np.mean(errors))
    recalls = reference.recall_score(labels, probabilities.argmax(axis=1), average=None)
    assert [found[f"sensitivity_{name}"] for name in ("benign", "basal_cell", "a_b")] == (
        pytest.approx(recalls.tolist())
    )


@settings(deadline=None)
@given(SEEDS, st.sampled_from([2, 3]), st.booleans())
def test_a_weight_is_a_number_of_copies(seed, K, ties):
    fold = make_predictions(K, n=40, seed=seed, ties=ties)
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 3, (40, 2))
    found = measure(fold, weights.astype(float))
    for column, copies in enumerate(weights.T):
        rows = np.repeat(np.arange(40), copies)
        copied = Predictions(
            fold.images[rows], fold.groups[rows], fold.labels[rows], fold.decision[rows],
            fold.probabilities[rows], fold.classes, fold.threshold,
        )  # fmt: skip
        expected = metrics_of(copied)
        assert {name: value[column] for name, value in found.items()} == pytest.approx(
            expected, nan_ok=True
        )


def test_a_fold_without_a_class():
    fold = make_predictions(2)
    alone = Predictions(**vars(fold) | {"labels": np.zeros_like(fold.labels)})
    found = metrics_of(alone)
    undefined = {name for name, value in found.items() if np.isnan(value)}
    assert undefined == {
        "auc",
        "average_precision",
        "balanced_accuracy",
        "sensitivity",
        "sensitivity_at_90_specificity",
        "sensitivity_at_95_specificity",
    }
    three = make_predictions(3)
    found = metrics_of(Predictions(**vars(three) | {"labels": np.minimum(three.labels, 1)}))
    assert np.isnan(found["auc"])
    assert np.isnan(found["sensitivity_carcinoma"])
    assert found["auc_benign_vs_melanoma"] > 0.5


def test_constant_scores():
    fold = make_predictions(2)
    same = np.full_like(fold.probabilities, 0.5)
    found = metrics_of(Predictions(**vars(fold) | {"decision": same[:, 0], "probabilities": same}))
    assert found["auc"] == 0.5
    assert found["average_precision"] == pytest.approx(fold.labels.mean())
    assert (found["sensitivity"], found["specificity"]) == (1.0, 0.0)
    assert found["sensitivity_at_90_specificity"] == 0.0


def test_constant_scores_of_three_classes():
    fold = make_predictions(3)
    same = np.full_like(fold.probabilities, 1 / 3)
    found = metrics_of(Predictions(**vars(fold) | {"decision": same, "probabilities": same}))
    assert {value for name, value in found.items() if name.startswith("auc")} == {0.5}
    assert found["balanced_accuracy"] == pytest.approx(1 / 3), "ties go to the first class"
    assert found["sensitivity_benign"] == 1.0


def test_scores_that_are_not_numbers():
    fold = make_predictions(2)
    decision = fold.decision.copy()
    decision[3] = np.nan
    found = metrics_of(Predictions(**vars(fold) | {"decision": decision}))
    assert np.isnan([found["auc"], found["average_precision"]]).all()


@pytest.mark.parametrize("K", [2, 3])
def test_the_table_holds_it_all(K, tmp_path):
    fold = make_predictions(K)
    path = tmp_path / "predictions.parquet"
    fold.frame().to_parquet(path)
    again = Predictions.of_frame(pd.read_parquet(path))
    assert again.classes == fold.classes
    for name in ("images", "groups", "labels", "decision", "probabilities", "predicted"):
        assert_array_equal(getattr(again, name), getattr(fold, name))
    assert metrics_of(again) == metrics_of(fold)


def test_a_label_that_is_no_class_is_refused():
    frame = make_predictions(2).frame()
    frame.loc[3, "label"] = "naevus"
    with pytest.raises(ValueError, match="'naevus' is none of benign, melanoma"):
        Predictions.of_frame(frame)


@pytest.mark.parametrize("K", [2, 3])
def test_confusion_is_scikit_learns(K):
    folds = [make_predictions(K, seed=seed) for seed in (0, 1)]
    truth = np.concatenate([fold.labels for fold in folds])
    guess = np.concatenate([fold.predicted for fold in folds])
    assert_array_equal(confusion(folds), reference.confusion_matrix(truth, guess))


def test_kappa_counts_the_steps_between_levels():
    truth, answers = np.array([0, 0, 1, 2, 2, 3]), np.array([0, 1, 1, 2, 3, 0])
    observed = np.mean((truth - answers) ** 2)
    by_chance = np.mean((truth[:, None] - answers) ** 2)
    assert quadratic_kappa(truth, answers, 5) == pytest.approx(1 - observed / by_chance)


def test_a_level_without_a_picture_is_still_a_step():
    truth, answers = np.array([0, 0, 1, 1, 4]), np.array([0, 1, 1, 4, 4])
    expected = 1 - np.mean((truth - answers) ** 2) / np.mean((truth[:, None] - answers) ** 2)
    assert quadratic_kappa(truth, answers, 5) == pytest.approx(expected)


def test_cross_entropy_is_the_mean_negative_log():
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1]], np.float32)
    expected = -(np.log(0.5) + np.log(0.1)) / 2
    assert cross_entropy(np.array([0, 1]), probabilities) == pytest.approx(expected, rel=1e-6)
    assert np.isfinite(cross_entropy(np.array([0]), np.array([[0.0, 1.0]], np.float32)))

import numpy as np
import pytest
from samples import make_predictions, metrics_of
from scipy import stats

from lesion_transfer.evaluation.bootstrap import estimate, intervals, replicates
from lesion_transfer.evaluation.metrics import auc
from lesion_transfer.evaluation.predictions import Predictions


def accuracy(fold, weights):
    return {"accuracy": (fold.predicted == fold.labels) @ weights / weights.sum(axis=0)}


def test_first_is_the_sample_and_the_seed_decides_the_rest():
    folds = [make_predictions(seed=seed) for seed in (0, 1)]
    found = replicates(folds, 50)
    expected = np.mean([metrics_of(fold)["auc"] for fold in folds])
    assert found["auc"][0] == pytest.approx(expected)
    assert found["auc"].shape == (51,)
    assert (found["auc"] == replicates(folds, 50)["auc"]).all()
    assert (found["auc"] != replicates(folds, 50, seed=1)["auc"]).any()


def test_agrees_with_scipys_bootstrap_where_every_picture_is_a_group():
    fold = make_predictions(n=200, group_size=1)

    def statistic(rows):
        return auc(fold.labels[rows], fold.decision[rows])

    rows = np.arange(200)
    expected = stats.bootstrap(
        (rows,), statistic, n_resamples=2000, method="percentile", vectorized=False,
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    found = estimate(replicates([fold], 4000)["auc"])
    assert found.low == pytest.approx(expected.low, abs=0.006)
    assert found.high == pytest.approx(expected.high, abs=0.006)


def test_copies_in_a_group_do_not_narrow_the_interval():
    fold = make_predictions(n=100, group_size=1)
    rows = np.repeat(np.arange(100), 4)
    copied = Predictions(
        fold.images[rows], fold.groups[rows], fold.labels[rows], fold.decision[rows],
        fold.probabilities[rows], fold.classes, fold.threshold,
    )  # fmt: skip
    once, often = (intervals(replicates([each], 300)) for each in (fold, copied))
    assert once["auc"] == pytest.approx(often["auc"])
    each_alone = Predictions(**vars(copied) | {"groups": np.arange(400).astype(str).astype(object)})
    narrow = intervals(replicates([each_alone], 300))["auc"]
    assert narrow.high - narrow.low < 0.7 * (often["auc"].high - often["auc"].low)


def test_a_group_is_drawn_once_for_all_folds():
    """The repeats of cross-validation test the same pictures: they must not narrow anything."""
    fold = make_predictions()
    once = replicates([fold], 200, measured=accuracy)["accuracy"]
    again = replicates([fold] * 5, 200, measured=accuracy)["accuracy"]
    assert again == pytest.approx(once)


def test_arms_on_the_same_groups_meet_the_same_resamples():
    fold = make_predictions()
    shuffled = np.random.default_rng(0).permutation(len(fold.labels))
    other = Predictions(
        fold.images[shuffled], fold.groups[shuffled], fold.labels[shuffled],
        fold.decision[shuffled], fold.probabilities[shuffled], fold.classes, fold.threshold,
    )  # fmt: skip
    assert replicates([fold], 50)["auc"] == pytest.approx(replicates([other], 50)["auc"])


def test_chunks_do_not_change_what_is_counted(monkeypatch):
    monkeypatch.setattr("lesion_transfer.evaluation.bootstrap.CELLS", 700)
    found = replicates([make_predictions()], 100)["auc"]
    assert found.shape == (101,)
    assert not np.isnan(found).any()


def test_resamples_without_a_class_are_left_out_while_they_are_few():
    assert estimate(np.array([0.5, *np.linspace(0, 1, 90), *[np.nan] * 10])).low == pytest.approx(
        0.025
    )
    few = estimate(np.array([0.5, *np.linspace(0, 1, 70), *[np.nan] * 30]))
    assert few.value == 0.5
    assert np.isnan([few.low, few.high]).all()
    fold = make_predictions(n=30)
    lonely = np.zeros_like(fold.labels)
    lonely[:2] = 1  # one group
    found = intervals(replicates([Predictions(**vars(fold) | {"labels": lonely})], 200))
    assert not np.isnan(found["auc"].value)
    assert np.isnan(found["auc"].low)
    assert not np.isnan(found["brier"].low)


def test_resamples_that_all_agree_give_no_interval():
    """Both melanomas are found, and so they are in every resample: that is no certainty."""
    fold = make_predictions(n=60, signal=9.0)
    found = intervals(replicates([fold], 200))
    for metric in ("auc", "sensitivity"):
        assert found[metric].value == 1.0
        assert np.isnan([found[metric].low, found[metric].high]).all()
    assert found["brier"].low < found["brier"].high


def test_calibration_errors_interval_holds_its_value():
    fold = make_predictions(n=300)
    found = intervals(replicates([fold], 300))["calibration_error"]
    assert 0 <= found.low < found.value < found.high

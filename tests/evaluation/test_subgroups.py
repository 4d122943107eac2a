import numpy as np
import pandas as pd
import pytest

from lesion_transfer.evaluation.metrics import auc
from lesion_transfer.evaluation.predictions import Predictions
from lesion_transfer.evaluation.subgroups import COLUMNS, subgroup_table, subgroups


def predictions(classes=("benign", "melanoma"), n: int = 300) -> Predictions:
    rng = np.random.default_rng(5)
    K, labels = len(classes), np.arange(n) % len(classes)
    logits = rng.normal(size=(n, K)) + np.eye(K)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(
        images=np.array([f"i{row}" for row in range(n)], object),
        groups=np.array([f"g{row // 2}" for row in range(n)], object),
        labels=labels,
        decision=probabilities[:, 1] if K == 2 else probabilities,
        probabilities=probabilities,
        classes=classes,
        threshold=0.4 if K == 2 else float("nan"),
    )


def estimate(table: pd.DataFrame, attribute: str, value: str, metric: str) -> pd.Series:
    chosen = (table["attribute"] == attribute) & (table["value"] == value)
    (row,) = [row for _, row in table[chosen & (table["metric"] == metric)].iterrows()]
    return row


def test_a_subgroup_is_scored_on_its_own_pictures():
    found = predictions()
    sex = np.where(np.arange(300) < 200, "female", "male")
    table = subgroup_table(found, pd.DataFrame({"sex": sex}), resamples=200)
    assert [*table.columns] == [*COLUMNS]
    for name, count in (("female", 200), ("male", 100)):
        rows, row = sex == name, estimate(table, "sex", name, "auc")
        assert row["estimate"] == pytest.approx(auc(found.labels[rows], found.decision[rows]))
        assert (row["images"], row["groups"]) == (count, count // 2)
        assert row["ci_low"] < row["estimate"] < row["ci_high"]


@pytest.mark.parametrize("classes", [("benign", "melanoma"), ("benign", "melanoma", "carcinoma")])
def test_a_diagnosis_is_scored_against_the_other_classes(classes):
    found = predictions(classes)
    diagnosis = np.array(classes, object)[found.labels]
    diagnosis[(found.labels == 0) & (np.arange(300) < 120)] = "nevus"
    table = subgroup_table(found, pd.DataFrame({"diagnosis": diagnosis}), resamples=50)
    rows = (diagnosis == "nevus") | (found.labels > 0)
    row = estimate(table, "diagnosis", "nevus", "auc")
    assert row["estimate"] == pytest.approx(auc(found.labels[rows], found.decision[rows]))
    assert row["images"] == (diagnosis == "nevus").sum()


def test_ages_become_bands_and_what_is_not_stated_is_said():
    ages = np.tile([0, 29, 30, 49.5, 50, 70, 99, np.nan], 38)[:300]
    parts = {
        part.value: ages[part.members]
        for part in subgroups(predictions(), pd.DataFrame({"age": ages}))
    }
    assert [*parts] == ["0 to 29", "30 to 49", "50 to 69", "70 and over", "not stated"]
    assert set(parts["0 to 29"]) == {0, 29}
    assert set(parts["30 to 49"]) == {30, 49.5}
    assert set(parts["70 and over"]) == {70, 99}
    assert np.isnan(parts["not stated"]).all()
    empty = pd.DataFrame({"site": np.where(np.arange(300) % 3 > 0, "back", "")})
    assert [part.value for part in subgroups(predictions(), empty)] == ["back", "not stated"]


def test_a_subgroup_of_one_class_has_no_auc_and_no_interval():
    found = predictions()
    site = np.where(found.labels == 1, "back", "face")
    table = subgroup_table(found, pd.DataFrame({"site": site}), resamples=50)
    row = estimate(table, "site", "back", "auc")
    assert np.isnan([row["estimate"], row["ci_low"], row["ci_high"]]).all()
    assert 0 < estimate(table, "site", "back", "sensitivity")["estimate"] < 1

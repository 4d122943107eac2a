"""Nothing is chosen on test data: a fold's network and head do not know its test half."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from lesion_transfer.stages.arm import PlannedArm
from lesion_transfer.stages.folds import run_arm
from lesion_transfer.stages.plan import plan
from lesion_transfer.stages.requests import EvaluateRequest
from lesion_transfer.stages.workspace import workspace
from lesion_transfer.study import Fold
from lesion_transfer.tracking import Kind

FOLD = Fold.parse("1x1")


def poisoned(planned: PlannedArm, what: str) -> PlannedArm:
    """Replace the test half's pictures by noise, or its labels by their opposites."""
    split = planned.fold_rows(FOLD)
    images, labels = np.array(planned.store.images), planned.labels.copy()
    if what == "pictures":
        rows = planned.rows[split.test]
        shape = (len(rows), *images.shape[1:])
        images[rows] = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        # Other content, other digest: nothing of the first run may be used.
        other = replace(planned, store=replace(planned.store, images=images, digest="f" * 64))
    else:
        labels[split.test] = 1 - labels[split.test]
        other = replace(planned, labels=labels)
    # The split is stratified, so that labels do decide it; here it is to stay.
    other.__dict__["partitions"] = planned.partitions
    np.testing.assert_array_equal(other.fold_rows(FOLD).test, split.test)
    np.testing.assert_array_equal(other.fold_rows(FOLD).validation, split.validation)
    return other


def weights(world, name: str) -> tuple[list[np.ndarray], dict[str, float]]:
    (run,) = world.runs(Kind.FOLD)
    model = keras.models.load_model(world.artifact(run, name), safe_mode=True)
    return model.get_weights(), run.data.metrics


@pytest.mark.parametrize(
    ("what", "finetune"),
    [
        ("pictures", True),
        pytest.param("labels", True, marks=pytest.mark.slow),
        pytest.param("pictures", False, marks=pytest.mark.slow),
        pytest.param("labels", False, marks=pytest.mark.slow),
    ],
)
def test_a_poisoned_test_half_changes_the_score_and_nothing_else(world, what: str, finetune: bool):
    found = []
    for number, change in enumerate((lambda planned: planned, lambda p: poisoned(p, what))):
        here = world.enter(f"poison {what} {finetune} {number}")
        request = EvaluateRequest(**here.options(source="none", finetune=finetune, folds=str(FOLD)))
        with workspace(request) as ws:
            run_arm(ws, change(plan(ws, request)))
        found.append(weights(here, "model/model.keras" if finetune else "model/head.keras"))
    (clean, clean_metrics), (other, other_metrics) = found
    for one, two in zip(clean, other, strict=True):
        np.testing.assert_array_equal(one, two)
    for name in ("C", "C_selection_auc", "best_epoch", "val_loss", "val_auc"):
        assert clean_metrics.get(name) == other_metrics.get(name), name
    assert ("best_epoch" in clean_metrics) is finetune
    assert clean_metrics["auc"] != other_metrics["auc"]

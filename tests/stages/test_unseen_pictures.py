"""Which pictures a fold's probabilities are calibrated on."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from lesion_transfer.evaluation.svm import MIN_UNSEEN, fit_head
from lesion_transfer.protocols import load_protocol
from lesion_transfer.stages.folds import evaluate
from lesion_transfer.stages.requests import EvaluateRequest
from lesion_transfer.tracking import Tag

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("finetune", [True, False])
def test_they_are_those_that_the_network_was_not_trained_on(world, finetune: bool):
    path = world.protocol(
        "held_out",
        lambda text: text.replace(
            "finetune: *training", "finetune: {<<: *training, validation_share: 0.4}"
        ),
    )
    protocol = load_protocol(path)
    request = EvaluateRequest(
        **world.options(
            protocol=path,
            folds="1x1",
            source="retinopathy",
            finetune=finetune,
            design="melanoma_vs_benign",
        )
    )
    run_id = evaluate(request).folds[0].run_id
    holder = world.client.get_run(run_id).data.tags.get(Tag.FEATURES_RUN, run_id)
    features = pd.read_parquet(world.artifact(holder, "features/features.parquet"))
    features = features.set_index("image_id")["feature"]
    split = pd.read_csv(world.artifact(run_id, "split.csv"))
    logged = pd.read_parquet(world.artifact(run_id, "predictions.parquet")).set_index("image_id")

    half = split[split["split"] != "test"]
    labels = (half["label"] == "melanoma").to_numpy(np.int64)
    validation = (half["split"] == "validation").to_numpy()
    if finetune:
        assert np.bincount(labels[validation]).min() >= MIN_UNSEEN
    else:
        assert not validation.any()
    head = fit_head(
        np.stack(features[half["image_id"]].to_list()),
        labels,
        ("benign", "melanoma"),
        protocol.svm,
        protocol.seed,
        unseen=validation if finetune else None,
    )
    tested = np.stack(features[logged.index].to_list())
    assert_allclose(head.probabilities(tested)[:, 1], logged["probability_melanoma"], atol=1e-5)
    assert_allclose(logged["threshold"], head.threshold, rtol=1e-6)
    metrics = world.client.get_run(run_id).data.metrics
    assert metrics["calibrated_on"] == (validation.sum() if finetune else len(half))

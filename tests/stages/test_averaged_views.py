"""Features averaged over views of a picture: what is computed anew, whether the model agrees."""

import keras
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from lesion_transfer.data.store import open_store
from lesion_transfer.stages.fold_models import fold_model
from lesion_transfer.stages.folds import evaluate
from lesion_transfer.stages.requests import EvaluateRequest
from lesion_transfer.stages.workspace import workspace
from lesion_transfer.tracking import Kind, Tag

pytestmark = pytest.mark.slow


def folds(world, **values) -> list[str]:
    """Evaluate a fold without and with views; return the ids of its runs."""
    views = world.protocol("views", lambda text: text + "extraction: {views: 4}\n")
    return [
        evaluate(
            EvaluateRequest(**world.options(folds="1x1", **options) | values),
        )
        .folds[0]
        .run_id
        for options in ({}, {"protocol": views})
    ]


def features(world, run_id: str) -> np.ndarray:
    table = pd.read_parquet(world.artifact(run_id, "features/features.parquet"))
    return np.stack(table.sort_values("image_id")["feature"].to_list())


def test_a_fine_tuned_network_is_used_again_with_other_features(fresh):
    plain, viewed = folds(fresh, source="none")
    run = fresh.client.get_run(viewed)
    assert run.data.tags[Tag.NETWORK_RUN] == plain
    assert Tag.FEATURES_RUN not in run.data.tags
    assert not fresh.client.get_metric_history(viewed, "val_loss")
    assert run.data.params["extraction.views"] == "4"
    assert run.data.metrics["fold_model_error"] <= 1e-4
    assert np.abs(features(fresh, plain) - features(fresh, viewed)).max() > 1e-3


def test_a_frozen_network_is_extracted_from_once_for_each_number_of_views(fresh):
    runs = folds(fresh, source="retinopathy", finetune=False)
    plain, viewed = (fresh.client.get_run(run_id).data.tags for run_id in runs)
    assert plain[Tag.NETWORK_RUN] == viewed[Tag.NETWORK_RUN]
    extractions = [run.info.run_id for run in fresh.runs(Kind.FEATURES)]
    assert [plain[Tag.FEATURES_RUN], viewed[Tag.FEATURES_RUN]] == extractions

    with workspace(EvaluateRequest(**fresh.options())) as ws:
        model = fold_model(ws, f"runs:/{runs[1]}")  # as a validation on other data has it
    (folder,) = (fresh.folder / "cache" / "stores").glob("synthetic-16px-*")
    store = open_store(folder)
    row = {image: number for number, image in enumerate(store.index["image_id"])}
    table = pd.read_parquet(fresh.artifact(runs[1], "predictions.parquet"))
    images = store.images[[row[image] for image in table["image_id"]]].astype(np.float32)
    ours = keras.ops.convert_to_numpy(model.network(images, training=False))
    logged = table[[name for name in table if name.startswith("probability_")]]
    assert_allclose(ours, logged, atol=1e-4)

"""Features in another precision: faster or smaller, nearly the same, and kept apart."""

import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from lesion_transfer.errors import UserError
from lesion_transfer.stages.folds import evaluate
from lesion_transfer.stages.requests import EvaluateRequest
from lesion_transfer.tracking import Kind, Tag

pytestmark = pytest.mark.slow

COARSE = "extraction: {precision: bfloat16, features: float16}\n"


def folds(world, **values) -> tuple[str, str]:
    """Evaluate a fold as the reference and coarsely; return the ids of its runs."""
    coarse = world.protocol("coarse", lambda text: text + COARSE)
    requests = (
        EvaluateRequest(**world.options(folds="1x1") | options | values)
        for options in ({}, {"protocol": coarse})
    )
    exact, rough = (evaluate(request).folds[0].run_id for request in requests)
    return exact, rough


def table(world, run_id: str) -> pd.DataFrame:
    found = pd.read_parquet(world.artifact(run_id, "features/features.parquet"))
    return found.sort_values("image_id")


def compare(world, exact: str, rough: str) -> None:
    """Features are close, not equal, and stored as asked for."""
    one, other = (np.stack(table(world, run)["feature"].to_list()) for run in (exact, rough))
    gap = np.linalg.norm(one - other, axis=1) / np.linalg.norm(one, axis=1)
    assert 0 < np.median(gap) < 0.02
    assert gap.max() < 0.05
    schema = pq.read_schema(world.artifact(rough, "features/features.parquet"))
    assert schema.field("feature").type.value_type == "halffloat"


def test_a_fine_tuned_network_is_used_again_and_its_model_stays_exact(fresh):
    exact, rough = folds(fresh, source="none")
    compare(fresh, exact, rough)
    run = fresh.client.get_run(rough)
    assert run.data.tags[Tag.NETWORK_RUN] == exact
    assert run.data.params["extraction.precision"] == "bfloat16"
    assert run.data.metrics["fold_model_error"] <= 1e-4


def test_a_frozen_network_is_extracted_from_again(fresh):
    runs = folds(fresh, source="retinopathy", finetune=False)
    exact, rough = (fresh.client.get_run(run).data.tags[Tag.FEATURES_RUN] for run in runs)
    assert [run.info.run_id for run in fresh.runs(Kind.FEATURES)] == [exact, rough]
    compare(fresh, exact, rough)
    assert fresh.client.get_run(rough).data.params["extraction.features"] == "float16"
    assert fresh.client.get_run(runs[1]).data.metrics["fold_model_error"] <= 1e-4


@pytest.mark.parametrize("options", [{"source": "none"}, {"source": "retinopathy"}], ids=str)
def test_openvino_extracts_the_same_and_the_result_is_kept_apart(fresh, options):
    runtime = fresh.protocol("compiled", lambda text: text + "extraction: {runtime: openvino}\n")
    options = options | {"finetune": options["source"] == "none", "folds": "1x1,1x2"}
    ours, theirs = (
        evaluate(EvaluateRequest(**fresh.options(**options) | extra)).folds
        for extra in ({}, {"protocol": runtime})
    )
    for one, other in zip(ours, theirs, strict=True):
        assert other.auc == pytest.approx(one.auc, abs=1e-3)
        runs = [fresh.client.get_run(fold.run_id).data for fold in (one, other)]
        where = [
            run.tags.get(Tag.FEATURES_RUN, fold.run_id)
            for run, fold in zip(runs, (one, other), strict=True)
        ]
        assert where[0] != where[1]
        assert runs[1].params["extraction.runtime"] == "openvino"
        assert runs[1].metrics["fold_model_error"] <= 1e-4


def test_a_runtime_that_cannot_be_used_is_named_before_anything_is_trained(
    fresh, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "openvino", None)
    runtime = fresh.protocol("compiled", lambda text: text + "extraction: {runtime: openvino}\n")
    with pytest.raises(UserError, match="openvino cannot be imported"):
        evaluate(EvaluateRequest(**fresh.options(source="retinopathy", protocol=runtime)))
    assert fresh.runs(complete=False) == []


def test_many_images_do_without_a_shared_matrix_and_with_the_same_result(
    fresh, monkeypatch: pytest.MonkeyPatch
):
    request = EvaluateRequest(**fresh.options(source="retinopathy", finetune=False, folds="1x1"))
    shared = evaluate(request).folds[0].auc
    monkeypatch.setattr("lesion_transfer.stages.extract.SHARED_GRAM", 100)
    alone = evaluate(request.model_copy(update={"force": True})).folds[0].auc
    assert alone == pytest.approx(shared, abs=1e-6)

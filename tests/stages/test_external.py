"""A fold's model on a data set it has never seen."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.bootstrap import intervals, replicates
from lesion_transfer.evaluation.predictions import Predictions
from lesion_transfer.outcome import show
from lesion_transfer.stages.external import Validation, evaluate_or_validate
from lesion_transfer.stages.folds import evaluate
from lesion_transfer.stages.requests import EvaluateRequest
from lesion_transfer.study import Design
from lesion_transfer.tracking import Kind, Tag

pytestmark = pytest.mark.slow

SEED = 12  # of other pictures than those of seed 0, which the models were trained on
COUNT = 80


@pytest.fixture(scope="module")
def folds(world) -> dict[str, str]:
    """The runs of a fine-tuned and a frozen fold, trained on the drawn lesions."""
    return {
        name: evaluate(EvaluateRequest(**world.options(folds="1x1", **options))).folds[0].run_id
        for name, options in {
            "tuned": {"source": "none"},
            "frozen": {"source": "retinopathy", "finetune": False},
        }.items()
    }


def draw(folder: Path, seed: int) -> Path:
    """Write a table of pictures, with the ages of half of the patients."""
    data = open_dataset("synthetic", seed=seed)
    rows = []
    for number, record in enumerate(data.records[:COUNT]):
        Image.fromarray(data.load(record)).save(folder / f"{record.image_id}.png")
        rows.append(
            {
                "image_id": record.image_id,
                "path": f"{record.image_id}.png",
                "diagnosis": record.diagnosis,
                "group_id": record.group_id,
                "age": 40 if number % 2 else "",
                "sex": "female" if number % 3 else "male",
            }
        )
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("other clinic"), SEED)


@pytest.fixture(scope="module")
def validated(world, folds: dict[str, str], others: Path) -> dict[str, Validation]:
    return {name: validation(world, f"runs:/{run}", others) for name, run in folds.items()}


def validation(world, model: str, root: Path, **options) -> Validation:
    return evaluate_or_validate(
        EvaluateRequest(**world.options(target="csv", data_root=str(root), model=model) | options)
    )


@pytest.mark.parametrize("name", ["tuned", "frozen"])
def test_a_fold_is_scored_on_another_data_set(world, folds, validated, name: str):
    result = validated[name]
    run = world.client.get_run(result.run_id)
    assert run.data.tags[Tag.KIND] == Kind.EXTERNAL
    assert run.data.tags[Tag.MODEL_RUN] == folds[name]
    assert run.data.tags["trained_on"] == "synthetic"
    assert run.data.tags["dataset"].startswith("csv_other_clinic")
    table = pd.read_parquet(world.artifact(run, "predictions.parquet"))
    assert 0 < len(table) <= COUNT
    for metric, (value, low, high) in intervals(replicates([Predictions.of_frame(table)])).items():
        assert run.data.metrics.get(metric, np.nan) == pytest.approx(value, nan_ok=True)
        found = run.data.metrics.get(f"{metric}_ci_low", np.nan)
        assert found == pytest.approx(low, nan_ok=True)
        assert result.estimates[metric] == pytest.approx((value, low, high), nan_ok=True)
    for figure in ("roc.png", "confusion.png", "reliability.png", "decision.png"):
        assert world.artifact(run, figure).read_bytes().startswith(b"\x89PNG")
    subgroups = pd.read_csv(world.artifact(run, "subgroups.csv"))
    assert set(subgroups["attribute"]) == {"age", "sex", "diagnosis"}
    assert result.classes == table["label"].value_counts().to_dict()
    of_sex = subgroups[(subgroups["attribute"] == "sex") & (subgroups["metric"] == "auc")]
    assert of_sex["images"].sum() == len(table)


def test_it_is_the_fold_that_is_scored(world, folds, validated):
    """Its threshold comes with it, and the two models say different things."""
    tables = {
        name: pd.read_parquet(world.artifact(result.run_id, "predictions.parquet"))
        for name, result in validated.items()
    }
    for name, table in tables.items():
        trained = pd.read_parquet(world.artifact(folds[name], "predictions.parquet"))
        assert table["threshold"].iloc[0] == trained["threshold"].iloc[0]
    difference = tables["tuned"]["probability_melanoma"] - tables["frozen"]["probability_melanoma"]
    assert difference.abs().max() > 0.01


def test_the_command_says_that_it_is_not_for_diagnosis(validated, capsys):
    show(validated["tuned"])
    printed = capsys.readouterr().out
    assert "not for diagnosis" in printed
    assert "AUC, age 30 to 49" in printed
    benign, melanoma = validated["tuned"].classes.values()
    assert f"images of {benign} benign, {melanoma} melanoma;" in printed


def test_a_validation_again_is_looked_up(world, folds, validated, others):
    again = validation(world, f"runs:/{folds['tuned']}/model/model.keras", others)
    assert again.run_id == validated["tuned"].run_id
    assert again.done == validated["tuned"].done
    assert len(world.runs(Kind.EXTERNAL)) == 2


def test_a_registered_model_is_found_by_its_alias(world, folds, validated, others):
    client: MlflowClient = world.client
    client.create_registered_model("screening")
    source = f"{client.get_run(folds['tuned']).info.artifact_uri}/model"
    version = client.create_model_version("screening", source, folds["tuned"]).version
    client.set_registered_model_alias("screening", "champion", version)
    for name in ("models:/screening@champion", f"models:/screening/{version}"):
        assert validation(world, name, others).run_id == validated["tuned"].run_id


@pytest.mark.parametrize("store", ["at hand", "elsewhere"])
def test_training_images_are_refused(world, folds, tmp_path: Path, store: str):
    cache = {} if store == "at hand" else {"cache": tmp_path / "empty"}
    with pytest.raises(UserError, match="are in the training images of synthetic"):
        evaluate_or_validate(
            EvaluateRequest(**world.options(model=f"runs:/{folds['tuned']}") | cache)
        )


def test_another_design_is_refused(world, folds, others):
    with pytest.raises(UserError, match="made for design=melanoma_vs_benign") as raised:
        validation(world, f"runs:/{folds['tuned']}", others, design=Design.MALIGNANT_VS_BENIGN)
    assert raised.value.next_step == "give design=melanoma_vs_benign"


@pytest.mark.parametrize("uri", ["models:/none@champion", "runs:/" + "0" * 32, "model.keras"])
def test_what_is_no_model_is_refused(world, folds, others, uri: str):
    with pytest.raises(UserError) as raised:
        validation(world, uri, others)
    assert uri in raised.value.problem
    assert "runs:/<run id>" in raised.value.expected


def test_an_arm_is_no_model(world, folds, others):
    (arm, _) = world.runs(Kind.ARM, complete=False)
    with pytest.raises(UserError, match="is not of a complete fold"):
        validation(world, f"runs:/{arm.info.run_id}", others)


def test_a_model_of_another_experiment_is_scored_in_this_one(world, folds, others):
    elsewhere = world.enter("another experiment")
    try:
        result = validation(elsewhere, f"runs:/{folds['tuned']}", others)
        (run,) = elsewhere.runs(Kind.EXTERNAL)
        assert run.info.run_id == result.run_id
    finally:
        world.enter(world.experiment)

"""A whole study, on drawn pictures of 16 pixels, and what its runs hold."""

import platform
from datetime import UTC, datetime, timedelta

import keras
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from lesion_transfer.checkout import checkout
from lesion_transfer.data.store import open_store
from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.bootstrap import intervals, replicates
from lesion_transfer.evaluation.metrics import auc, fold_metrics
from lesion_transfer.evaluation.predictions import Predictions
from lesion_transfer.models.fold_model import compose
from lesion_transfer.stages.compare import Comparison, compare
from lesion_transfer.stages.compare_request import CompareRequest
from lesion_transfer.stages.requests import StudyRequest
from lesion_transfer.stages.study import study
from lesion_transfer.tracking import Kind, Tag

pytestmark = pytest.mark.slow

DESIGN = "melanoma_vs_benign"
CLASSES = ("benign", "melanoma")
KINDS = (Kind.DATASET, Kind.SOURCE, Kind.FEATURES, Kind.ARM, Kind.FOLD, Kind.COMPARISON)


@pytest.fixture(scope="module")
def studied(world, study_request: StudyRequest) -> Comparison:
    return study(study_request)


@pytest.fixture
def home(world, studied: Comparison):
    """The experiment of the study."""
    return world.enter(world.experiment)


def fold_run(home, model: str, fold: str = "1x1"):
    (run,) = home.runs(Kind.FOLD, model=model, fold=fold)
    return run


def store_images(home) -> pd.Series:
    """The target's pictures by image id."""
    (folder,) = (home.folder / "cache" / "stores").glob("synthetic-16px-*")
    index = pd.read_parquet(folder / "index.parquet")
    images = open_store(folder).images
    return pd.Series(list(images), index=index["image_id"])


# --- the table -----------------------------------------------------------------------------------


def test_a_study_gives_a_table_of_its_arms(home, studied: Comparison):
    (table,) = studied.tables
    cells = {key: cell for key, cell in table.cells.items() if cell.n_folds}
    assert set(cells) == {(DESIGN, letter) for letter in "ABDE"}
    for (_, letter), cell in cells.items():
        scores = [fold_run(home, letter, fold).data.metrics["auc"] for fold in ("1x1", "1x2")]
        assert cell.folds == tuple(scores)
        assert cell.mean == pytest.approx(np.mean(scores))
        assert (cell.n_folds, cell.expected_folds) == (2, 2)


def test_all_is_recorded_once(home):
    counts = {kind: len(home.runs(kind)) for kind in KINDS}
    assert counts == {
        Kind.DATASET: 3,  # lesions, retinas, things
        Kind.SOURCE: 2,
        Kind.FEATURES: 2,
        Kind.ARM: 4,
        Kind.FOLD: 8,
        Kind.COMPARISON: 1,
    }
    assert len(home.runs(complete=False)) == sum(counts.values())
    keys = [run.data.tags[Tag.KEY] for run in home.runs()]
    assert len(set(keys)) == len(keys)


def test_every_run_has_ended_well(home):
    assert {run.info.status for run in home.runs(complete=False)} == {"FINISHED"}
    assert not any(Tag.ERROR in run.data.tags for run in home.runs())


def test_the_same_study_again_adds_no_run_and_gives_the_same_table(
    home, studied: Comparison, study_request: StudyRequest
):
    files = {path: path.read_bytes() for path in studied.files}
    before = [run.to_dictionary() for run in home.runs(complete=False)]
    again = study(study_request)
    assert again == studied
    assert {path: path.read_bytes() for path in again.files} == files
    assert [run.to_dictionary() for run in home.runs(complete=False)] == before


def test_compare_rebuilds_the_table_from_the_server(home, studied: Comparison, tmp_path):
    rebuilt = compare(CompareRequest(out=tmp_path))
    assert rebuilt.tables == studied.tables
    assert rebuilt.run_id == studied.run_id
    csv = tmp_path / "folds.csv"
    assert len(pd.read_csv(csv)) == 8


def test_compare_takes_a_selection(home, tmp_path):
    (table,) = compare(CompareRequest(out=tmp_path, models="A,D")).tables
    assert {model for (_, model), cell in table.cells.items() if cell.n_folds} == {"A", "D"}


@pytest.mark.parametrize("selection", [{"seed": 0}, {"image_size": 16}, {"protocol": "tiny,x"}])
def test_compare_finds_what_is_asked_for(home, studied, selection: dict, tmp_path):
    assert compare(CompareRequest(out=tmp_path, **selection)).tables == studied.tables


@pytest.mark.parametrize(
    "selection", [{"seed": 1}, {"image_size": 224}, {"backbone": "vgg_m"}, {"models": "F"}], ids=str
)
def test_compare_leaves_out_what_is_not_asked_for(home, studied, selection: dict, tmp_path):
    with pytest.raises(UserError, match="no complete fold"):
        compare(CompareRequest(out=tmp_path, **selection))


def test_the_report_says_what_is_missing_and_how_to_fill_it(home, studied: Comparison):
    page = (studied.files[0].parent / "results.html").read_text()
    assert "mlflow run . -e evaluate -P target=synthetic" in page
    assert "-P source=retinopathy -P finetune=true" in page  # model C
    assert "-P seed=0" in page


def test_the_report_says_which_code_and_data_it_comes_from(home, studied: Comparison):
    page = (studied.files[0].parent / "results.html").read_text()
    (data,) = {run.data.tags[Tag.DATA_DIGEST] for run in home.runs(Kind.FOLD)}
    assert f"synthetic {data[:16]}" in page
    assert f"Python {platform.python_version()}, mlflow " in page
    clone = checkout()
    if clone is not None:
        for run in home.runs(Kind.FOLD):
            assert run.data.tags["mlflow.source.git.commit"] == clone.commit
            assert (Tag.CODE_CHANGED in run.data.tags) == clone.changed
        assert f"{clone.commit[:12]}{' with changes' if clone.changed else ''}" in page


@pytest.mark.parametrize("selection", [{"dataset": "isic2017"}, {"dataset": "it's"}], ids=str)
def test_compare_says_that_there_is_nothing(home, selection: dict[str, str], tmp_path):
    with pytest.raises(UserError, match="no complete fold on sqlite") as raised:
        compare(CompareRequest(out=tmp_path, **selection))
    assert selection["dataset"] in raised.value.problem
    assert raised.value.expected == "dataset=synthetic"


def test_compare_names_what_has_been_run_together(home, tmp_path):
    """Each of both values is there, but not of one run."""
    with pytest.raises(UserError, match="models=A, seed=7") as raised:
        compare(CompareRequest(out=tmp_path, models="A", seed=7))
    assert raised.value.expected == "; or ".join(f"models={name}, seed=0" for name in "ABDE")


def test_compare_says_what_cannot_be_compared_with(home, tmp_path):
    with pytest.raises(UserError, match="reference=C: no table has") as raised:
        compare(CompareRequest(out=tmp_path, reference="C"))
    assert raised.value.expected == "one of A, B, D, E"


def test_compare_shows_the_models_that_were_asked_for(home, tmp_path):
    found = compare(CompareRequest(out=tmp_path, models="D,E", reference="E"))
    assert [row.name for row in found.tables[0].models] == ["D", "E"]
    page = (tmp_path / "results.html").read_text()
    assert "<dt>asked for</dt><dd>models=D,E</dd>" in page
    assert "What is missing" not in page
    assert "Every other model against E" in page


def test_compare_leaves_out_what_is_older(home, tmp_path):
    (fold,) = home.runs(Kind.FOLD, model="A", fold="1x1")
    day = datetime.fromtimestamp(fold.info.start_time / 1000, UTC).date()
    assert compare(CompareRequest(out=tmp_path, since=day)).tables
    with pytest.raises(UserError, match="matches since="):
        compare(CompareRequest(out=tmp_path, since=day + timedelta(days=2)))


def test_every_number_of_the_report_follows_from_the_predictions(home, studied: Comparison):
    """As a reader would, from the folds' ``predictions.parquet`` alone."""
    folder = studied.files[0].parent
    report = pd.read_csv(folder / "metrics.csv").set_index(["model", "metric"])
    for model in "ABDE":
        folds = {
            name: Predictions.of_frame(
                pd.read_parquet(home.artifact(fold_run(home, model, name), "predictions.parquet"))
            )
            for name in ("1x1", "1x2")
        }
        for name, fold in folds.items():
            logged = fold_run(home, model, name).data.metrics
            found = fold_metrics(
                fold.labels, fold.decision, fold.probabilities, fold.classes, fold.threshold
            )
            assert found.items() <= logged.items()
        (arm,) = home.runs(Kind.ARM, model=model)
        intervals_logged = pd.read_csv(home.artifact(arm, "intervals.csv")).set_index("metric")
        for metric, (value, low, high) in intervals(replicates([*folds.values()])).items():
            for column, number in {"mean": value, "ci_low": low, "ci_high": high}.items():
                assert report.loc[(model, metric), column] == pytest.approx(number, rel=1e-5)
                assert intervals_logged.loc[metric, column] == pytest.approx(number, nan_ok=True)


def test_stand_ins_are_marked(home):
    marked = {
        run.data.tags["model"] for run in home.runs(Kind.FOLD) if Tag.STAND_IN in run.data.tags
    }
    assert marked == {"D", "E"}


# --- a fold's run --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", "ABDE")
def test_a_fold_run_says_what_it_is(home, model: str):
    run = fold_run(home, model)
    identity = {
        "dataset": "synthetic",
        "design": DESIGN,
        "model": model,
        "source": {"A": "none", "B": "retinopathy"}.get(model, "imagenet"),
        "finetune": "true" if model in "AE" else "false",
        "backbone": "small_vgg",
        "protocol": "tiny",
        "image_size": "16",
        "repeat": "1",
        "half": "1",
        "fold": "1x1",
        "seed": "0",
    }
    assert identity.items() <= run.data.tags.items()
    assert identity.items() <= run.data.params.items()
    assert run.data.params["svm.shuffles"] == "2"
    assert ("finetune.epochs" in run.data.params) == (model in "AE")
    (arm,) = home.runs(Kind.ARM, model=model)
    assert run.data.tags["mlflow.parentRunId"] == arm.info.run_id


@pytest.mark.parametrize("model", "ABDE")
@pytest.mark.parametrize("fold", ["1x1", "1x2"])
def test_the_predictions_have_the_logged_auc(home, model: str, fold: str):
    run = fold_run(home, model, fold)
    table = pd.read_parquet(home.artifact(run, "predictions.parquet"))
    truth = (table["label"] == "melanoma").to_numpy().astype(int)
    assert auc(truth, table["decision_melanoma"].to_numpy()) == run.data.metrics["auc"]
    assert_allclose(table[[f"probability_{name}" for name in CLASSES]].sum(axis=1), 1)


@pytest.mark.parametrize("model", "AD")
def test_no_group_is_on_both_sides(home, model: str):
    split = pd.read_csv(home.artifact(fold_run(home, model), "split.csv"))
    test = pd.read_parquet(home.artifact(fold_run(home, model), "predictions.parquet"))
    assert split["image_id"].is_unique
    assert split.groupby("group_id")["split"].nunique().max() == 1
    tested = split[split["split"] == "test"]
    assert set(tested["image_id"]) == set(test["image_id"])
    assert set(split["split"]) == {"train", "test"} | ({"validation"} if model == "A" else set())
    assert (split.groupby("split")["label"].nunique() == 2).all()


def test_the_other_half_tests_what_this_one_trains_on(home):
    halves = [
        pd.read_csv(home.artifact(fold_run(home, "A", fold), "split.csv"))
        for fold in ("1x1", "1x2")
    ]
    tested = [set(half.loc[half["split"] == "test", "image_id"]) for half in halves]
    assert tested[0].isdisjoint(tested[1])
    assert tested[0] | tested[1] == set(halves[0]["image_id"])


def test_all_arms_have_the_same_splits(home):
    tested = {
        model: set(
            pd.read_parquet(home.artifact(fold_run(home, model), "predictions.parquet")).image_id
        )
        for model in "ABDE"
    }
    assert all(images == tested["A"] for images in tested.values())


def test_carcinomas_are_left_out_of_this_design(home):
    (folder,) = (home.folder / "cache" / "stores").glob("synthetic-16px-*")
    index = pd.read_parquet(folder / "index.parquet").set_index("image_id")
    split = pd.read_csv(home.artifact(fold_run(home, "A"), "split.csv")).set_index("image_id")
    left_out = index.drop(split.index)
    assert len(left_out) > 0
    assert left_out["diagnosis"].str.contains("carcinoma").all()
    assert (
        (index.loc[split.index, "diagnosis"] == "melanoma") == (split["label"] == "melanoma")
    ).all()


@pytest.mark.parametrize("model", "AE")
def test_the_logged_fold_model_gives_the_logged_probabilities(home, model: str):
    run = fold_run(home, model)
    table = pd.read_parquet(home.artifact(run, "predictions.parquet"))
    images = np.stack(store_images(home)[table["image_id"]].to_list()).astype(np.float32)
    network = keras.models.load_model(home.artifact(run, "model/model.keras"), safe_mode=True)
    ours = np.asarray(network(images, training=False))
    assert_allclose(ours, table[[f"probability_{name}" for name in CLASSES]], atol=1e-4)
    assert run.data.metrics["fold_model_error"] <= 1e-4


@pytest.mark.parametrize("model", "BD")
def test_a_frozen_folds_head_joins_its_source_network(home, model: str):
    run = fold_run(home, model)
    network, head = (
        keras.models.load_model(home.artifact(run_id, name), safe_mode=True)
        for run_id, name in (
            (run.data.tags[Tag.NETWORK_RUN], "network.keras"),
            (run.info.run_id, "model/head.keras"),
        )
    )
    table = pd.read_parquet(home.artifact(run, "predictions.parquet"))
    images = np.stack(store_images(home)[table["image_id"]].to_list()).astype(np.float32)
    ours = np.asarray(compose(network, head)(images, training=False))
    assert_allclose(ours, table[[f"probability_{name}" for name in CLASSES]], atol=1e-4)


@pytest.mark.parametrize("model", "AD")
def test_the_logged_features_are_the_networks(home, model: str):
    run = fold_run(home, model)
    holder = run.data.tags.get(Tag.FEATURES_RUN, run.info.run_id)
    table = pd.read_parquet(home.artifact(holder, "features/features.parquet"))
    split = pd.read_csv(home.artifact(run, "split.csv"))
    if model == "A":
        network = keras.models.load_model(home.artifact(run, "model/model.keras")).get_layer(
            "network"
        )
        assert table["image_id"].tolist() == split["image_id"].tolist()
        assert table["split"].tolist() == split["split"].tolist()
    else:
        network = keras.models.load_model(
            home.artifact(run.data.tags[Tag.NETWORK_RUN], "network.keras")
        )
        assert set(split["image_id"]) < set(table["image_id"])
    images = np.stack(store_images(home)[table["image_id"]].to_list()).astype(np.float32)
    features = np.stack(table["feature"].to_list())
    assert features.dtype == np.float32
    assert_allclose(features, np.asarray(network(images, training=False)), atol=1e-4)


def test_a_fine_tuned_fold_has_its_curves(home):
    run = fold_run(home, "E")
    for name in ("train_loss", "val_loss", "val_auc", "learning_rate"):
        history = home.client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in history] == [1, 2]
    assert run.data.metrics["best_epoch"] in (1, 2)


@pytest.mark.parametrize("model", "AD")
def test_a_fold_has_its_figures_and_costs(home, model: str):
    run = fold_run(home, model)
    assert home.artifact(run, "roc.png").read_bytes().startswith(b"\x89PNG")
    assert run.data.metrics["C"] in (0.1, 10.0)
    assert run.data.metrics["seconds"] > 0
    assert run.data.metrics["peak_memory_mb"] > 50


# --- the other runs ------------------------------------------------------------------------------


@pytest.mark.parametrize("model", "ABDE")
def test_an_arm_sums_its_folds_up(home, model: str):
    (arm,) = home.runs(Kind.ARM, model=model)
    scores = [fold_run(home, model, fold).data.metrics["auc"] for fold in ("1x1", "1x2")]
    assert arm.data.metrics["auc_mean"] == pytest.approx(np.mean(scores))
    assert arm.data.metrics["auc_sd"] == pytest.approx(np.std(scores, ddof=1))
    assert arm.data.metrics["folds"] == 2
    card = home.artifact(arm, "model_card.md").read_text()
    assert all(f"{100 * score:.1f}" in card for score in scores)
    assert ("stand-in" in card) == (model in "DE")
    for name in ("roc.png", "confusion.png", "reliability.png", "decision.png"):
        assert home.artifact(arm, name).read_bytes().startswith(b"\x89PNG")


def test_a_source_on_graded_labels_logs_kappa_on_held_out_images(home):
    (run,) = home.runs(Kind.SOURCE, source="retinopathy")
    assert -1 <= run.data.metrics["held_out_kappa"] <= 1
    assert 0 < run.data.metrics["held_out_auc"] < 1
    assert home.artifact(run, "network.keras").is_file()
    assert home.artifact(run, "curves.png").is_file()


def test_a_data_set_run_counts_its_images(home):
    (run,) = home.runs(Kind.DATASET, dataset="synthetic")
    index = pd.read_csv(home.artifact(run, "index.csv"))
    assert run.data.metrics["images"] == len(index) == 400
    assert run.data.metrics["images_melanoma"] == (index["diagnosis"] == "melanoma").sum()
    assert run.data.metrics["rejected"] == 0
    (entry,) = run.inputs.dataset_inputs
    assert entry.dataset.name == "synthetic"

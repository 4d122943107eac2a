"""What is shared, and what is computed anew."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from lesion_transfer.errors import UserError
from lesion_transfer.stages.folds import evaluate, extract, finetune
from lesion_transfer.stages.requests import EvaluateRequest
from lesion_transfer.study import Design
from lesion_transfer.tracking import Kind, Tag


def arm(world, **values) -> EvaluateRequest:
    """Model A, which needs no source to be trained first."""
    return EvaluateRequest(**world.options(source="none") | values)


def retinas(world, **values) -> EvaluateRequest:
    return arm(world, source="retinopathy", finetune=False, **values)


def described(runs) -> dict[str, tuple]:
    return {run.info.run_id: (run.data.tags, run.data.metrics, run.info.status) for run in runs}


# --- what is shared ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_frozen_source_has_one_feature_extraction_whatever_the_designs(fresh):
    for design in (Design.MELANOMA_VS_BENIGN, Design.MALIGNANT_VS_BENIGN):
        evaluate(retinas(fresh, design=design))
    (features,) = fresh.runs(Kind.FEATURES)
    (source,) = fresh.runs(Kind.SOURCE)
    folds = fresh.runs(Kind.FOLD)
    assert len(folds) == 4
    for fold in folds:
        assert fold.data.tags[Tag.FEATURES_RUN] == features.info.run_id
        assert fold.data.tags[Tag.NETWORK_RUN] == source.info.run_id
    table = pd.read_parquet(fresh.artifact(features, "features/features.parquet"))
    assert len(table) == 400


@pytest.mark.slow
def test_another_svm_grid_uses_the_networks_and_features_that_are_there(fresh):
    first = evaluate(arm(fresh))
    before = described(fresh.runs())
    grid = fresh.protocol("tiny_grid", lambda text: text.replace("[0.1, 10.0]", "[0.01, 1.0]"))
    second = evaluate(arm(fresh, protocol=grid))
    for old, new in zip(first.folds, second.folds, strict=True):
        run = fresh.client.get_run(new.run_id)
        assert new.run_id != old.run_id
        assert not new.reused
        assert run.data.tags[Tag.FEATURES_RUN] == old.run_id
        assert run.data.tags[Tag.NETWORK_RUN] == old.run_id
        assert fresh.epochs_logged(new.run_id) == 0
        assert fresh.epochs_logged(old.run_id) == 2
        assert run.data.metrics["C"] in (0.01, 1.0)
        assert fresh.artifact(run, "model/model.keras").is_file()
    after = described(fresh.runs())
    assert {key: after[key] for key in before} == before


@pytest.mark.slow
def test_a_networks_own_softmax_can_be_the_head(fresh):
    """From a network that is there, and from one trained now: the same, but for C."""
    svm = evaluate(arm(fresh))
    softmax = fresh.protocol("tiny_softmax", lambda text: text.replace("2}", "2, head: softmax}"))
    later = evaluate(arm(fresh, protocol=softmax))
    anew = evaluate(arm(fresh.enter(f"{fresh.experiment}_anew"), protocol=softmax))
    fresh.enter(fresh.experiment)
    for old, reused, trained in zip(svm.folds, later.folds, anew.folds, strict=True):
        assert fresh.epochs_logged(reused.run_id) == 0
        assert fresh.epochs_logged(trained.run_id) == 2
        found, again, others = (
            pd.read_parquet(fresh.artifact(fold.run_id, "predictions.parquet"))
            for fold in (reused, trained, old)
        )
        pd.testing.assert_frame_equal(found, again)
        assert found["decision_melanoma"].corr(others["decision_melanoma"]) < 0.9999
        classifier = pd.read_parquet(fresh.artifact(reused.run_id, "model/classifier.parquet"))
        table = pd.read_parquet(fresh.artifact(old.run_id, "features/features.parquet"))
        features = np.stack(table.set_index("image_id").loc[found["image_id"], "feature"])
        logits = features @ classifier.to_numpy()[:-1] + classifier.to_numpy()[-1]
        assert_allclose(found["decision_melanoma"], logits[:, 1] - logits[:, 0], atol=1e-4)
        metrics = fresh.client.get_run(reused.run_id).data.metrics
        assert metrics["fold_model_error"] < 1e-4
        assert "C" not in metrics
    artifacts = fresh.client.get_run(svm.folds[0].run_id).info.artifact_uri
    (Path(artifacts.removeprefix("file://")) / "model/classifier.parquet").unlink()
    other = fresh.protocol("tiny_other", lambda text: text.replace("2}", "2, head: softmax}"))
    with pytest.raises(UserError, match="holds the network of fold 1x1 without the classifier"):
        evaluate(arm(fresh, protocol=other))


@pytest.mark.slow
def test_a_frozen_network_has_no_softmax_and_gets_an_svm(fresh):
    softmax = fresh.protocol("tiny_softmax", lambda text: text.replace("2}", "2, head: softmax}"))
    fold = evaluate(retinas(fresh, protocol=softmax)).folds[0]
    run = fresh.client.get_run(fold.run_id)
    assert run.data.params["svm.head"] == "svm"
    assert "C" in run.data.metrics
    assert fold.auc == evaluate(retinas(fresh)).folds[0].auc


@pytest.mark.slow
def test_another_seed_shares_nothing_but_the_data(fresh):
    first = evaluate(arm(fresh, folds="1x1"))
    second = evaluate(arm(fresh, folds="1x1", seed=1))
    assert first.run_id != second.run_id
    assert fresh.epochs_logged(second.folds[0].run_id) == 2
    assert len(fresh.runs(Kind.DATASET)) == 1


@pytest.mark.slow
def test_folds_can_come_one_after_another(fresh):
    one = evaluate(arm(fresh, folds="1x1"))
    (run,) = fresh.runs(Kind.ARM, complete=False)
    assert run.data.tags[Tag.STATE] == "started"
    assert run.data.metrics["folds"] == 1
    both = evaluate(arm(fresh))
    assert both.run_id == one.run_id
    assert [fold.reused for fold in both.folds] == [True, False]
    (run,) = fresh.runs(Kind.ARM)
    assert run.data.metrics["folds"] == 2


@pytest.mark.slow
def test_an_evaluation_again_is_only_looked_up(fresh):
    first = evaluate(arm(fresh))
    before = described(fresh.runs(complete=False))
    second = evaluate(arm(fresh))
    assert all(fold.reused for fold in second.folds)
    assert (second.run_id, second.summary) == (first.run_id, first.summary)
    assert described(fresh.runs(complete=False)) == before


# --- one command after another -------------------------------------------------------------------


@pytest.mark.slow
def test_finetune_extract_and_evaluate_fill_the_same_runs(fresh):
    tuned = finetune(arm(fresh))
    ids = [fold.run_id for fold in tuned.folds]
    assert tuned.summary is None
    assert [fresh.epochs_logged(run_id) for run_id in ids] == [2, 2]
    assert not fresh.runs(Kind.FOLD)  # nothing is complete yet
    networks = [fresh.artifact(run_id, "model/network.keras").read_bytes() for run_id in ids]

    extracted = extract(arm(fresh))
    assert [fold.run_id for fold in extracted.folds] == ids
    features = [fresh.artifact(run_id, "features/features.parquet").read_bytes() for run_id in ids]
    assert not fresh.runs(Kind.FOLD)

    evaluated = evaluate(arm(fresh))
    assert [fold.run_id for fold in evaluated.folds] == ids
    assert [fresh.epochs_logged(run_id) for run_id in ids] == [2, 2]  # trained once
    assert len(fresh.runs(Kind.FOLD, complete=False)) == len(fresh.runs(Kind.FOLD)) == 2
    assert len(fresh.runs(Kind.ARM)) == 1
    for run_id, network, table in zip(ids, networks, features, strict=True):
        assert fresh.artifact(run_id, "model/network.keras").read_bytes() == network
        assert fresh.artifact(run_id, "features/features.parquet").read_bytes() == table
        assert fresh.artifact(run_id, "model/model.keras").is_file()

    straight = fresh.enter("straight evaluation")
    at_once = evaluate(arm(straight))
    assert [fold.auc for fold in at_once.folds] == [fold.auc for fold in evaluated.folds]


@pytest.mark.slow
def test_commands_after_the_last_one_change_nothing(fresh):
    evaluated = evaluate(arm(fresh, folds="1x1"))
    before = described(fresh.runs(Kind.FOLD, complete=False))
    for command in (finetune, extract):
        done = command(arm(fresh, folds="1x1"))
        assert [fold.run_id for fold in done.folds] == [evaluated.folds[0].run_id]
    assert described(fresh.runs(Kind.FOLD, complete=False)) == before


@pytest.mark.slow
def test_extracting_from_a_frozen_source_makes_the_one_extraction(fresh):
    extract(retinas(fresh))
    assert len(fresh.runs(Kind.FEATURES)) == 1
    before = described(fresh.runs(Kind.FEATURES))
    evaluate(retinas(fresh))
    assert described(fresh.runs(Kind.FEATURES)) == before


def test_a_frozen_network_cannot_be_fine_tuned(fresh):
    with pytest.raises(UserError, match="finetune=false leaves nothing to fine-tune") as raised:
        finetune(arm(fresh, finetune=False))
    assert "extract or evaluate" in raised.value.next_step
    assert not fresh.runs(Kind.FOLD, complete=False)


# --- force ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_network_trained_anew_is_not_said_to_be_an_earlier_runs(fresh):
    said = [finetune(arm(fresh, folds="1x1", force=force)).folds[0].reused for force in (0, 0, 1)]
    assert said == [False, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("make", [arm, retinas])
def test_force_computes_anew_and_leaves_one_complete_run_per_key(fresh, make):
    first = evaluate(make(fresh))
    before = {run.data.tags[Tag.KEY]: run.info.run_id for run in fresh.runs()}
    forced = evaluate(make(fresh, force=True))
    after = [(run.data.tags[Tag.KEY], run.info.run_id) for run in fresh.runs()]
    assert len(after) == len(before)
    assert dict(after).keys() == before.keys()
    assert len(fresh.runs(complete=False)) == len(after)
    for old, new in zip(first.folds, forced.folds, strict=True):
        assert new.run_id != old.run_id
        assert not new.reused
        assert new.auc == old.auc
    renewed = [run for run in fresh.runs() if before[run.data.tags[Tag.KEY]] != run.info.run_id]
    kinds = {run.data.tags[Tag.KIND] for run in renewed}
    expected = {"dataset", "fold"} | ({"source", "features"} if make is retinas else set())
    assert expected <= kinds


@pytest.mark.slow
def test_nothing_refers_to_a_run_that_force_has_removed(fresh):
    evaluate(retinas(fresh, folds="1x1"))
    evaluate(retinas(fresh, folds="1x1", design=Design.MALIGNANT_VS_BENIGN))
    evaluate(retinas(fresh, folds="1x1", force=True))
    active = {run.info.run_id for run in fresh.runs()}
    for fold in fresh.runs(Kind.FOLD):
        assert fold.data.tags[Tag.FEATURES_RUN] in active, fold.data.tags["design"]
        assert fold.data.tags[Tag.NETWORK_RUN] in active, fold.data.tags["design"]


# --- a native design -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_native_design_of_five_levels_is_evaluated(fresh):
    done = evaluate(
        arm(fresh, target="synthetic_retinas", design=Design.NATIVE, folds="1x1", epochs=1)
    )
    run = fresh.client.get_run(done.folds[0].run_id)
    table = pd.read_parquet(fresh.artifact(run, "predictions.parquet"))
    classes = [name for name in table.columns if name.startswith("probability_")]
    assert len(classes) == table["label"].nunique() > 2
    assert 0 < done.folds[0].auc <= 1

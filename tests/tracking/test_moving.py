"""The run that `mlflow run` hands over, and what moves into it."""

import socket

import pandas as pd
import pytest
from mlflow import MlflowClient
from tracked import dead_process, left_by, stored_runs, unit

from lesion_transfer.errors import UserError
from lesion_transfer.tracking import Tag, Tracker


@pytest.fixture
def handed(tracker: Tracker, client: MlflowClient) -> str:
    run_id = client.create_run(tracker.experiment_id).info.run_id
    client.log_param(run_id, "folds", "1x1")
    client.log_param(run_id, "design", "as typed")
    return run_id


@pytest.fixture
def later(environment: dict[str, str], handed: str) -> Tracker:
    """The tracker of a command that `mlflow run` has started."""
    return Tracker(environment | {"MLFLOW_RUN_ID": handed})


def test_the_handed_over_run_is_adopted_with_its_params(later: Tracker, handed: str):
    with later.open(unit("first")) as other:
        assert other.id != handed
    with later.open(unit(identity={"design": "native", "fold": "x"}), adopt=True) as run:
        assert run.id == handed
        run.complete()
    found = later.find("k")
    assert found.id == handed
    assert found.params == {"folds": "1x1", "design": "as typed", "fold": "x"}
    assert found.tags["design"] == "native"
    assert found.tags["mlflow.runName"] == "run k"


def test_it_is_adopted_once(later: Tracker, handed: str):
    with later.open(unit("a"), adopt=True) as first, later.open(unit("b"), adopt=True) as second:
        assert first.id == handed
        assert second.id != handed


def test_a_result_that_is_there_moves_into_the_handed_over_run(
    tracker: Tracker, later: Tracker, client: MlflowClient, handed: str
):
    frame = pd.DataFrame({"a": [1]})
    with tracker.open(unit(identity={"design": "native", "fold": "x"})) as old:
        for step in (1, 2, 3):
            old.metrics({"loss": 1 / step, "auc": step}, step=step)
        old.text("hello", "deep/er/note.txt")
        old.dataset(frame, "data", "digest", "somewhere")
        old.complete()
    with tracker.open(unit("child"), old.id) as child:
        child.complete()
    assert later.find("k").id == old.id  # as long as the run handed over is not asked for
    found = later.find("k", adopt=True)
    assert found.id == handed
    assert found.params == {"folds": "1x1", "design": "as typed", "fold": "x"}
    assert found.tags["design"] == "native"
    assert found.tags[Tag.STATE] == "complete"
    for name, values in (("loss", [1.0, 1 / 2, 1 / 3]), ("auc", [1.0, 2.0, 3.0])):
        history = client.get_metric_history(handed, name)
        assert [(m.step, m.value) for m in history] == list(enumerate(values, 1))
    assert later.artifact(handed, "deep/er/note.txt").read_text() == "hello"
    assert len(client.get_run(handed).inputs.dataset_inputs) == 1
    assert {r.info.run_id for r in stored_runs(tracker, client)} == {handed, child.id}
    assert later.find("child").tags["mlflow.parentRunId"] == handed
    assert later.find("k", adopt=True).id == handed  # and nothing moves twice


def test_what_refers_to_a_run_follows_its_move(tracker: Tracker, later: Tracker, handed: str):
    references = (Tag.NETWORK_RUN, Tag.FEATURES_RUN, Tag.MODEL_RUN)
    with tracker.open(unit()) as network:
        network.complete()
    with tracker.open(unit("user")) as user:
        user.tags(dict.fromkeys(references, network.id))
        user.complete()
    assert later.find("k", adopt=True).id == handed
    tags = later.find("user").tags
    assert [tags[reference] for reference in references] == [handed] * len(references)


def test_a_long_history_moves_too(
    tracker: Tracker, later: Tracker, client: MlflowClient, handed: str
):
    with tracker.open(unit(params={f"p{number}": "x" for number in range(150)})) as old:
        for step in range(1500):
            old.metrics({"loss": step}, step=step)
        old.complete()
    assert later.find("k", adopt=True).id == handed
    assert len(client.get_metric_history(handed, "loss")) == 1500
    assert len(later.find("k").params) == 152


def test_a_run_to_continue_is_continued_in_the_handed_over_one(
    tracker: Tracker, later: Tracker, client: MlflowClient, handed: str
):
    run_id = left_by(tracker, client, f"{socket.gethostname()}/{dead_process()}")
    with later.open(unit(), adopt=True) as run:
        assert run.id == handed
        assert later.find_part(Tag.NETWORK_KEY, "kept").id == handed
        run.complete()
    assert run_id not in {r.info.run_id for r in stored_runs(tracker, client)}


def test_nothing_there_leaves_the_handed_over_run_waiting(later: Tracker, handed: str):
    assert later.find("k", adopt=True) is None
    with later.open(unit(), adopt=True) as run:
        assert run.id == handed


def test_why_a_command_failed_is_in_the_run_it_was_given(
    later: Tracker, client: MlflowClient, handed: str
):
    later.record_failure(UserError("this is wrong", next_step="do that"))
    tags = client.get_run(handed).data.tags
    assert tags[Tag.ERROR] == "this is wrong\nNext step: do that"
    assert "this is wrong" in tags["mlflow.note.content"]
    assert later.find("k") is None

"""What a user gets wrong: addresses of runs, models, servers and experiments."""

import pytest
from mlflow import MlflowClient
from tracked import unit

from lesion_transfer.errors import UserError
from lesion_transfer.tracking import Tracker


def test_an_artifact_that_is_not_there_is_a_user_error(tracker: Tracker):
    with tracker.open(unit()) as run:
        pass
    with pytest.raises(UserError, match=rf"artifact gone\.txt of run {run.id}") as raised:
        tracker.artifact(run.id, "gone.txt")
    assert "force=true" in raised.value.next_step


@pytest.mark.parametrize("run_id", ["0" * 32, "nonsense"])
def test_an_artifact_of_no_run_is_a_user_error(tracker: Tracker, run_id: str):
    with pytest.raises(UserError, match=f"artifact a.txt of run {run_id}"):
        tracker.artifact(run_id, "a.txt")


@pytest.mark.parametrize(
    "uri",
    [
        "models:/nothing@champion",
        "models:/nothing/1",
        "models:/",
        f"runs:/{'0' * 32}/model.keras",
        "runs:/",
    ],
)
def test_a_download_of_nothing_is_a_user_error(tracker: Tracker, uri: str):
    with pytest.raises(UserError) as raised:
        tracker.download(uri)
    assert uri in raised.value.problem
    assert "runs:/<run id>/<artifact>" in raised.value.expected


@pytest.mark.timeout(60)
@pytest.mark.parametrize("uri", ["nonsense://x", "http://127.0.0.1:9"])
def test_a_server_that_cannot_be_used_is_a_user_error(uri: str, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"the tracking server .* cannot be used") as raised:
        Tracker({"MLFLOW_TRACKING_URI": uri})
    assert uri in raised.value.problem
    assert "MLFLOW_TRACKING_URI" in raised.value.next_step


@pytest.mark.parametrize("wrong", ["missing", "deleted"])
def test_an_experiment_that_cannot_be_used_is_a_user_error(
    environment: dict[str, str], client: MlflowClient, wrong: str
):
    if wrong == "missing":
        environment |= {"MLFLOW_EXPERIMENT_ID": "987654"}
    else:
        client.delete_experiment(client.create_experiment(environment["MLFLOW_EXPERIMENT_NAME"]))
    with pytest.raises(UserError), Tracker(environment).open(unit()):
        pass

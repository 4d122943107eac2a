# ruff: noqa: E402
from lesion_transfer.quiet import quiet_start

quiet_start()  # and no telemetry: the tests use no network

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lesion_transfer.tracking import Tracker


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a tracking database and its artifacts; each test has its own experiment."""
    folder = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # artifacts go to ./mlruns
        MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
        yield folder


@pytest.fixture
def environment(server: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": f"sqlite:///{server}/mlflow.db",
        "MLFLOW_EXPERIMENT_NAME": request.node.name,
    }


@pytest.fixture
def tracker(environment: dict[str, str], server: Path, monkeypatch) -> Tracker:
    monkeypatch.chdir(server)
    return Tracker(environment)


@pytest.fixture
def client(environment: dict[str, str]) -> MlflowClient:
    return MlflowClient(environment["MLFLOW_TRACKING_URI"])

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from lesion_transfer.tracking import Tag, Tracker
from lesion_transfer.tracking.reading import intact

COUNT = 12


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tracker, dict[str, bool]]:
    """Runs of an experiment, and whether each is active and complete."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('server')}/mlflow.db"
    tracker, client = Tracker({"MLFLOW_TRACKING_URI": uri}), MlflowClient(uri)
    states: dict[str, bool] = {}
    for number in range(COUNT):
        state = "started" if number % 4 == 3 else "complete"
        run_id = client.create_run(tracker.experiment_id, tags={Tag.STATE: state}).info.run_id
        if number % 4 == 2:
            client.delete_run(run_id)
        states[run_id] = number % 4 < 2
    return tracker, states | {"0" * 32: False}


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    picks=st.lists(st.lists(st.integers(0, COUNT), max_size=4, unique=True), max_size=8),
    size=st.integers(1, 6),
)
def test_a_group_is_intact_where_all_its_runs_are(
    runs, monkeypatch, picks: list[list[int]], size: int
):
    tracker, states = runs
    ids = list(states)
    groups: Sequence[list[str]] = [[ids[number] for number in group] for group in picks]
    monkeypatch.setattr("lesion_transfer.tracking.reading.IDS_PER_REQUEST", size)
    expected = [all(states[run_id] for run_id in group) for group in groups]
    assert tracker.intact(groups) == expected


def test_runs_of_another_experiment_do_not_count(runs):
    tracker, states = runs
    client = MlflowClient(tracker.uri)
    good = [run_id for run_id, is_good in states.items() if is_good]
    assert tracker.intact([good]) == [True]
    other = client.create_experiment("other")
    assert intact(client, other, [good]) == [False]


@pytest.mark.slow
def test_a_server_answers_as_its_database_does(runs, tmp_path):
    tracker, states = runs
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--backend-store-uri", tracker.uri],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with suppress(requests.ConnectionError):
                requests.get(f"{address}/health", timeout=5)
                break
            time.sleep(0.1)
        served = Tracker({"MLFLOW_TRACKING_URI": address})
        groups = [[run_id] for run_id in states] + [[r for r, good in states.items() if good]]
        assert served.intact(groups) == [*states.values(), True]
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # the group is this server's own
        process.wait()

"""What the tests of a tracker look at: its units, runs and artifacts."""

import subprocess
import sys
from pathlib import Path

from mlflow import MlflowClient

from lesion_transfer.tracking import Kind, Tag, Tracker, Unit


def unit(key: str = "k", kind: Kind = Kind.FEATURES, **values) -> Unit:
    return Unit(kind=kind, key=key, name=f"run {key}", description="what it is", **values)


def stored_runs(tracker: Tracker, client: MlflowClient) -> list:
    return list(client.search_runs([tracker.experiment_id]))


def artifact_folder(client: MlflowClient, run_id: str) -> Path:
    return Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://"))


def dead_process() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def left_by(tracker: Tracker, client: MlflowClient, owner: str) -> str:
    with tracker.open(unit()) as run:
        run.tags({Tag.NETWORK_KEY: "kept"})
    client.set_tag(run.id, Tag.OWNER, owner)
    client.set_terminated(run.id, "KILLED")
    return run.id

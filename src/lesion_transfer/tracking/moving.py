"""Moving all that a run holds into another run."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE

KEPT_MLFLOW_TAGS = (MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE)
"""MLflow's other tags say who started a run and from where: each run keeps its own."""


def move_run(client: MlflowClient, source: str, target: str) -> None:
    """Copy params, metrics with their history, inputs, artifacts and, last, tags to ``target``.

    Params that the target has already stay as they are: MLflow does not let them change.
    """
    old, new = client.get_run(source), client.get_run(target)
    params = [
        Param(name, value) for name, value in old.data.params.items() if name not in new.data.params
    ]
    client.log_batch(target, params=params)
    for name in old.data.metrics:
        client.log_batch(target, metrics=client.get_metric_history(source, name))
    if old.inputs is not None and old.inputs.dataset_inputs:
        client.log_inputs(target, old.inputs.dataset_inputs)
    if client.list_artifacts(source):
        folder = download_artifacts(run_id=source, tracking_uri=client.tracking_uri)
        client.log_artifacts(target, folder)
    tags = [
        RunTag(name, value)
        for name, value in old.data.tags.items()
        if not name.startswith("mlflow.") or name in KEPT_MLFLOW_TAGS
    ]
    client.log_batch(target, tags=tags)

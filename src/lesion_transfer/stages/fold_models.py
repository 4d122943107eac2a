"""A fold's model, found again by its name: the network, its run, and how it sees pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesion_transfer.data.store import MANIFEST
from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import load_network
from lesion_transfer.models.files import file_digest
from lesion_transfer.models.fold_model import compose
from lesion_transfer.protocols import Preparation
from lesion_transfer.stages.evaluate import HEAD_MODEL, PREDICTIONS_FILE, read_predictions
from lesion_transfer.stages.finetune import FOLD_MODEL
from lesion_transfer.stages.leaks import data_run
from lesion_transfer.stages.model_files import model_file
from lesion_transfer.stages.pretrain import NETWORK_FILE
from lesion_transfer.stages.workspace import Workspace
from lesion_transfer.study import is_stored
from lesion_transfer.tracking import COMPLETE, Kind, StoredRun, Tag

EXPECTED = "models:/<name>@<alias>, models:/<name>/<version>, or runs:/<run id> of a fold"


@dataclass(frozen=True, slots=True)
class FoldModel:
    """A fold's model as it was logged or registered.

    Attributes
    ----------
    run
        Of the fold.
    network
        RGB 0–255, any size → (batch, classes) probabilities.
    classes, threshold
        As :class:`~lesion_transfer.evaluation.predictions.Predictions` has them.
    content
        Digest of the files it was read from.
    """

    run: StoredRun
    network: Any
    classes: tuple[str, ...]
    threshold: float
    content: str


def fold_model(ws: Workspace, uri: str) -> FoldModel:
    """Return the model that ``models:/…`` or ``runs:/…`` names.

    Of a frozen arm, whose folds log their heads alone, the head is joined to its network.

    Raises
    ------
    UserError
        It is no model of a complete fold.
    """
    if not is_stored(uri):
        raise UserError(f"model={uri} is not on the tracking server", expected=EXPECTED)
    run = ws.tracker.run_of_model(uri)
    if run.tags.get(Tag.KIND) != Kind.FOLD or run.tags.get(Tag.STATE) != COMPLETE:
        raise UserError(f"model={uri} is not of a complete fold: run {run.id}", expected=EXPECTED)
    file = _file(ws, uri, run)
    network, content = load_network(file), file_digest(file, "model", EXPECTED)
    if len(network.input_shape) == 2:  # a head: features → probabilities
        if Tag.NETWORK_RUN not in run.tags:
            raise UserError(
                f"model={uri} is the head of a network that was not logged, for its weights are "
                "random",
                expected="a model with a trained network",
            )
        below = ws.tracker.artifact(run.tags[Tag.NETWORK_RUN], NETWORK_FILE)
        views = int(run.params.get("extraction.views", 1))  # not logged while it is at its default
        network = compose(load_network(below), network, views)
        content += file_digest(below, "model", EXPECTED) + f" {views} views" * (views > 1)
    found = read_predictions(ws.tracker.artifact(run.id, PREDICTIONS_FILE))
    return FoldModel(run, network, found.classes, found.threshold, content)


def _file(ws: Workspace, uri: str, run: StoredRun) -> Path:
    """Return the Keras file of a model; of a run's name alone, the one that folds log."""
    if uri.rstrip("/") != f"runs:/{run.id}":
        return model_file(ws, uri, "model")
    name = FOLD_MODEL if ws.tracker.has_artifact(run.id, FOLD_MODEL) else HEAD_MODEL
    return ws.tracker.artifact(run.id, name)


def preparation(ws: Workspace, model: FoldModel) -> Preparation:
    """Return how the pictures were prepared that the model was trained on: others need the same.

    Raises
    ------
    UserError
        The run of its data set is gone.
    """
    manifest = ws.tracker.artifact(data_run(ws, model.run.tags[Tag.DATA_DIGEST]).id, MANIFEST)
    prepared = json.loads(manifest.read_text(encoding="utf-8"))["preparation"]
    steps = prepared["steps"]
    return Preparation.model_validate({"size": prepared["size"], "lesion": steps, "retina": steps})

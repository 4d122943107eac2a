"""Fine-tune: each fold's network, trained on its training half."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import load_network
from lesion_transfer.stages.arm import PlannedArm
from lesion_transfer.stages.workspace import Workspace
from lesion_transfer.study import Fold
from lesion_transfer.tracking import Run, Tag
from lesion_transfer.training.batches import Examples
from lesion_transfer.training.checkpoint import Checkpoint
from lesion_transfer.training.loop import Trainer

FOLD_NETWORK = "model/network.keras"
FOLD_MODEL = "model/model.keras"
CLASSIFIER_FILE = "model/classifier.parquet"
"""The layer a network was trained under: a column a class, a row a feature, the bias last."""


def fold_network(ws: Workspace, planned: PlannedArm, fold: Fold, run: Run) -> Any:
    """Return the fold's fine-tuned network, from an earlier run or trained now.

    The run then holds the classifier that it was trained under.
    """
    key = planned.network_key(fold)
    known = ws.tracker.find_part(Tag.NETWORK_KEY, key) if ws.reusable(key) else None
    if known is not None:
        if known.id != run.id:
            run.tags({Tag.NETWORK_RUN: known.id})
            if ws.tracker.has_artifact(known.id, CLASSIFIER_FILE):
                run.table(_stored_classifier(ws, known.id), CLASSIFIER_FILE)
        return stored_network(ws, known.id)
    trainer, initial = _trainer(ws, planned)
    split = planned.fold_rows(fold)
    images, rows, labels = planned.store.images, planned.rows, planned.labels
    epochs = planned.protocol.finetune.epochs

    def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
        run.metrics(metrics, step=epoch)
        ws.progress.now(f"{run.unit.name} · epoch {epoch}/{epochs}")

    checkpoint = Checkpoint(ws.checkpoint(key), before_saving=run.flush)
    fit = trainer.fit(
        initial,
        Examples(images, rows[split.kept], labels[split.kept]),
        Examples(images, rows[split.validation], labels[split.validation]),
        planned.protocol.seed + 1000 * fold.repeat + fold.half,
        on_epoch,
        checkpoint,
    )
    run.metrics({"best_epoch": fit.best_epoch})
    classifier = pd.DataFrame(
        np.vstack(trainer.classifier.get_weights()), columns=[*planned.classes]
    )
    run.table(classifier, CLASSIFIER_FILE)
    return trainer.network


def fold_classifier(
    ws: Workspace, planned: PlannedArm, fold: Fold, run: Run
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return kernel (d, K) and bias (K,) of the layer that the fold's network was trained under.

    Raises
    ------
    UserError
        The network is an earlier run's, which has not logged them.
    """
    holder = run.id
    if not ws.tracker.has_artifact(holder, CLASSIFIER_FILE):
        known = ws.tracker.find_part(Tag.NETWORK_KEY, planned.network_key(fold))
        holder = holder if known is None else known.id
        if not ws.tracker.has_artifact(holder, CLASSIFIER_FILE):
            raise UserError(
                f"svm.head=softmax: run {holder} holds the network of fold {fold} without the "
                "classifier it was trained under",
                next_step="train it anew with force=true, or use svm.head: svm",
            )
    table = _stored_classifier(ws, holder)[[*planned.classes]].to_numpy(np.float32)
    return table[:-1], table[-1]


def _stored_classifier(ws: Workspace, run_id: str) -> pd.DataFrame:
    return pd.read_parquet(ws.tracker.artifact(run_id, CLASSIFIER_FILE))


def log_network(ws: Workspace, planned: PlannedArm, fold: Fold, run: Run, network: Any) -> None:
    """Log the network by itself: the result where a fold goes no further than this."""
    if not ws.tracker.has_artifact(run.id, FOLD_NETWORK):
        save_model(ws, run, network, FOLD_NETWORK)
    mark_network(ws, planned, fold, run)


def mark_network(ws: Workspace, planned: PlannedArm, fold: Fold, run: Run) -> None:
    """Let other runs find the network of this one; its training needs no checkpoint any more."""
    key = planned.network_key(fold)
    run.flush()
    run.tags({Tag.NETWORK_KEY: key})
    Checkpoint(ws.checkpoint(key)).remove()


def save_model(ws: Workspace, run: Run, model: Any, name: str) -> None:
    """Log a Keras model as the artifact ``name``."""
    path = Path(name)
    with ws.scratch() as folder:
        model.save(folder / path.name)
        run.file(folder / path.name, str(path.parent))


def stored_network(ws: Workspace, run_id: str) -> Any:
    """Read a fold's network: by itself, or out of its fold model."""
    if ws.tracker.has_artifact(run_id, FOLD_MODEL):
        return load_network(ws.tracker.artifact(run_id, FOLD_MODEL)).get_layer("network")
    return load_network(ws.tracker.artifact(run_id, FOLD_NETWORK))


def _trainer(ws: Workspace, planned: PlannedArm) -> tuple[Trainer, Any]:
    """Return a compiled trainer and the source's weights, shared by the folds of an arm.

    Not by sources: a network made for ImageNet weights may hold constants that one made without has
    not (its input normalisation), and weights alone do not bring them along.
    """
    spec, classes = planned.training, len(planned.classes)

    def make() -> tuple[Trainer, Any]:
        network = planned.source.build()
        initial = network.get_weights()
        return Trainer(network, classes, spec), initial

    made: tuple[Trainer, Any] = ws.trainers.get(
        f"{planned.source.key}/{classes}/{spec.digest()}", make
    )
    return made

"""Fine-tune: each fold's network, trained on its training half."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def fold_network(ws: Workspace, planned: PlannedArm, fold: Fold, run: Run) -> Any:
    """Return the fold's fine-tuned network, from an earlier run or trained now."""
    key = planned.network_key(fold)
    known = ws.tracker.find_part(Tag.NETWORK_KEY, key) if ws.reusable(key) else None
    if known is not None:
        if known.id != run.id:
            run.tags({Tag.NETWORK_RUN: known.id})
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
    checkpoint.remove()
    run.metrics({"best_epoch": fit.best_epoch})
    return trainer.network


def log_network(ws: Workspace, planned: PlannedArm, fold: Fold, run: Run, network: Any) -> None:
    """Log the network by itself: the result where a fold goes no further than this."""
    if not ws.tracker.has_artifact(run.id, FOLD_NETWORK):
        save_model(ws, run, network, FOLD_NETWORK)
    run.flush()
    run.tags({Tag.NETWORK_KEY: planned.network_key(fold)})


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
    """Return a compiled trainer and the source's weights, shared by the folds of an arm."""
    spec, classes = planned.training, len(planned.classes)
    shape = f"{planned.backbone.identity}/{planned.store.size}/{classes}/{spec.digest()}"
    trainer = ws.trainers.get(shape, lambda: Trainer(planned.source.build(), classes, spec))
    initial = ws.initial.get(planned.source.key, lambda: planned.source.build().get_weights())
    return trainer, initial

"""Extract: a network's features, once for a frozen source, once a fold for a fine-tuned one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lesion_transfer.evaluation.svm import gram_matrix
from lesion_transfer.models.views import viewed
from lesion_transfer.stages.arm import PlannedArm
from lesion_transfer.stages.features import FEATURES_FILE, read_features, to_table
from lesion_transfer.stages.finetune import fold_network
from lesion_transfer.stages.workspace import Workspace
from lesion_transfer.study import Fold
from lesion_transfer.tracking import Kind, Run, Tag, Unit
from lesion_transfer.training.predict import predict

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FoldFeatures:
    """Features of the design's images, in the arm's order.

    Attributes
    ----------
    features
        (n, d) float32.
    gram
        (n, n) inner products of the L2-normalised rows, where folds share them; else None.
    network
        The network they come from, where they have just been extracted: their run is to be marked
        with their key once it holds the network too. Else None.
    """

    features: Matrix
    gram: npt.NDArray[np.float64] | None = None
    network: Any | None = None


def fold_features(ws: Workspace, planned: PlannedArm, fold: Fold, run: Run) -> FoldFeatures:
    """Return a fold's features, from an earlier run or extracted now, and log where they are."""
    if not planned.arm.model.finetune:
        return _frozen(ws, planned, fold, run)
    key = planned.features_key(fold)
    known = ws.tracker.find_part(Tag.FEATURES_KEY, key) if ws.reusable(key) else None
    if known is not None:
        if known.id != run.id:
            run.tags({Tag.FEATURES_RUN: known.id, Tag.NETWORK_RUN: known.id})
        ids, features = read_features(ws.tracker.artifact(known.id, FEATURES_FILE))
        return FoldFeatures(_in_order(ids, features, planned))
    network = fold_network(ws, planned, fold, run)
    ws.progress.now(f"{run.unit.name} · features")
    views = planned.protocol.extraction.views
    features = predict(viewed(network, views), planned.store.images, planned.rows)
    split = planned.fold_rows(fold)
    parts = np.full(len(planned.rows), "test", object)
    parts[split.kept], parts[split.validation] = "train", "validation"
    labels = np.array(planned.classes, object)[planned.labels]
    run.table(to_table(planned.ids, parts, labels, features), FEATURES_FILE)
    return FoldFeatures(features, network=network)


def mark_features(planned: PlannedArm, fold: Fold, run: Run) -> None:
    """Let other runs find the features and the network of this one, now that it holds both."""
    run.flush()
    run.tags(
        {
            Tag.NETWORK_KEY.value: planned.network_key(fold),
            Tag.FEATURES_KEY.value: planned.features_key(fold),
        }
    )


def _frozen(ws: Workspace, planned: PlannedArm, fold: Fold, run: Run) -> FoldFeatures:
    """One extraction for all images serves every fold and design of a frozen source."""
    key = planned.features_key(fold)
    run_id, features, gram = ws.features.get(key, lambda: _frozen_run(ws, planned, key))
    tags: dict[str, str] = {Tag.FEATURES_RUN: run_id}
    if planned.source.run_id:
        tags[Tag.NETWORK_RUN] = planned.source.run_id
    run.tags(tags)
    rows = planned.rows
    return FoldFeatures(features[rows], gram[np.ix_(rows, rows)])


def _frozen_run(
    ws: Workspace, planned: PlannedArm, key: str
) -> tuple[str, Matrix, npt.NDArray[np.float64]]:
    store = planned.store
    known = ws.tracker.find(key) if ws.reusable(key) else None
    if known is not None:
        ids, features = read_features(ws.tracker.artifact(known.id, FEATURES_FILE))
        if ids != store.index["image_id"].tolist():
            raise ValueError(f"the features of run {known.id} are of other images than the store")
        return known.id, features, gram_matrix(features)
    names = ("dataset", "source", "backbone", "image_size", "seed")
    unit = Unit(
        kind=Kind.FEATURES,
        key=key,
        name=f"features · {planned.arm.model.source} · {planned.arm.dataset}",
        description=f"Features of all {len(store.index)} images of {planned.arm.dataset} by the "
        f"frozen {planned.arm.backbone} from source {planned.arm.model.source}; every fold and "
        "design of the frozen model uses them.",
        identity={name: planned.identity[name] for name in names},
        tags={Tag.DATA_DIGEST: store.digest},
    )
    with ws.tracker.open(unit) as run:
        ws.progress.now(unit.name)
        rows = np.arange(len(store.index))
        network = viewed(planned.source.build(), planned.protocol.extraction.views)
        features = predict(network, store.images, rows, progress=ws.progress.track)
        count = len(rows)
        table = to_table(
            store.index["image_id"].tolist(),
            ["all"] * count,
            store.index["diagnosis"].tolist(),
            features,
        )
        run.table(table, FEATURES_FILE)
        if planned.source.run_id:
            run.tags({Tag.NETWORK_RUN: planned.source.run_id})
        run.complete()
    ws.made.add(key)
    return run.id, features, gram_matrix(features)


def _in_order(ids: list[str], features: Matrix, planned: PlannedArm) -> Matrix:
    position = {image: row for row, image in enumerate(ids)}
    ordered: Matrix = features[[position[image] for image in planned.ids]]
    return ordered

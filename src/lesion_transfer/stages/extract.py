"""Extract: a network's features, once for a frozen source, once a fold for a fine-tuned one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lesion_transfer.evaluation.svm import gram_matrix
from lesion_transfer.models.openvino import OpenVinoNetwork
from lesion_transfer.models.precision import in_precision
from lesion_transfer.models.views import viewed
from lesion_transfer.stages.arm import PlannedArm
from lesion_transfer.stages.features import FEATURES_FILE, Matrix, read_features, write_features
from lesion_transfer.stages.finetune import fold_network, mark_network
from lesion_transfer.stages.workspace import Workspace
from lesion_transfer.study import Fold
from lesion_transfer.tracking import Kind, Run, Tag, Unit, flat
from lesion_transfer.training.predict import BATCH, outputs

SHARED_GRAM = 10_000
"""Images up to which the folds of a frozen network share their inner products: 0.8 GB of them."""


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
    split = planned.fold_rows(fold)
    parts = np.full(len(planned.rows), "test", object)
    parts[split.kept], parts[split.validation] = "train", "validation"
    labels = np.array(planned.classes, object)[planned.labels]
    with ws.scratch() as folder:
        path = folder / Path(FEATURES_FILE).name
        blocks = _blocks(planned, network, planned.rows)
        storage = planned.protocol.extraction.features
        write_features(path, planned.ids.tolist(), parts.tolist(), labels.tolist(), blocks, storage)
        run.file(path, str(Path(FEATURES_FILE).parent))
        _, features = read_features(path)
    return FoldFeatures(features, network=network)


def mark_features(ws: Workspace, planned: PlannedArm, fold: Fold, run: Run) -> None:
    """Let other runs find the features and the network of this one, now that it holds both."""
    mark_network(ws, planned, fold, run)
    run.tags({Tag.FEATURES_KEY: planned.features_key(fold)})


def _frozen(ws: Workspace, planned: PlannedArm, fold: Fold, run: Run) -> FoldFeatures:
    """One extraction for all images serves every fold and design of a frozen source."""
    key = planned.features_key(fold)
    run_id, path = ws.feature_files.get(key, lambda: _frozen_run(ws, planned, key))
    tags: dict[str, str] = {Tag.FEATURES_RUN: run_id}
    if planned.source.run_id:
        tags[Tag.NETWORK_RUN] = planned.source.run_id
    run.tags(tags)

    def read() -> FoldFeatures:
        ids, features = read_features(path, planned.rows)
        if ids != planned.ids.tolist():
            raise ValueError(f"the features of run {run_id} are of other images than the store")
        return FoldFeatures(features, gram_matrix(features) if len(ids) <= SHARED_GRAM else None)

    shared: FoldFeatures = ws.features.get(planned.arm_key, read)
    return shared


def _frozen_run(ws: Workspace, planned: PlannedArm, key: str) -> tuple[str, Path]:
    """Return the run that holds the features of a whole store, and their table."""
    store = planned.store
    known = ws.tracker.find(key) if ws.reusable(key) else None
    if known is not None:
        return known.id, ws.tracker.artifact(known.id, FEATURES_FILE)
    names = ("dataset", "source", "backbone", "image_size", "seed")
    unit = Unit(
        kind=Kind.FEATURES,
        key=key,
        name=f"features · {planned.arm.model.source} · {planned.arm.dataset}",
        description=f"Features of all {len(store.index)} images of {planned.arm.dataset} by the "
        f"frozen {planned.arm.backbone} from source {planned.arm.model.source}; every fold and "
        "design of the frozen model uses them.",
        identity={name: planned.identity[name] for name in names},
        params=flat(planned.protocol.extraction.model_dump(), "extraction"),
        tags={Tag.DATA_DIGEST: store.digest},
    )
    with ws.tracker.open(unit) as run, ws.scratch() as folder:
        ws.progress.now(unit.name)
        path = folder / Path(FEATURES_FILE).name
        rows = np.arange(len(store.index))
        write_features(
            path,
            store.index["image_id"].tolist(),
            ["all"] * len(rows),
            store.index["diagnosis"].tolist(),
            _blocks(planned, planned.source.build(), rows, ws.progress.track),
            planned.protocol.extraction.features,
        )
        run.file(path, str(Path(FEATURES_FILE).parent))
        if planned.source.run_id:
            run.tags({Tag.NETWORK_RUN: planned.source.run_id})
        run.complete()
    ws.made.add(key)
    return run.id, ws.tracker.artifact(run.id, FEATURES_FILE)


def _blocks(
    planned: PlannedArm,
    network: Any,
    rows: npt.NDArray[np.int64],
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Matrix]:
    """Yield the features of ``rows``, batch by batch, as the protocol's extraction says."""
    spec = planned.protocol.extraction
    if spec.runtime == "openvino":
        model = OpenVinoNetwork(viewed(network, spec.views), spec.precision, BATCH)
    else:
        model = viewed(in_precision(network, spec.precision), spec.views)
    return outputs(model, planned.store.images, rows, BATCH, progress)


def _in_order(ids: list[str], features: Matrix, planned: PlannedArm) -> Matrix:
    position = {image: row for row, image in enumerate(ids)}
    ordered: Matrix = features[[position[image] for image in planned.ids]]
    return ordered

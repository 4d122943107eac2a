"""Evaluate: a fold's SVM, its predictions and metrics, and the fold model logged."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lesion_transfer.evaluation.metrics import fold_metrics
from lesion_transfer.evaluation.predictions import Predictions
from lesion_transfer.evaluation.softmax import softmax_head
from lesion_transfer.evaluation.svm import LinearHead, fit_head
from lesion_transfer.models.fold_model import compose, disagreement, head_model
from lesion_transfer.models.views import viewed
from lesion_transfer.reporting.roc import roc_figure
from lesion_transfer.stages.arm import PlannedArm
from lesion_transfer.stages.extract import FoldFeatures, fold_features, mark_features
from lesion_transfer.stages.finetune import (
    FOLD_MODEL,
    fold_classifier,
    fold_network,
    save_model,
)
from lesion_transfer.stages.looking import log_looking
from lesion_transfer.stages.workspace import Workspace
from lesion_transfer.study import Fold
from lesion_transfer.tracking import Run
from lesion_transfer.training.predict import predict

HEAD_MODEL = "model/head.keras"
PREDICTIONS_FILE = "predictions.parquet"
CHECKED_IMAGES = 8
TOLERANCE = 1e-3
"""Of probabilities, between the fold model in float32 and scikit-learn in float64: enough to catch
a wrong layer; the decision function agrees to 1e-4, which tests hold."""


def evaluate_fold(ws: Workspace, planned: PlannedArm, fold: Fold, run: Run) -> float:
    """Score one fold, log everything it is to be judged and reused by, and return its AUC."""
    started = time.monotonic()
    data = fold_features(ws, planned, fold, run)
    split = planned.fold_rows(fold)
    ws.progress.now(f"{run.unit.name} · classifier")
    head = _head(ws, planned, fold, run, data)
    tested = data.features[split.test]
    found = Predictions(
        images=planned.ids[split.test],
        groups=planned.groups[split.test],
        labels=planned.labels[split.test],
        decision=head.decision(tested),
        probabilities=head.probabilities(tested),
        classes=planned.classes,
        threshold=head.threshold,
    )
    metrics = fold_metrics(
        found.labels, found.decision, found.probabilities, found.classes, found.threshold
    )
    network = _log_model(ws, planned, fold, run, data, head)
    if planned.looking:
        log_looking(ws, planned, run, found, planned.rows[split.test], head, network)
    run.metrics(metrics | {"calibrated_on": head.calibrated_on})
    if planned.protocol.svm.head != "softmax":
        run.metrics({"C": head.C, "C_selection_auc": head.validation_auc})
    if len(planned.classes) == 2:
        run.metrics({"threshold": head.threshold})
    run.metrics({"seconds": time.monotonic() - started, "peak_memory_mb": peak_memory_mb()})
    run.table(found.frame(), PREDICTIONS_FILE)
    run.table(_split_table(planned, fold), "split.csv")
    run.figure(roc_figure(found.labels, found.decision, planned.classes, run.unit.name), "roc.png")
    return metrics["auc"]


def _head(
    ws: Workspace, planned: PlannedArm, fold: Fold, run: Run, data: FoldFeatures
) -> LinearHead:
    """Return the fold's classifier; all that is chosen comes from its training half."""
    split, spec = planned.fold_rows(fold), planned.protocol.svm
    if spec.head == "softmax":
        kernel, bias = fold_classifier(ws, planned, fold, run)
        rows = split.validation
        return softmax_head(
            kernel, bias, planned.classes, data.features[rows], planned.labels[rows]
        )
    rows = split.train
    return fit_head(
        data.features[rows],
        planned.labels[rows],
        planned.classes,
        spec,
        planned.protocol.seed,
        gram=None if data.gram is None else data.gram[np.ix_(rows, rows)],
        unseen=np.isin(rows, split.validation) if planned.arm.model.finetune else None,
    )


def _log_model(
    ws: Workspace,
    planned: PlannedArm,
    fold: Fold,
    run: Run,
    data: FoldFeatures,
    head: LinearHead,
) -> Any | None:
    """Log the fold model and return its network; of a frozen arm, log the head and return None."""
    model, name = head_model(head), HEAD_MODEL
    extraction = planned.protocol.extraction
    features = data.features[:CHECKED_IMAGES]
    inputs: npt.NDArray[Any] = features
    network: Any | None = None
    if planned.arm.model.finetune:
        network = data.network if data.network is not None else fold_network(ws, planned, fold, run)
        model, name = compose(network, model, extraction.views), FOLD_MODEL
        inputs = planned.store.images[planned.rows[:CHECKED_IMAGES]]
        if not extraction.exact:  # the fold model computes its own features, in float32
            features = predict(viewed(network, extraction.views), inputs, np.arange(len(inputs)))
    error = disagreement(model, inputs, head.probabilities(features))
    if not error <= TOLERANCE:
        raise ArithmeticError(
            f"the fold model's probabilities differ from scikit-learn's by {error:.2g}; "
            f"{TOLERANCE:g} is allowed"
        )
    run.metrics({"fold_model_error": error})
    save_model(ws, run, model, name)
    if data.network is not None:
        mark_features(ws, planned, fold, run)
    return network


def read_predictions(path: Path) -> Predictions:
    """Read what :func:`evaluate_fold` logged."""
    return Predictions.of_frame(pd.read_parquet(path))


def _split_table(planned: PlannedArm, fold: Fold) -> pd.DataFrame:
    split = planned.fold_rows(fold)
    part = np.full(len(planned.rows), "test", object)
    part[split.kept] = "train"
    # A frozen network is not trained: nothing is held out for choosing its epoch.
    part[split.validation] = "validation" if planned.arm.model.finetune else "train"
    return pd.DataFrame(
        {
            "image_id": planned.ids,
            "group_id": planned.groups,
            "label": np.array(planned.classes, object)[planned.labels],
            "split": part,
        }
    )


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)

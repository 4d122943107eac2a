"""What an arm's folds say, in the arm's run: read in two requests instead of one for each fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lesion_transfer.evaluation.bootstrap import RESAMPLES
from lesion_transfer.evaluation.contrasts import Evidence
from lesion_transfer.evaluation.predictions import Predictions
from lesion_transfer.stages.arms import FoldScore
from lesion_transfer.stages.evaluate import PREDICTIONS_FILE, read_predictions
from lesion_transfer.stages.workspace import Workspace
from lesion_transfer.tracking import Run

BOOTSTRAP_FILE = "bootstrap.parquet"
"""One column a metric: its mean over the folds, then that of each resample of the groups."""


def log_evidence(run: Run, evidence: Evidence, folds: Sequence[FoldScore]) -> None:
    """Log the predictions of all folds as one table, and the metrics' resamples as another."""
    tables = [
        evidence.folds[fold.fold].frame().assign(fold=fold.fold, fold_run=fold.id) for fold in folds
    ]
    run.table(pd.concat(tables, ignore_index=True), PREDICTIONS_FILE)
    run.table(pd.DataFrame(evidence.resampled), BOOTSTRAP_FILE)


def arm_evidence(
    ws: Workspace, name: str, arm_run: str, folds: Sequence[FoldScore], expected: int
) -> Evidence:
    """Return what these folds say: as their arm's run has it, or from the folds' own runs.

    The arm's tables are used only where they were made from these very runs.
    """
    if not arm_run or not ws.tracker.has_artifact(arm_run, BOOTSTRAP_FILE):
        return Evidence.of(name, read_folds(ws, folds), expected)
    frame = pd.read_parquet(ws.tracker.artifact(arm_run, PREDICTIONS_FILE))
    resampled = pd.read_parquet(ws.tracker.artifact(arm_run, BOOTSTRAP_FILE))
    if set(frame["fold_run"]) != {fold.id for fold in folds} or len(resampled) != RESAMPLES + 1:
        return Evidence.of(name, read_folds(ws, folds), expected)
    found = {str(fold): Predictions.of_frame(part) for fold, part in frame.groupby("fold")}
    values = {str(metric): resampled[metric].to_numpy(np.float64) for metric in resampled}
    return Evidence(name, found, expected, values)


def read_folds(ws: Workspace, folds: Sequence[FoldScore]) -> Mapping[str, Predictions]:
    """Return the predictions of each fold's own run, by the fold's name."""
    return {
        fold.fold: read_predictions(ws.tracker.artifact(fold.id, PREDICTIONS_FILE))
        for fold in folds
    }

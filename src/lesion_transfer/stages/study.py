"""The whole study: every design, model and fold, then the table."""

from __future__ import annotations

from lesion_transfer.stages.arm import plan
from lesion_transfer.stages.compare import Comparison, compared
from lesion_transfer.stages.folds import complete_folds, run_arm
from lesion_transfer.stages.requests import StudyRequest
from lesion_transfer.stages.workspace import workspace
from lesion_transfer.study import parse_folds
from lesion_transfer.tracking import StoredRun


def study(request: StudyRequest) -> Comparison:
    """Run what is missing of the study and compare its arms.

    Raises
    ------
    UserError
        A parameter, data set or model file cannot be used.
    """
    arms = request.arms()
    folds = parse_folds(request.folds, request.load_protocol().repeats)
    with workspace(request) as ws:
        ws.progress.start(len(arms) * len(folds), "the study")
        done: list[StoredRun] = []
        for arm in arms:
            planned = plan(ws, arm)
            run_arm(ws, planned)
            done += complete_folds(ws, planned).values()
        ws.progress.now("the results table")
        return compared(ws, done, request.out, adopt=True)

"""The whole study: every design, model and fold, then the table."""

from __future__ import annotations

from lesion_transfer.data.designs import labels_for
from lesion_transfer.errors import UserError
from lesion_transfer.stages.arms import StoredArm, arm_of
from lesion_transfer.stages.compare import Comparison, compared
from lesion_transfer.stages.compare_request import CompareRequest
from lesion_transfer.stages.folds import complete_folds, run_arm
from lesion_transfer.stages.links import source_data
from lesion_transfer.stages.plan import plan
from lesion_transfer.stages.preprocess import prepared
from lesion_transfer.stages.pretrain import find_backbone
from lesion_transfer.stages.requests import ArmRequest, StudyRequest
from lesion_transfer.stages.workspace import Workspace, workspace, writable
from lesion_transfer.study import Design


def study(request: StudyRequest) -> Comparison:
    """Run what is missing of the study and compare its arms.

    Raises
    ------
    UserError
        A parameter, data set or model file cannot be used; found out before anything is trained.
    """
    writable(request.out, "out")
    with workspace(request) as ws:
        arms = _possible(ws, request)
        done: list[StoredArm] = []
        planned = [plan(ws, arm) for arm in arms]
        ws.progress.start(sum(len(arm.folds) for arm in planned), "the study")
        for arm in planned:
            run_id = run_arm(ws, arm).run_id
            done.append(
                arm_of(
                    run_id,
                    arm.identity | arm.tags,
                    complete_folds(ws, arm).values(),
                    arm.protocol.svm.head,
                )
            )
        ws.progress.now("the results table")
        return compared(ws, done, CompareRequest(out=request.out))


def _possible(ws: Workspace, request: StudyRequest) -> list[ArmRequest]:
    """Return the arms, after preparing all data they need; leave out designs it has no classes for.

    A design that was asked for by name is not left out: lacking a class is an error then.
    """
    protocol = request.load_protocol()
    backbone = find_backbone(ws, protocol)
    needed = {arm.source: source_data(request, backbone, arm.pair.source) for arm in request.arms()}
    index = prepared(ws, request, protocol, request.target, request.data_root).store.index
    impossible: set[Design] = set()
    for arm in request.arms():
        try:
            labels_for(arm.design, index)
        except UserError as error:
            if request.designs is not None:
                raise
            if arm.design not in impossible:
                ws.progress.note(f"left out: {error.problem}")
            impossible.add(arm.design)
    arms = [arm for arm in request.arms() if arm.design not in impossible]
    if not arms:
        raise UserError(
            f"{request.target} has the classes of none of the lesion designs",
            next_step="use designs=native to keep the labels as they are",
        )
    for source in sorted({arm.source for arm in arms}):
        for target, root in needed[source]:
            prepared(ws, request, protocol, target, root)
    return arms

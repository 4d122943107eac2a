"""The folds of an arm: looked up, continued or computed, then summed up in the arm's run.

The commands ``finetune``, ``extract`` and ``evaluate`` are this with different last steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.statistics import Summary, summarise
from lesion_transfer.execution import in_this_process
from lesion_transfer.reporting import DISCLAIMER
from lesion_transfer.stages.arm import PlannedArm
from lesion_transfer.stages.evaluate import evaluate_fold
from lesion_transfer.stages.extract import fold_features, mark_features
from lesion_transfer.stages.finetune import fold_network, log_network
from lesion_transfer.stages.looking import LOOKING_FIGURE
from lesion_transfer.stages.plan import plan
from lesion_transfer.stages.requests import ArmRequest
from lesion_transfer.stages.summary import stored_folds, sum_up
from lesion_transfer.stages.workspace import Workspace, workspace
from lesion_transfer.study import Fold
from lesion_transfer.tracking import Run, StoredRun, Tag


class Step(IntEnum):
    """How far folds are taken."""

    FINETUNE = 1
    EXTRACT = 2
    EVALUATE = 3


@dataclass(frozen=True, slots=True)
class FoldResult:
    """A fold's run, and its AUC where it has been evaluated."""

    fold: Fold
    run_id: str
    auc: float | None
    reused: bool


@dataclass(frozen=True, slots=True)
class ArmResult:
    """An arm's run and folds; ``summary`` only where all steps were asked for."""

    planned: PlannedArm
    run_id: str
    folds: tuple[FoldResult, ...]
    summary: Summary | None

    @property
    def done(self) -> str:
        """Which folds there are, and how well they do."""
        reused = sum(fold.reused for fold in self.folds)
        done = f"{self.planned.arm}: {len(self.folds)} fold(s), {reused} from earlier runs"
        if self.summary is None:
            return done
        each = "  ".join(f"{f.fold} {100 * f.auc:.1f}" for f in self.folds if f.auc is not None)
        return f"{done}\nAUC {self.summary.percent}\nFolds: {each}\n{DISCLAIMER}"

    @property
    def where(self) -> str:
        """The runs."""
        return f"MLflow run {self.run_id}, a run for each fold below it"

    @property
    def next_step(self) -> str:
        """Score the folds, or compare the arm with others."""
        if self.summary is None:
            return "mlflow run . -e evaluate, with the same parameters"
        return "mlflow run . -e compare"


def finetune(request: ArmRequest) -> ArmResult:
    """Fine-tune the network of every fold asked for, or find it."""
    return _command(request, Step.FINETUNE)


def extract(request: ArmRequest) -> ArmResult:
    """Extract the features of every fold asked for, or find them."""
    return _command(request, Step.EXTRACT)


def evaluate(request: ArmRequest) -> ArmResult:
    """Score every fold asked for and sum the arm up, or find that."""
    return _command(request, Step.EVALUATE)


def _command(request: ArmRequest, until: Step) -> ArmResult:
    with workspace(request) as ws:
        planned = plan(ws, request)
        ws.progress.start(len(planned.folds), "folds")
        result = run_arm(ws, planned, until, adopt=True)
        if request.looking and until is Step.EVALUATE:
            _note_missing_figures(ws, result)
        return result


def _note_missing_figures(ws: Workspace, result: ArmResult) -> None:
    """Say so where folds were complete without the figures that this request asks for."""
    lacking = [
        str(fold.fold)
        for fold in result.folds
        if fold.reused and not ws.tracker.has_artifact(fold.run_id, LOOKING_FIGURE)
    ]
    if lacking:
        ws.progress.note(
            f"{', '.join(lacking)}: complete already, without the figure of where the model looks; "
            "force=true computes them anew, with it"
        )


def run_arm(
    ws: Workspace, planned: PlannedArm, until: Step = Step.EVALUATE, *, adopt: bool = False
) -> ArmResult:
    """Take the arm's folds as far as ``until``; what is there already is used.

    Raises
    ------
    UserError
        ``until`` is fine-tuning, and the arm's network is frozen.
    """
    if until is Step.FINETUNE and not planned.arm.model.finetune:
        raise UserError(
            "finetune=false leaves nothing to fine-tune",
            next_step="use the entry point extract or evaluate for a frozen network",
        )
    known = complete_folds(ws, planned)
    there = all(fold in known for fold in planned.folds)
    stored = ws.tracker.find(planned.arm_key, adopt=adopt) if there else None
    if stored is not None:
        ws.progress.advance(len(planned.folds), reused=True)
        return _result(planned, stored.id, [_reused(fold, known[fold]) for fold in planned.folds])
    with ws.tracker.open(planned.unit(), adopt=adopt) as run:

        def work(fold: Fold) -> FoldResult:
            complete = known.get(fold)
            result = (
                _reused(fold, complete) if complete else _run_fold(ws, planned, fold, run, until)
            )
            ws.progress.advance(reused=result.reused)
            return result

        results = [result for _, result in in_this_process(planned.folds, work)]
        if until is Step.EVALUATE:
            sum_up(ws, planned, run)
    return _result(planned, run.id, results)


def complete_folds(ws: Workspace, planned: PlannedArm) -> dict[Fold, StoredRun]:
    """Return the arm's complete folds, less those that are to be computed anew."""
    found = stored_folds(ws, planned)
    return {fold: run for fold, run in found.items() if ws.reusable(run.tags[Tag.KEY])}


def _result(planned: PlannedArm, run_id: str, results: list[FoldResult]) -> ArmResult:
    scores = [result.auc for result in results if result.auc is not None]
    return ArmResult(planned, run_id, tuple(results), summarise(scores) if scores else None)


def _reused(fold: Fold, stored: StoredRun) -> FoldResult:
    return FoldResult(fold, stored.id, stored.metrics["auc"], reused=True)


def _run_fold(ws: Workspace, planned: PlannedArm, fold: Fold, arm: Run, until: Step) -> FoldResult:
    unit = planned.fold_unit(fold)
    auc, reused = None, False
    resumable = ws.checkpoint(planned.network_key(fold)).exists()
    with ws.tracker.open(unit, parent=arm.id, resumable=resumable) as run:
        if until is Step.EVALUATE:
            auc = evaluate_fold(ws, planned, fold, run)
            run.complete()
            ws.made.add(unit.key)
        elif until is Step.EXTRACT:
            data = fold_features(ws, planned, fold, run)
            if data.network is not None:
                log_network(ws, planned, fold, run, data.network)
                mark_features(ws, planned, fold, run)
        else:
            key = planned.network_key(fold)
            reused = ws.reusable(key) and ws.tracker.find_part(Tag.NETWORK_KEY, key) is not None
            log_network(ws, planned, fold, run, fold_network(ws, planned, fold, run))
    return FoldResult(fold, run.id, auc, reused=reused)

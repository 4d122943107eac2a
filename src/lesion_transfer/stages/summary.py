"""Sum up an arm: its folds' metrics, figures and model card, in the arm's run."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lesion_transfer.data.summary import BALANCE_FILE, balance, fold_parts
from lesion_transfer.evaluation.bootstrap import Estimate, intervals
from lesion_transfer.evaluation.contrasts import Evidence
from lesion_transfer.evaluation.predictions import confusion
from lesion_transfer.evaluation.statistics import Summary, summarise
from lesion_transfer.reporting import DISCLAIMER
from lesion_transfer.reporting.figures import confusion_figure
from lesion_transfer.reporting.risk_figures import decision_figure, reliability_panels
from lesion_transfer.reporting.roc import mean_roc_figure
from lesion_transfer.stages.arm import PlannedArm
from lesion_transfer.stages.arms import FoldScore, fold_index
from lesion_transfer.stages.evidence import log_evidence, read_folds
from lesion_transfer.stages.workspace import Workspace
from lesion_transfer.study import Fold
from lesion_transfer.tracking import COMPLETE, Kind, Run, StoredRun, Tag

INTERVALS_FILE = "intervals.csv"


def stored_folds(ws: Workspace, planned: PlannedArm) -> dict[Fold, StoredRun]:
    """Return the arm's complete folds on the tracking server."""
    tags: dict[str, str] = {
        Tag.KIND: Kind.FOLD.value,
        Tag.STATE: COMPLETE,
        Tag.ARM: planned.arm_key,
    }
    return {Fold.parse(run.tags["fold"]): run for run in ws.tracker.search(tags)}


def sum_up(ws: Workspace, planned: PlannedArm, run: Run) -> None:
    """Log what all complete folds of the arm say; with the last of them the arm is complete."""
    folds = stored_folds(ws, planned)
    ws.progress.now(f"{run.unit.name} · summary")
    runs = [folds[fold] for fold in sorted(folds, key=str)]
    scores = [FoldScore.of(stored) for stored in runs]
    evidence = Evidence.of(str(planned.arm), read_folds(ws, scores), 2 * planned.protocol.repeats)
    estimates = intervals(evidence.resampled)
    summaries = {name: summarise([stored.metrics[name] for stored in runs]) for name in estimates}
    auc = summaries["auc"]
    for name, summary in summaries.items():
        run.metrics(_finite({f"{name}_mean": summary.mean, f"{name}_sd": summary.sd}))
    run.metrics(_finite({"auc_ci_low": auc.ci_low, "auc_ci_high": auc.ci_high, "folds": auc.n}))
    log_evidence(run, evidence, scores)
    run.table(_interval_table(summaries, estimates), INTERVALS_FILE)
    parts = fold_parts(planned.partitions)
    run.table(balance(planned.labels, planned.classes, planned.groups, parts), BALANCE_FILE)
    run.dataset(
        planned.store.index[["image_id", "group_id", "diagnosis"]],
        planned.arm.dataset,
        planned.store.digest[:16],
        source=str(planned.store.path),
    )
    title = str(planned.arm)
    found = [*evidence.folds.values()]
    shown = {planned.arm.model.letter: found}
    run.figure(reliability_panels(shown), "reliability.png")
    if len(planned.classes) == 2:
        run.figure(decision_figure(shown), "decision.png")
    curves = [(fold.labels, fold.decision) for fold in found]
    run.figure(mean_roc_figure(curves, planned.classes, title), "roc.png")
    run.figure(confusion_figure(confusion(found), planned.classes, title), "confusion.png")
    run.text(model_card(planned, folds, auc), "model_card.md")
    run.tags({Tag.FOLDS: fold_index(scores)})
    if len(folds) == 2 * planned.protocol.repeats:
        run.complete()


def _interval_table(summaries: dict[str, Summary], estimates: dict[str, Estimate]) -> pd.DataFrame:
    """Every metric: mean and spread over folds, and the interval over resampled groups."""
    return pd.DataFrame(
        [
            {
                "metric": name,
                "mean": summaries[name].mean,
                "sd": summaries[name].sd,
                "ci_low": estimates[name].low,
                "ci_high": estimates[name].high,
            }
            for name in summaries
        ]
    )


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    """Drop what a single fold cannot give; MLflow's charts have no use for NaN."""
    return {name: value for name, value in metrics.items() if np.isfinite(value)}


def model_card(planned: PlannedArm, folds: dict[Fold, StoredRun], auc: Summary) -> str:
    """Say in Markdown what the arm is, what it was trained on, and how well it does."""
    arm = planned.arm
    counts = np.bincount(planned.labels, minlength=len(planned.classes))
    classes = "\n".join(
        f"| {name} | {count} |" for name, count in zip(planned.classes, counts, strict=True)
    )
    rows = "\n".join(
        f"| {name} | {100 * stored.metrics['auc']:.1f} | {stored.id} |"
        for name, stored in sorted(folds.items(), key=lambda item: str(item[0]))
    )
    note = f"\n**Note:** {planned.source.stand_in}.\n" if planned.source.stand_in else ""
    expected = 2 * planned.protocol.repeats
    tuned = "fine-tuned on each training half" if arm.model.finetune else "frozen"
    return f"""# {arm}

{DISCLAIMER}

**AUC {auc.percent}** over {auc.n} of {expected} folds.
{note}
## Model

{arm.backbone} at {arm.image_size} px, weights from {arm.model.source}, {tuned};
{planned.protocol.svm.title}, calibrated inside the training half. Protocol `{arm.protocol}`,
seed {arm.seed}.

## Data

{arm.dataset}, digest `{planned.store.digest[:16]}`:

| class | images |
|---|---|
{classes}

## Folds

| fold | AUC, % | run |
|---|---|---|
{rows}
"""

"""External validation: a fold's model on all pictures of a data set it has never seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lesion_transfer.data.designs import labels_for
from lesion_transfer.data.store import ImageStore
from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.bootstrap import Estimate, intervals, replicates
from lesion_transfer.evaluation.predictions import Predictions, confusion
from lesion_transfer.evaluation.subgroups import DIAGNOSIS, subgroup_table
from lesion_transfer.outcome import Outcome
from lesion_transfer.reporting import DISCLAIMER
from lesion_transfer.reporting.figures import confusion_figure
from lesion_transfer.reporting.risk_figures import decision_figure, reliability_panels
from lesion_transfer.reporting.roc import roc_figure
from lesion_transfer.stages.evaluate import PREDICTIONS_FILE, read_predictions
from lesion_transfer.stages.fold_models import (
    FoldModel,
    fold_model,
    preparation,
)
from lesion_transfer.stages.folds import evaluate
from lesion_transfer.stages.leaks import refuse_seen_images
from lesion_transfer.stages.preprocess import prepared
from lesion_transfer.stages.requests import EvaluateRequest
from lesion_transfer.stages.seen import seen_by_run
from lesion_transfer.stages.summary import INTERVALS_FILE
from lesion_transfer.stages.workspace import Workspace, workspace
from lesion_transfer.study import SCHEMA_VERSION, digest
from lesion_transfer.tracking import Kind, Run, Tag, Unit
from lesion_transfer.training.predict import predict

SUBGROUPS_FILE = "subgroups.csv"
ATTRIBUTES = ("age", "sex", "site", DIAGNOSIS)
"""Columns of a store's index that make subgroups, where the data set has them."""
SHOWN = ("auc", "sensitivity", "specificity", "brier", "calibration_error")


@dataclass(frozen=True)
class Validation:
    """What a model does on another data set.

    Attributes
    ----------
    title
        Which model, on what.
    classes
        How many images of each class, by its name.
    estimates
        Every metric with its interval over resampled groups.
    subgroups
        See :func:`~lesion_transfer.evaluation.subgroups.subgroup_table`.
    """

    title: str
    classes: Mapping[str, int]
    estimates: Mapping[str, Estimate]
    subgroups: pd.DataFrame
    run_id: str

    @property
    def done(self) -> str:
        """The metrics that readers ask for first, and the AUC of every subgroup."""
        shown = [name for name in SHOWN if name in self.estimates]
        lines = [f"  {name:18} {_text(*self.estimates[name])}" for name in shown]
        auc = self.subgroups[self.subgroups["metric"] == "auc"]
        parts = {
            f"AUC, {row['attribute']} {row['value']} ({row['images']} images)": _text(
                row["estimate"], row["ci_low"], row["ci_high"]
            )
            for row in auc.to_dict("records")
        }
        width = max(map(len, parts), default=0)
        lines += [f"  {name:{width}} {text}" for name, text in parts.items()]
        counts = ", ".join(f"{count} {name}" for name, count in self.classes.items())
        heading = f"{self.title}: images of {counts}; 95 % intervals over groups:"
        return "\n".join([heading, *lines, DISCLAIMER])

    @property
    def where(self) -> str:
        """The run."""
        return f"MLflow run {self.run_id}: {INTERVALS_FILE}, {SUBGROUPS_FILE}, figures, predictions"

    @property
    def next_step(self) -> str:
        """Look at it."""
        return "make server, or mlflow ui, shows the figures"


def _text(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.3f}" + ("" if np.isnan(low) else f" ({low:.3f} to {high:.3f})")


def evaluate_or_validate(request: EvaluateRequest) -> Outcome:
    """Score an arm, or the model that is given."""
    return evaluate(request) if request.model is None else validate(request, request.model)


def validate(request: EvaluateRequest, uri: str) -> Validation:
    """Score a fold's model on all pictures of the target, or find that.

    The pictures are prepared as those were that it was trained on, whatever protocol is asked for.

    Raises
    ------
    UserError
        It is no model of a fold, its classes are not the design's, or the target has pictures that
        it was trained on.
    """
    with workspace(request) as ws:
        model = fold_model(ws, uri)
        trained = model.run.tags
        if trained["design"] != request.design.value:
            raise UserError(
                f"model={uri} tells {' from '.join(model.classes)}: it was made for "
                f"design={trained['design']}, and not for {request.design.value}",
                next_step=f"give design={trained['design']}",
            )
        protocol = request.load_protocol().model_copy(
            update={"preparation": preparation(ws, model)}
        )
        data = prepared(ws, request, protocol, request.target, request.data_root)
        rows, labels, classes = labels_for(request.design, data.store.index)
        if classes != model.classes:
            raise UserError(
                f"model={uri} tells {', '.join(model.classes)}; {data.store.dataset} has the "
                f"classes {', '.join(classes)}",
                expected="a data set with the same classes",
            )
        refuse_seen_images(ws, seen_by_run(ws, model.run), data.store)
        unit = _unit(model, uri, data.store)
        known = ws.tracker.find(unit.key, adopt=True) if ws.reusable(unit.key) else None
        if known is not None:
            logged = ws.tracker.artifact(known.id, PREDICTIONS_FILE)
            return Validation(
                unit.name,
                class_counts(read_predictions(logged)),
                {
                    row["metric"]: Estimate(row["value"], row["ci_low"], row["ci_high"])
                    for row in _csv(ws, known.id, INTERVALS_FILE).to_dict("records")
                },
                _csv(ws, known.id, SUBGROUPS_FILE),
                known.id,
            )
        with ws.tracker.open(unit, adopt=True) as run:
            ws.progress.now(unit.name)
            index = data.store.index.iloc[rows].reset_index(drop=True)
            found = _predictions(ws, model, data.store, rows, labels)
            result = _score(ws, run, unit.name, found, index)
            run.dataset(
                data.store.index[["image_id", "group_id", "diagnosis"]],
                data.store.dataset,
                data.store.digest[:16],
                source=str(data.store.path),
            )
            run.complete()
            return result


def _csv(ws: Workspace, run_id: str, name: str) -> pd.DataFrame:
    return pd.read_csv(ws.tracker.artifact(run_id, name))


def _unit(model: FoldModel, uri: str, store: ImageStore) -> Unit:
    trained = model.run.tags
    names = ("design", "model", "source", "finetune", "backbone", "protocol", "image_size", "seed")
    attributes = [name for name in ATTRIBUTES if name in store.index]
    described = store.index[["image_id", *attributes]].astype(str).to_csv(index=False)
    return Unit(
        kind=Kind.EXTERNAL,
        key=digest(SCHEMA_VERSION, "external", model.content, store.digest, described),
        name=f"{trained['model']} · {trained['design']} · {trained['fold']} of "
        f"{trained['dataset']} on {store.dataset}",
        description=f"External validation of {uri}, fold {trained['fold']} trained on "
        f"{trained['dataset']}, on {store.dataset}. {DISCLAIMER}",
        identity={name: trained[name] for name in names}
        | {"dataset": store.dataset, "trained_on": trained["dataset"], "fold": trained["fold"]},
        params={"validated_model": uri},
        tags={Tag.MODEL_RUN: model.run.id, Tag.DATA_DIGEST: store.digest},
    )


def _predictions(
    ws: Workspace, model: FoldModel, store: ImageStore, rows: np.ndarray, labels: np.ndarray
) -> Predictions:
    """Ask the model itself, as a user of it would: its probabilities rank the pictures too."""
    outputs = predict(model.network, store.images, rows, progress=ws.progress.track)
    probabilities = outputs.astype(np.float64)
    return Predictions(
        images=store.index["image_id"].to_numpy(object)[rows],
        groups=store.index["group_id"].to_numpy(object)[rows],
        labels=labels,
        decision=probabilities[:, 1] if len(model.classes) == 2 else probabilities,
        probabilities=probabilities,
        classes=model.classes,
        threshold=model.threshold,
    )


def _score(
    ws: Workspace, run: Run, title: str, found: Predictions, index: pd.DataFrame
) -> Validation:
    """Log every number and figure of a validation."""
    estimates = intervals(replicates([found]))
    attributes = index[[name for name in ATTRIBUTES if name in index]]
    ws.progress.now(f"{title} · subgroups")
    subgroups = subgroup_table(found, attributes)
    for name, estimate in estimates.items():
        numbers = {name: estimate.value, f"{name}_ci_low": estimate.low}
        numbers[f"{name}_ci_high"] = estimate.high
        run.metrics({key: value for key, value in numbers.items() if np.isfinite(value)})
    table = [(name, *estimate) for name, estimate in estimates.items()]
    columns = ["metric", "value", "ci_low", "ci_high"]
    run.table(pd.DataFrame(table, columns=columns), INTERVALS_FILE)
    run.table(subgroups, SUBGROUPS_FILE)
    run.table(found.frame(), PREDICTIONS_FILE)
    run.figure(roc_figure(found.labels, found.decision, found.classes, title), "roc.png")
    run.figure(confusion_figure(confusion([found]), found.classes, title), "confusion.png")
    run.figure(reliability_panels({title: [found]}), "reliability.png")
    if len(found.classes) == 2:
        run.figure(decision_figure({title: [found]}), "decision.png")
    return Validation(title, class_counts(found), estimates, subgroups, run.id)


def class_counts(found: Predictions) -> dict[str, int]:
    """Return how many pictures each class has."""
    counts = np.bincount(found.labels, minlength=len(found.classes))
    return dict(zip(found.classes, map(int, counts), strict=True))

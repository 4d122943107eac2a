"""The numbers of the report as plain frames: what its page shows and its CSV files hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from lesion_transfer.evaluation.bootstrap import intervals
from lesion_transfer.evaluation.contrasts import Contrast, Evidence
from lesion_transfer.evaluation.metrics import SPECIFICITIES
from lesion_transfer.evaluation.predictions import confusion

CONTRAST_COLUMNS = (
    "design", "first", "second", "problem", "folds", "difference", "ci_low", "ci_high",
    "effect", "won", "f", "f_p", "f_p_holm", "dietterich_t", "dietterich_p", "corrected_t",
    "corrected_p", "delong_folds", "bootstrap_low", "bootstrap_high", "p_worse", "p_same",
    "p_better", "established", "verdict",
)  # fmt: skip
METRIC_COLUMNS = ("design", "model", "metric", "mean", "ci_low", "ci_high")
ANSWER_COLUMNS = ("design", "model", "class", "answer", "share")


def contrast_frame(contrasts: Mapping[str, Iterable[Contrast]]) -> pd.DataFrame:
    """Return one row a contrast, columns :data:`CONTRAST_COLUMNS`; AUCs as fractions.

    Parameters
    ----------
    contrasts
        By design. Differences are first − second; ``delong_folds`` are those whose DeLong test
        finds a difference at 5 %; ``p_worse``, ``p_same`` and ``p_better`` are the posterior of
        the first against the second.
    """
    rows = [
        (
            design, c.first, c.second, c.problem, c.folds, c.difference, c.low, c.high, c.effect,
            c.won, *c.f, c.adjusted, *c.t, *c.corrected, c.sure_folds, c.bootstrap.low,
            c.bootstrap.high, c.posterior.worse, c.posterior.same, c.posterior.better,
            c.established, c.verdict,
        )
        for design, found in contrasts.items()
        for c in found
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=CONTRAST_COLUMNS)


def metric_frame(arms: Mapping[str, Mapping[str, Evidence]]) -> pd.DataFrame:
    """Return one row a metric of an arm, columns :data:`METRIC_COLUMNS`.

    Parameters
    ----------
    arms
        By design and model. Means are over folds, intervals over resampled groups.
    """
    rows = [
        (design, model, metric, *found)
        for design, models in arms.items()
        for model, evidence in models.items()
        for metric, found in intervals(evidence.resampled).items()
    ]
    return pd.DataFrame(rows, columns=METRIC_COLUMNS)


def answer_frame(arms: Mapping[str, Mapping[str, Evidence]]) -> pd.DataFrame:
    """Return how often each class is given each answer, columns :data:`ANSWER_COLUMNS`.

    Parameters
    ----------
    arms
        By design and model. A share is of the images of its true ``class``, over all folds; NaN
        where there are none.
    """
    rows = []
    for design, models in arms.items():
        for model, evidence in models.items():
            folds = [*evidence.folds.values()]
            counts = confusion(folds)
            sizes = counts.sum(axis=1, keepdims=True)
            shares = np.where(sizes > 0, counts / np.maximum(sizes, 1), np.nan)
            for name, row in zip(folds[0].classes, shares, strict=True):
                answers = zip(folds[0].classes, row, strict=True)
                rows += [(design, model, name, answer, share) for answer, share in answers]
    return pd.DataFrame(rows, columns=ANSWER_COLUMNS)


METRIC_NAMES = {
    "auc": "AUC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "log_loss": "log loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "net_benefit_at_10": "net benefit at a risk of 10 %",
} | {
    f"sensitivity_at_{given}_specificity": f"sensitivity at {given} % specificity"
    for given in (f"{100 * each:.0f}" for each in SPECIFICITIES)
}
NOT_PERCENT = ("log_loss", "brier", "calibration_error", "net_benefit_at_10")


def metric_name(metric: str) -> str:
    """Return a metric's name as a reader knows it."""
    if metric.startswith("auc_"):
        return "AUC " + metric.removeprefix("auc_").replace("_", " ")
    return METRIC_NAMES.get(metric, metric.replace("_", " "))

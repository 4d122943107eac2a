"""How good a fold's scores, probabilities and answers are.

:func:`measure` is the one list of metrics: a fold's own values and their bootstrap replicates come
from the same lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import cohen_kappa_score

from lesion_transfer.evaluation.predictions import Predictions
from lesion_transfer.evaluation.ranking import Ranking, pairwise_aucs, ratio
from lesion_transfer.evaluation.risk import calibration_error, net_benefit

Floats = NDArray[np.float64]

SPECIFICITIES = (0.90, 0.95)
NET_BENEFIT_AT = 0.10
"""Threshold probability of the logged net benefit: nine needless excisions for one melanoma."""


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a member of a class outranks a non-member.

    Two classes: the Mann–Whitney statistic, ties counting one half. K columns: the measure M of
    Hand & Till (*Machine Learning* 45, 2001): the mean over all pairs of classes of
    (A(i|j) + A(j|i)) / 2, where A(i|j) ranks the members of i and j by score column i. It does not
    depend on how frequent the classes are.

    Parameters
    ----------
    labels
        Shape (n,), integers: 0 and 1, or 0 to K − 1.
    scores
        Shape (n,), higher meaning class 1; or (n, K), column k higher meaning class k. Any scale.

    Returns
    -------
    float
        In 0–1. NaN where a class has no member or a score is NaN: there is no such number.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    if scores.shape[:1] != labels.shape or scores.ndim > 2:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} do not fit together")
    if scores.ndim == 1 or scores.shape[1] == 1:
        scores = scores.reshape(-1)
        return _chance_to_outrank(scores[labels == 1], scores[labels == 0])
    pairs = combinations(range(scores.shape[1]), 2)
    return float(np.mean([pair_auc(labels, scores, i, j) for i, j in pairs]))


def cross_entropy(labels: NDArray[np.int64], probabilities: NDArray[np.floating]) -> float:
    """Mean negative log probability (natural) of the true class, of probabilities (n, K)."""
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(chosen, 1e-7, 1.0)).mean())


def pair_auc(labels: NDArray[np.generic], scores: NDArray[np.generic], i: int, j: int) -> float:
    """Hand & Till's A(i, j) = (A(i|j) + A(j|i)) / 2 of scores (n, K), 0–1; see :func:`auc`."""
    of_i, of_j = scores[labels == i], scores[labels == j]
    return 0.5 * (
        _chance_to_outrank(of_i[:, i], of_j[:, i]) + _chance_to_outrank(of_j[:, j], of_i[:, j])
    )


def _chance_to_outrank(members: NDArray[np.generic], others: NDArray[np.generic]) -> float:
    pairs = len(members) * len(others)
    if pairs == 0 or np.isnan(members).any() or np.isnan(others).any():
        return float("nan")
    others = np.sort(others)
    below = others.searchsorted(members, side="left").sum()
    not_above = others.searchsorted(members, side="right").sum()
    return float(below + not_above) / (2 * pairs)


def quadratic_kappa(labels: ArrayLike, answers: ArrayLike, levels: int) -> float:
    """Cohen's kappa of (n,) graded labels and answers, 0 to ``levels`` − 1, in −1 to 1.

    Weights are quadratic (Cohen, *Psychological Bulletin* 70, 1968): two levels apart cost four
    times as much as one, also where no picture has the level between them.
    """
    given = {"labels": range(levels), "weights": "quadratic"}
    return float(cohen_kappa_score(labels, answers, **given))


def fold_metrics(
    labels: ArrayLike,
    decision: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    threshold: float = 0.5,
) -> dict[str, float]:
    """Return what is logged for one fold, by names that MLflow accepts; see :func:`measure`.

    Parameters
    ----------
    labels, decision, probabilities, classes, threshold
        As in :class:`~lesion_transfer.evaluation.predictions.Predictions`; of two classes
        ``decision`` may have a column for each.
    """
    labels = np.asarray(labels, dtype=np.int64)
    names = np.arange(len(labels)).astype(str).astype(object)
    decision = np.asarray(decision, dtype=np.float64)
    if len(classes) == 2 and decision.ndim == 2:
        decision = decision[:, -1]
    found = Predictions(
        images=names,
        groups=names,
        labels=labels,
        decision=decision,
        probabilities=np.asarray(probabilities, dtype=np.float64),
        classes=tuple(classes),
        threshold=threshold,
    )
    values = measure(found, np.ones((len(labels), 1)))
    return {name: float(value[0]) for name, value in values.items()}


def measure(found: Predictions, weights: Floats) -> dict[str, Floats]:
    """Return every metric of a fold, for each of B resamples of its pictures.

    Parameters
    ----------
    found
        n pictures, K classes.
    weights
        Shape (n, B): how often each picture is in each resample; ones are the fold itself.

    Returns
    -------
    dict
        Arrays (B,). Of the decision values: ``auc`` (see :func:`auc`) and ``average_precision`` (K
        classes: the mean over one-vs-rest). Of the predicted class: ``accuracy`` and
        ``balanced_accuracy``. Of the probabilities: ``log_loss``, ``brier`` (two classes: the mean
        of (p − y)², 0–1; K: summed over the classes as Brier wrote it in 1950, 0–2) and
        ``calibration_error`` (0–1).

        Two classes: ``sensitivity`` = TP / (TP + FN) and ``specificity`` = TN / (TN + FP) at the
        training half's threshold, ``sensitivity_at_90_specificity``, ``…_95_…``, and
        ``net_benefit_at_10``, for those who would treat at a risk of 10 %. K: one
        ``auc_<class>_vs_<class>`` for every pair and one ``sensitivity_<class>`` for every class.

        NaN where a resample lacks a class that the metric needs.
    """
    labels, decision, classes = found.labels, found.decision, found.classes
    probabilities = found.probabilities
    binary = len(classes) == 2
    truth = labels[:, None] == np.arange(len(classes))
    ranked = decision.reshape(-1, 1) if binary else decision
    rankings = [
        Ranking.of(member, column, weights)
        for member, column in zip(truth.T[-ranked.shape[1] :], ranked.T, strict=True)
    ]
    pairs = {} if binary else pairwise_aucs(labels, decision, weights)
    hits = found.predicted == labels
    sizes = truth.T.astype(np.float64) @ weights
    recalls = ratio((truth & hits[:, None]).T.astype(np.float64) @ weights, sizes)
    total = weights.sum(axis=0)
    true_probability = np.clip(probabilities[truth], np.finfo(np.float64).tiny, 1.0)
    squared_error = ((probabilities - truth) ** 2).sum(axis=1) / (2 if binary else 1)
    common = {
        "auc": rankings[0].auc() if binary else np.mean([*pairs.values()], axis=0),
        "average_precision": np.mean([each.average_precision() for each in rankings], axis=0),
        "accuracy": ratio(hits @ weights, total),
        "balanced_accuracy": recalls.mean(axis=0),
        "log_loss": ratio(-np.log(true_probability) @ weights, total),
        "brier": ratio(squared_error @ weights, total),
        "calibration_error": calibration_error(truth, probabilities, weights),
    }
    if not binary:
        return (
            common
            | {
                f"auc_{_plain(classes[i])}_vs_{_plain(classes[j])}": value
                for (i, j), value in pairs.items()
            }
            | {
                f"sensitivity_{_plain(name)}": recall
                for name, recall in zip(classes, recalls, strict=True)
            }
        )
    return (
        common
        | {"sensitivity": recalls[1], "specificity": recalls[0]}
        | {
            f"sensitivity_at_{100 * given:.0f}_specificity": rankings[0].sensitivity_at(given)
            for given in SPECIFICITIES
        }
        | {
            f"net_benefit_at_{100 * NET_BENEFIT_AT:.0f}": net_benefit(
                labels == 1, probabilities[:, 1], np.array([NET_BENEFIT_AT]), weights
            )[0]
        }
    )


def _plain(name: str) -> str:
    """``name`` without the characters that MLflow refuses in the name of a metric."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII)

"""How good a fold's scores are: the AUC of two or more classes, and what is logged beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score


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


def fold_metrics(
    labels: ArrayLike, decision: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]
) -> dict[str, float]:
    """Return what is logged for one fold, by names that MLflow accepts.

    Parameters
    ----------
    labels
        Shape (n,), integers, indices into ``classes``.
    decision
        Shape (n,) for two classes, (n, K) for K: decision values of any scale.
    probabilities
        Shape (n, K): rows that sum to 1.
    classes
        The K class names; of two, the second is the positive one.

    Returns
    -------
    dict
        ``auc`` (see :func:`auc`, of the decision values), ``average_precision`` (K classes: the
        mean over one-vs-rest), ``accuracy``, ``balanced_accuracy``, ``log_loss`` and ``brier``
        (two classes: the mean of (p − y)², 0–1; K: summed over the classes as Brier wrote it in
        1950, 0–2). Two classes: ``sensitivity`` = TP / (TP + FN) and ``specificity`` =
        TN / (TN + FP) where the positive probability reaches 0.5. K: one
        ``auc_<class>_vs_<class>`` for every pair. NaN where a class has no member.
    """
    labels, decision = np.asarray(labels), np.asarray(decision)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    binary = len(classes) == 2
    truth = labels[:, None] == np.arange(len(classes))
    # Of two equal probabilities the later class wins: 0.5 counts as positive.
    predicted = len(classes) - 1 - probabilities[:, ::-1].argmax(axis=1)
    hits = predicted == labels
    recalls = [float(hits[members].mean()) if members.any() else np.nan for members in truth.T]
    ranked = decision.reshape(-1, 1) if binary else decision
    precisions = [
        float(average_precision_score(members, column)) if members.any() else np.nan
        for members, column in zip(truth.T[-ranked.shape[1] :], ranked.T, strict=True)
    ]
    true_probability = np.clip(probabilities[truth], np.finfo(np.float64).tiny, 1.0)
    squared_error = ((probabilities - truth) ** 2).sum(axis=1)
    metrics = {
        "auc": auc(labels, decision),
        "average_precision": float(np.mean(precisions)),
        "accuracy": float(hits.mean()),
        "balanced_accuracy": float(np.mean(recalls)),
        "log_loss": float(-np.log(true_probability).mean()),
        "brier": float(squared_error.mean()) / (2 if binary else 1),
    }
    if binary:
        return metrics | {"sensitivity": recalls[1], "specificity": recalls[0]}
    return metrics | {
        f"auc_{_plain(classes[i])}_vs_{_plain(classes[j])}": pair_auc(labels, decision, i, j)
        for i, j in combinations(range(len(classes)), 2)
    }


def _plain(name: str) -> str:
    """``name`` without the characters that MLflow refuses in the name of a metric."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII)

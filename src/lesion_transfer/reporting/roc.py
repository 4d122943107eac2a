"""ROC curves: of a fold, of an arm, and of the arms of a design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from lesion_transfer.evaluation.metrics import auc, pair_auc
from lesion_transfer.evaluation.predictions import Predictions
from lesion_transfer.reporting.panels import panels
from lesion_transfer.reporting.style import (
    INK,
    LINE,
    PALETTE,
    QUIET,
    figure_title,
    new_figure,
    plain_axes,
)

Floats = NDArray[np.float64]
GRID = np.linspace(0.0, 1.0, 101)
"""False positive rates at which curves are averaged."""


def roc_figure(
    labels: ArrayLike, scores: ArrayLike, classes: Sequence[str], title: str = ""
) -> Figure:
    """ROC curve of a fold: one curve for two classes, one per pair for more.

    Parameters
    ----------
    labels
        Shape (n,), integers, indices into ``classes``.
    scores
        Shape (n,), higher meaning ``classes[1]``; or (n, K) decision values or probabilities.
    classes
        The K class names.
    title
        Above the curves.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    figure, axes = _roc_axes(title)
    for colour, (name, curve, area) in zip(
        _colours(), _curves(labels, scores, classes), strict=False
    ):
        label = f"{name}: AUC {100 * area:.1f} %" if name else f"AUC {100 * area:.1f} %"
        axes.plot(*curve, color=colour, linewidth=1.8, label=label)
    _roc_legend(axes)
    return figure


def mean_roc_figure(
    folds: Sequence[tuple[ArrayLike, ArrayLike]], classes: Sequence[str], title: str = ""
) -> Figure:
    """ROC curve of an arm: the mean of its folds' curves, with a band of ± 1 SD.

    The true positive rates are averaged at each false positive rate (vertical averaging, Fawcett
    2006). Of three and more classes, the curve of a fold is the mean over its pairs.

    Parameters
    ----------
    folds
        (labels, scores) of each fold, as in :func:`roc_figure`.
    classes
        The K class names.
    title
        Above the curve.
    """
    figure, axes = _roc_axes(title)
    rates = _rates(folds, classes)
    areas = [auc(labels, scores) for labels, scores in folds]
    axes.plot(GRID, rates.T, color=PALETTE[0], linewidth=0.7, alpha=0.25)
    _band(axes, rates, PALETTE[0])
    spread = f" ± {100 * np.std(areas, ddof=1):.1f}" if len(folds) > 1 else ""
    label = f"AUC {100 * np.mean(areas):.1f}{spread} %, mean of {len(folds)} folds"
    axes.plot(GRID, rates.mean(axis=0), color=PALETTE[0], linewidth=2.2, label=label)
    _roc_legend(axes)
    return figure


def roc_panels(arms: Mapping[str, Sequence[Predictions]]) -> Figure:
    """Draw a panel for each arm: its mean curve with a band of ± 1 SD, the other arms' in grey.

    Parameters
    ----------
    arms
        The folds of each arm, by the name above its panel.
    """
    curves = {
        name: _rates([(fold.labels, fold.decision) for fold in folds], folds[0].classes)
        for name, folds in arms.items()
    }
    figure, grid = panels([*arms], "false positive rate", "true positive rate")
    for (name, folds), axes in zip(arms.items(), grid, strict=True):
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=0.8)
        for other, rates in curves.items():
            if other != name:
                axes.plot(GRID[::4], rates.mean(axis=0)[::4], color=QUIET, linewidth=0.6, alpha=0.5)
        _band(axes, curves[name], PALETTE[0])
        axes.plot(GRID, curves[name].mean(axis=0), color=PALETTE[0], linewidth=1.6)
        area = 100 * np.mean([auc(fold.labels, fold.decision) for fold in folds])
        axes.text(0.96, 0.06, f"{area:.1f} %", ha="right", color=INK, fontsize=8.5)
    return figure


def _rates(folds: Sequence[tuple[ArrayLike, ArrayLike]], classes: Sequence[str]) -> Floats:
    """Return true positive rates at :data:`GRID`, one row a fold."""
    rows = []
    for labels, scores in folds:
        curves = _curves(np.asarray(labels), np.asarray(scores, dtype=np.float64), classes)
        rows.append(np.mean([np.interp(GRID, *curve) for _, curve, _ in curves], axis=0))
    return np.array(rows)


def _band(axes: Axes, rates: Floats, colour: str) -> None:
    if len(rates) > 1:
        mean, sd = rates.mean(axis=0), rates.std(axis=0, ddof=1)
        low, high = np.clip(mean - sd, 0, 1), np.clip(mean + sd, 0, 1)
        axes.fill_between(GRID, low, high, color=colour, alpha=0.18, linewidth=0)


def _curves(
    labels: NDArray[np.generic], scores: Floats, classes: Sequence[str]
) -> list[tuple[str, tuple[Floats, Floats], float]]:
    """(name, (false, true positive rate), AUC) of each pair; of two classes, one without a name."""
    if scores.ndim == 1 or len(classes) == 2:
        positive = scores if scores.ndim == 1 else scores[:, -1]
        return [("", _roc(labels == 1, positive), auc(labels, positive))]
    curves = []
    for i, j in combinations(range(len(classes)), 2):
        pair = (labels == i) | (labels == j)
        # The pair's AUC, the one that is logged, is the mean of the rankings by two columns; the
        # curve is drawn by their difference.
        curve = _roc(labels[pair] == j, scores[pair, j] - scores[pair, i])
        curves.append((f"{classes[i]} vs {classes[j]}", curve, pair_auc(labels, scores, i, j)))
    return curves


def _roc(positive: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """Return false and true positive rates at every threshold, from (0, 0) to (1, 1)."""
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(positive[order])[last_of_ties]
    alarms = np.cumsum(~positive[order])[last_of_ties]
    false_rate, true_rate = alarms / max(alarms[-1], 1), hits / max(hits[-1], 1)
    return np.append(0.0, false_rate), np.append(0.0, true_rate)


def _roc_axes(title: str) -> tuple[Figure, Axes]:
    figure = new_figure(5, 5)
    axes = plain_axes(figure, (0.13, 0.11, 0.83, 0.80))
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1, linestyle=(0, (4, 3)))
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xticks=ticks, yticks=ticks)
    axes.set_xlabel("false positive rate (1 − specificity)", color=INK)
    axes.set_ylabel("true positive rate (sensitivity)", color=INK)
    figure_title(figure, title)
    return figure, axes


def _roc_legend(axes: Axes) -> None:
    axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=INK)


def _colours() -> list[str]:
    return [*PALETTE] * 4

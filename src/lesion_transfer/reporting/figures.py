"""The figures of a fold, an arm, a training and a dataset. Each function returns a new Figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from lesion_transfer.evaluation.metrics import auc, pair_auc
from lesion_transfer.reporting.style import (
    INK,
    LINE,
    PALETTE,
    QUIET,
    figure_png,
    figure_title,
    new_figure,
    plain_axes,
)

__all__ = [
    "confusion_figure",
    "contact_sheet",
    "curves_figure",
    "figure_png",
    "mean_roc_figure",
    "roc_figure",
]

Floats = NDArray[np.float64]


# --- ROC -----------------------------------------------------------------------------------------


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
    grid = np.linspace(0.0, 1.0, 201)
    rates, areas = [], []
    for labels, scores in folds:
        labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
        curves = _curves(labels, scores, classes)
        rate = np.mean([np.interp(grid, *curve) for _, curve, _ in curves], axis=0)
        axes.plot(grid, rate, color=PALETTE[0], linewidth=0.7, alpha=0.25)
        rates.append(rate)
        areas.append(auc(labels, scores))
    mean = np.mean(rates, axis=0)
    if len(folds) > 1:
        sd = np.std(rates, axis=0, ddof=1)
        low, high = np.clip(mean - sd, 0, 1), np.clip(mean + sd, 0, 1)
        axes.fill_between(grid, low, high, color=PALETTE[0], alpha=0.18, linewidth=0)
        spread = f" ± {100 * np.std(areas, ddof=1):.1f}"
    else:
        spread = ""
    label = f"AUC {100 * np.mean(areas):.1f}{spread} %, mean of {len(folds)} folds"
    axes.plot(grid, mean, color=PALETTE[0], linewidth=2.2, label=label)
    _roc_legend(axes)
    return figure


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


# --- confusion -----------------------------------------------------------------------------------


def confusion_figure(
    labels: ArrayLike, predicted: ArrayLike, classes: Sequence[str], title: str = ""
) -> Figure:
    """Confusion matrix: counts, and shares of the true class (the rows sum to 100 %).

    Parameters
    ----------
    labels, predicted
        Shape (n,), integers, indices into ``classes``.
    classes
        The K class names.
    title
        Above the matrix.
    """
    K = len(classes)
    counts = np.zeros((K, K), dtype=np.int64)
    np.add.at(counts, (np.asarray(labels), np.asarray(predicted)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    left, bottom, side = 1.35, 0.7, 1.1 * K
    width, height = left + side + 0.2, bottom + side + 0.45
    figure = new_figure(width, height)
    axes = plain_axes(figure, (left / width, bottom / height, side / width, side / height))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i in range(K):
        for j in range(K):
            colour = "white" if shares[i, j] > 0.55 else INK
            text = f"{counts[i, j]:,}\n{100 * shares[i, j]:.0f} %"
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=11)
    names = [str(name).replace("_", " ") for name in classes]
    axes.set_xticks(range(K), names, parse_math=False)
    axes.set_yticks(range(K), names, parse_math=False)
    axes.set_xlabel("predicted", color=INK)
    axes.set_ylabel("true", color=INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure_title(figure, title)
    return figure


# --- training curves -----------------------------------------------------------------------------


def curves_figure(history: pd.DataFrame, best_epoch: int | None = None, title: str = "") -> Figure:
    """Training curves: losses, validation AUC and learning rate, whichever the history holds.

    Parameters
    ----------
    history
        A column ``epoch`` and any of ``train_loss``, ``val_loss``, ``val_auc`` and
        ``learning_rate``, one row per epoch; NaN leaves a gap.
    best_epoch
        The epoch kept, marked; None: that of the lowest ``val_loss``, where there is one.
    title
        Above the panels.
    """
    panels = [
        ("loss", {"train_loss": "training", "val_loss": "validation"}),
        ("validation AUC", {"val_auc": "validation AUC"}),
        ("learning rate", {"learning_rate": "learning rate"}),
    ]
    panels = [(name, lines) for name, lines in panels if set(lines) & set(history.columns)]
    epochs = history["epoch"].to_numpy()
    if best_epoch is None and "val_loss" in history and history["val_loss"].notna().any():
        best_epoch = int(epochs[int(np.nanargmin(history["val_loss"].to_numpy(dtype=np.float64)))])
    figure = new_figure(1.0 + 3.6 * max(len(panels), 1), 3.6)
    width = 1 / max(len(panels), 1)
    for number, (name, lines) in enumerate(panels):
        left = number * width
        axes = plain_axes(figure, (left + 0.22 * width, 0.15, 0.73 * width, 0.66))
        marker = "o" if len(history) < 20 else ""
        for colour, (column, label) in zip(PALETTE, lines.items(), strict=False):
            if column in history:
                axes.plot(
                    epochs, history[column], color=colour, label=label, marker=marker,
                    markersize=3.5, linewidth=1.6,
                )  # fmt: skip
        if best_epoch is not None:
            axes.axvline(best_epoch, color=QUIET, linewidth=1, linestyle=(0, (2, 2)))
            if number == 0:
                axes.annotate(
                    f"kept: {best_epoch}", (best_epoch, 1.0), (0, 3),
                    xycoords=("data", "axes fraction"),
                    textcoords="offset points", ha="center", color=QUIET, fontsize=8,
                )  # fmt: skip
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=9, labelcolor=INK)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        axes.set_xlabel("epoch", color=INK)
        axes.set_title(name, loc="left", fontsize=10, color=INK, pad=14)
    figure_title(figure, title, left=0.01)
    return figure


# --- pictures ------------------------------------------------------------------------------------


def contact_sheet(
    images: NDArray[np.uint8], captions: Sequence[str] = (), title: str = ""
) -> Figure:
    """Pictures side by side, at their own resolution or larger.

    Parameters
    ----------
    images
        Shape (n, S, S, 3), uint8 RGB; a dozen or two.
    captions
        Under each picture; may be empty.
    title
        Above the sheet.
    """
    n = len(images)
    columns = max(1, min(n, math.ceil(math.sqrt(n * 1.6))))
    rows = math.ceil(n / columns)
    cell, margin, caption, head = 1.5, 0.08, 0.24 if captions else 0.0, 0.45 if title else 0.08
    width, height = columns * (cell + margin) + margin, rows * (cell + margin + caption) + head
    figure = new_figure(width, height)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        left = margin + column * (cell + margin)
        top = height - head - row * (cell + margin + caption)
        axes = figure.add_axes((left / width, (top - cell) / height, cell / width, cell / height))
        axes.imshow(image, interpolation="nearest" if image.shape[0] < 90 else "antialiased")
        axes.set_axis_off()
        if index < len(captions):
            figure.text(
                (left + cell / 2) / width, (top - cell - 0.04) / height, captions[index][:28],
                ha="center", va="top", fontsize=7, color=INK, parse_math=False,
            )  # fmt: skip
    figure_title(figure, title, left=margin / width)
    return figure

"""Can the probabilities be trusted, and are they of use: reliability and decision curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lesion_transfer.evaluation.predictions import Predictions
from lesion_transfer.evaluation.risk import Reliability, net_benefit
from lesion_transfer.reporting.panels import WIDTH, panels
from lesion_transfer.reporting.style import INK, LINE, PALETTE, QUIET, new_figure, plain_axes

Floats = NDArray[np.float64]

LINES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 3)))
"""Beside the colours, for those who do not tell these apart, and for grey paper."""
ALL = (0, (1, 1.5))
THRESHOLDS = np.linspace(0.01, 0.60, 60)
FEWEST = 10
"""Pictures in a bin, in each repeat of the cross-validation, below which no dot is drawn."""


def reliability_panels(arms: Mapping[str, Sequence[Predictions]]) -> Figure:
    """Draw a panel for each arm: observed frequency against predicted risk, in ten bins.

    Dots are over all folds, their bars ± 1 SD between folds; on the diagonal, risks are right. The
    columns below show how many pictures have which risk. Three classes: a colour each, without
    bars and columns.

    Parameters
    ----------
    arms
        The folds of each arm, by the name above its panel.
    """
    figure, grid = panels([*arms], "predicted risk", "observed frequency")
    for folds, axes in zip(arms.values(), grid, strict=True):
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=0.8)
        K = len(folds[0].classes)
        images = np.concatenate([fold.images for fold in folds])
        repeats = len(images) / len(set(images))
        for number, k in enumerate([1] if K == 2 else range(K)):
            colour = PALETTE[number]
            each = [Reliability.of(fold.labels == k, fold.probabilities[:, k]) for fold in folds]
            pooled = Reliability.of(
                np.concatenate([fold.labels == k for fold in folds]),
                np.concatenate([fold.probabilities[:, k] for fold in folds]),
            )
            there = pooled.count >= FEWEST * repeats
            x, y = pooled.predicted[there], pooled.observed[there]
            axes.plot(x, y, color=colour, linewidth=1.2, marker="o", markersize=3)
            if K == 2:
                share = pooled.count / pooled.count.sum()
                axes.bar(np.arange(10) / 10 + 0.05, 0.3 * share / share.max(), 0.09, color=LINE)
                observed = np.array([fold.observed for fold in each])[:, there]
                known = (~np.isnan(observed)).sum(axis=0) > 1
                sd = np.nanstd(observed[:, known], axis=0, ddof=1)
                low, high = np.clip(y[known] - sd, 0, 1), np.clip(y[known] + sd, 0, 1)
                axes.vlines(x[known], low, high, color=colour, linewidth=0.9, alpha=0.6)
    classes = next(iter(arms.values()))[0].classes
    if len(classes) > 2:
        place: dict[str, Any] = (
            {"loc": "center right", "bbox_to_anchor": (1.0, 0.5)}  # where a second arm would be
            if len(arms) == 1
            else {"loc": "upper right", "bbox_to_anchor": (1.0, 0.0), "ncols": len(classes)}
        )
        figure.legend(
            handles=[
                Line2D([], [], color=colour, marker="o", markersize=3, label=name)
                for colour, name in zip(PALETTE, classes, strict=False)
            ],
            frameon=False, fontsize=8, labelcolor=INK, handlelength=1.2, columnspacing=1.0, **place,
        )  # fmt: skip
    return figure


def decision_figure(arms: Mapping[str, Sequence[Predictions]]) -> Figure:
    """Net benefit of each arm by the risk from which one acts, beside acting on all and on none.

    Of two classes only. See :func:`~lesion_transfer.evaluation.risk.net_benefit`; the mean over
    folds is shown.

    Parameters
    ----------
    arms
        The folds of each arm, by its name in the legend.
    """
    height = 3.0
    figure = new_figure(WIDTH, height)
    axes = plain_axes(figure, (0.55 / WIDTH, 0.42 / height, (WIDTH - 0.62) / WIDTH, 2.5 / height))
    for number, (name, folds) in enumerate(arms.items()):
        curve = np.mean([_benefit(fold, fold.probabilities[:, 1]) for fold in folds], axis=0)
        axes.plot(
            100 * THRESHOLDS, 100 * curve, label=name, linewidth=1.3,
            color=PALETTE[number % len(PALETTE)], linestyle=LINES[number % len(LINES)],
        )  # fmt: skip
    some = next(iter(arms.values()))
    everyone = np.mean([_benefit(fold, np.ones(len(fold.labels))) for fold in some], axis=0)
    share = float(np.mean([(fold.labels == 1).mean() for fold in some]))
    axes.plot(
        100 * THRESHOLDS,
        100 * everyone,
        color=QUIET,
        linewidth=1.1,
        linestyle=ALL,
        label="act on all",
    )
    axes.axhline(0, color=INK, linewidth=0.9, label="act on none")
    axes.set(ylim=(-15 * share, 105 * share), xlim=(0, 100 * THRESHOLDS[-1]))
    axes.grid(color=LINE, linewidth=0.5)
    axes.set_xlabel("risk from which one acts, %", color=QUIET, fontsize=8.5)
    axes.set_ylabel("net benefit, per 100 patients", color=QUIET, fontsize=8.5)
    axes.tick_params(labelsize=8, length=2)
    axes.legend(frameon=False, fontsize=7.5, labelcolor=INK, ncols=2, loc="best", handlelength=2.6)
    return figure


def _benefit(fold: Predictions, risk: Floats) -> Floats:
    ones = np.ones((len(fold.labels), 1))
    return net_benefit(fold.labels == 1, risk, THRESHOLDS, ones)[:, 0]

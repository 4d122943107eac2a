"""Confusion matrix, training curves and contact sheet. Each function returns a new Figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

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
]

# --- confusion -----------------------------------------------------------------------------------


def confusion_figure(counts: NDArray[np.int64], classes: Sequence[str], title: str = "") -> Figure:
    """Confusion matrix: counts, and shares of the true class (the rows sum to 100 %).

    Parameters
    ----------
    counts
        Shape (K, K): true classes in rows, predicted ones in columns.
    classes
        The K class names.
    title
        Above the matrix.
    """
    K = len(classes)
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
    images: NDArray[np.uint8], captions: Sequence[str] = (), title: str = "", together: int = 1
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
    together
        So many pictures, one after the other, are never divided between rows.
    """
    n = len(images)
    columns = max(1, min(n, together * math.ceil(math.sqrt(n * 1.6) / together)))
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

"""The results table as a picture: AUC by model, one panel per design."""

from __future__ import annotations

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lesion_transfer.reporting import DISCLAIMER
from lesion_transfer.reporting.cells import Cell, ResultsTable
from lesion_transfer.reporting.render import heading
from lesion_transfer.reporting.style import (
    INK,
    LINE,
    PALETTE,
    QUIET,
    figure_title,
    new_figure,
    plain_axes,
)

OURS, PAPER, REIMPLEMENTATION = PALETTE[0], PALETTE[1], PALETTE[2]


def results_figure(table: ResultsTable) -> Figure:
    """Draw means with 95 % intervals, the folds behind them, and what was published, hollow.

    An incomplete arm has a hollow mean and says how many folds it has.
    """
    panels, models = len(table.designs), len(table.models)
    width = max(7.5, 0.9 + panels * (0.6 + 0.52 * models))
    notes = [*table.notes, *table.published_notes, DISCLAIMER]
    lines = [line for note in notes for line in textwrap.wrap(note, int(width * 15.5))]
    top, bottom = 0.8, 0.55 + 0.145 * len(lines)
    height = 3.4 + top + bottom
    figure = new_figure(width, height)
    left, gap = 0.6 / width, 0.25 / width
    panel = (1 - left - gap * panels) / panels
    limits = _limits(table)
    for number, design in enumerate(table.designs):
        rect = (left + number * (panel + gap), bottom / height, panel, 3.4 / height)
        axes = plain_axes(figure, rect)
        _frame(axes, table, design, limits, first=number == 0)
        for x, row in enumerate(table.models):
            _draw(axes, x, table.cell(design, row), limits[0])
    figure_title(figure, f"AUC by model · {table.title}", left=0.15 / width)
    figure.legend(
        handles=_key(table), loc="upper left", bbox_to_anchor=(0.1 / width, 1 - 0.27 / height),
        ncols=6, frameon=False, fontsize=8.5, labelcolor=INK, handletextpad=0.4, columnspacing=1.4,
    )  # fmt: skip
    figure.text(
        0.15 / width, (bottom - 0.42) / height, "\n".join(lines), ha="left", va="top",
        fontsize=7.5, color=QUIET, linespacing=1.35, parse_math=False,
    )  # fmt: skip
    return figure


def _frame(
    axes: Axes, table: ResultsTable, design: str, limits: tuple[float, float], *, first: bool
) -> None:
    axes.set_title(heading(design), loc="left", fontsize=9.5, color=INK)
    axes.set(xlim=(-0.6, len(table.models) - 0.4), ylim=limits)
    names = [
        row.label if len(row.name) < 3 else textwrap.fill(row.label, 10) for row in table.models
    ]
    axes.set_xticks(range(len(names)), names, parse_math=False)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    if limits[0] < 50:
        axes.axhline(50, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
    if first:
        axes.set_ylabel("AUC, %", color=INK)
    else:
        axes.set_yticklabels([])


def _draw(axes: Axes, x: float, cell: Cell, floor: float) -> None:
    if cell.paper is not None:
        axes.plot(
            x + 0.26, 100 * cell.paper, marker="D", markersize=5.5, markerfacecolor="white",
            markeredgecolor=PAPER, markeredgewidth=1.4,
        )  # fmt: skip
    if cell.reimplementation is not None:
        axes.plot(
            x + 0.26, 100 * cell.reimplementation, marker="s", markersize=5,
            markerfacecolor="white", markeredgecolor=REIMPLEMENTATION, markeredgewidth=1.4,
        )  # fmt: skip
    if cell.missing:
        axes.annotate(
            "not run", (x, floor), (0, 4), textcoords="offset points", ha="center", va="bottom",
            fontsize=7.5, color=QUIET, rotation=90,
        )  # fmt: skip
        return
    folds = 100 * np.asarray(cell.folds)
    axes.scatter(
        np.full(len(folds), x - 0.24), folds, s=9, color=OURS, alpha=0.4, linewidth=0, zorder=2
    )
    if not math.isnan(cell.ci_low):
        axes.vlines(x, 100 * cell.ci_low, 100 * cell.ci_high, color=OURS, linewidth=2, zorder=3)
    axes.plot(
        x, 100 * cell.mean, marker="o", markersize=7.5, markeredgecolor=OURS, markeredgewidth=1.6,
        markerfacecolor=OURS if cell.complete else "white", zorder=4,
    )  # fmt: skip
    if cell.progress:
        axes.annotate(
            cell.progress, (x, floor), (0, 4), textcoords="offset points", ha="center",
            fontsize=7.5, color=QUIET,
        )  # fmt: skip


def _limits(table: ResultsTable) -> tuple[float, float]:
    """Return limits for all panels: multiples of five around all that is drawn."""
    values = [
        value
        for cell in table.cells.values()
        for value in (
            *cell.folds, cell.mean, cell.ci_low, cell.ci_high,
            *filter(None, (cell.paper, cell.reimplementation)),
        )
        if not math.isnan(value)
    ]  # fmt: skip
    if not values:
        return 50.0, 100.0
    low, high = 100 * min(values), 100 * max(values)
    return max(0.0, 5 * math.floor((low - 2) / 5)), min(101.0, 5 * math.ceil((high + 1) / 5))


def _key(table: ResultsTable) -> list[Line2D]:
    cells = list(table.cells.values())
    incomplete = any(cell.progress for cell in cells)
    folds = any(cell.folds for cell in cells)
    again = any(cell.reimplementation is not None for cell in cells)
    return [
        _handle("ours, mean", marker="o", color=OURS, markersize=7),
        *([_handle("ours, incomplete", marker="o", color=OURS, hollow=True)] * incomplete),
        _handle("95 % interval", color=OURS, linewidth=2),
        *([_handle("a fold", marker="o", color=OURS, alpha=0.4, markersize=3)] * folds),
        *([_handle("paper", marker="D", color=PAPER, hollow=True)] * table.published),
        *([_handle("re-impl.", marker="s", color=REIMPLEMENTATION, hollow=True)] * again),
    ]


def _handle(
    label: str,
    *,
    color: str,
    marker: str = "",
    markersize: float = 5.5,
    linewidth: float = 0.0,
    alpha: float = 1.0,
    hollow: bool = False,
) -> Line2D:
    return Line2D(
        [], [], label=label, color=color, marker=marker, markersize=markersize,
        linewidth=linewidth, linestyle="-" if linewidth else "none", alpha=alpha,
        markeredgewidth=1.4 if hollow else 0.0, markerfacecolor="white" if hollow else color,
    )  # fmt: skip

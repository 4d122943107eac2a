"""Forest plot: means with their intervals, one line an arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from matplotlib.figure import Figure

from lesion_transfer.reporting.cells import Cell, ResultsTable
from lesion_transfer.reporting.panels import WIDTH
from lesion_transfer.reporting.style import (
    INK,
    LINE,
    PALETTE,
    QUIET,
    WHITE,
    new_figure,
    plain_axes,
)

ROW, LINE_HEIGHT = 0.44, 0.12
"""Inches: of an arm with up to two lines of notes, and of each further one."""
CHARACTER = 0.066
"""Inches, of its width in notes, somewhat generous: a page has fonts of its own."""
LONGEST = 28
"""Characters of a line of notes; more would leave no room for the plot."""
OURS, PAPER = PALETTE[0], PALETTE[1]


@dataclass(frozen=True)
class ForestRow:
    """An arm's line: its name, what it is, and its cell of the results table."""

    name: str
    note: str
    cell: Cell


def forest_rows(table: ResultsTable, design: str) -> list[ForestRow]:
    """Return a line for every model of a design that has a result."""
    return [
        ForestRow(row.label, row.description, table.cell(design, row))
        for row in table.models
        if not table.cell(design, row).missing
    ]


def forest_figure(rows: Sequence[ForestRow]) -> Figure:
    """Draw each mean as a square on its 95 % interval, folds as dots, the paper's as a diamond.

    An incomplete arm's square is hollow. The dashed line is an AUC of 50 %, a coin's.
    """
    notes = [_wrapped(row.note) for row in rows]
    longest = max((len(line) for note in notes for line in note.split("\n")), default=0)
    left, right, below, above = max(1.16, CHARACTER * longest), 1.1, 0.45, 0.04
    row_height = ROW + LINE_HEIGHT * max([0, *(note.count("\n") - 1 for note in notes)])
    height = above + row_height * len(rows) + below
    figure = new_figure(WIDTH, height)
    width = WIDTH - left - right
    axes = plain_axes(
        figure, (left / WIDTH, below / height, width / WIDTH, row_height * len(rows) / height)
    )
    axes.set(xlim=_limits(rows), ylim=(len(rows) - 0.5, -0.5), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=LINE, linewidth=0.6)
    if axes.get_xlim()[0] < 50:
        axes.axvline(50, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)))
    for y, row in enumerate(rows):
        cell = row.cell
        folds = 100 * np.asarray(cell.folds)
        axes.scatter(folds, np.full(len(folds), y + 0.28), s=6, color=OURS, alpha=0.45, lw=0)
        if not math.isnan(cell.ci_low):
            axes.hlines(y, 100 * cell.ci_low, 100 * cell.ci_high, color=OURS, linewidth=1.6)
        axes.plot(
            100 * cell.mean, y, marker="s", markersize=6, markeredgecolor=OURS,
            markerfacecolor=OURS if cell.complete else WHITE,
        )  # fmt: skip
        if cell.paper is not None:
            axes.plot(
                100 * cell.paper, y - 0.26, marker="D", markersize=4, markeredgecolor=PAPER,
                markerfacecolor="none",
            )  # fmt: skip
        middle = (below + row_height * (len(rows) - y - 0.5)) / height
        under = f"{cell.interval}  {cell.progress}" if cell.progress else cell.interval
        for x, first, second in (
            (0.0, row.name, notes[y]),
            (1 - (right - 0.08) / WIDTH, cell.text, under),
        ):
            _text(figure, x, middle + 0.1 / height, first, INK, 9, "normal" if x else "bold")
            _text(figure, x, middle - 0.05 / height, second, QUIET, 7.6)
    axes.set_xlabel("AUC, %", color=QUIET, fontsize=8.5)
    axes.tick_params(labelsize=8, length=2)
    return figure


def _text(
    figure: Figure, x: float, y: float, text: str, colour: str, size: float, weight: str = "normal"
) -> None:
    figure.text(
        x, y, text, color=colour, fontsize=size, weight=weight, va="top", linespacing=1.05,
        parse_math=False,
    )  # fmt: skip


def _wrapped(note: str) -> str:
    """Break a note that is too long for its column."""
    parts = note.replace(", ", ",\n").split("\n") if len(note) > 24 else [note]
    return "\n".join(line for part in parts for line in wrap(part, LONGEST))


def _limits(rows: Sequence[ForestRow]) -> tuple[float, float]:
    """Return limits around all that is drawn, in %."""
    values = [
        100 * value
        for row in rows
        for value in (
            *row.cell.folds, row.cell.mean, row.cell.ci_low, row.cell.ci_high,
            math.nan if row.cell.paper is None else row.cell.paper,
        )
        if not math.isnan(value)
    ]  # fmt: skip
    if not values:
        return 40.0, 100.0
    return max(0.0, min(values) - 2), min(101.0, max(values) + 2)

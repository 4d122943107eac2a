"""Small panels side by side, one an arm, that read at the width of a phone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lesion_transfer.reporting.style import INK, QUIET, new_figure, plain_axes

WIDTH = 3.9
"""Inches; a page shows it at 375 pixels, the width of a phone, or somewhat larger."""
COLUMNS = 3


def panels(names: Sequence[str], x_label: str, y_label: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with square panels for values in 0–1 on both axes, and the panels."""
    columns = min(COLUMNS, max(len(names), 2))
    rows = math.ceil(len(names) / columns)
    left, gap, above, below = 0.45, 0.14, 0.24, 0.42
    side = (WIDTH - left - 0.05 - gap * (columns - 1)) / columns
    height = below + rows * (side + above) + 0.02 + (rows - 1) * 0.08
    figure = new_figure(WIDTH, height)
    grid = []
    for number, name in enumerate(names):
        row, column = divmod(number, columns)
        x = left + column * (side + gap)
        y = height - (row + 1) * (side + above) - row * 0.08
        axes = plain_axes(figure, (x / WIDTH, y / height, side / WIDTH, side / height))
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        ticks = [0.0, 0.5, 1.0]
        lowest = number + columns >= len(names)
        axes.set_xticks(ticks, ["0", "0.5", "1"] if lowest else [])
        axes.set_yticks(ticks, ["0", "0.5", "1"] if column == 0 else [])
        axes.tick_params(labelsize=8, length=2)
        axes.set_title(
            name, loc="left", fontsize=9, color=INK, pad=3, weight="bold", parse_math=False
        )
        grid.append(axes)
    used = min(len(names), columns)
    middle = left + (used * side + (used - 1) * gap) / 2
    figure.text(middle / WIDTH, 0.01, x_label, ha="center", va="bottom", color=QUIET, fontsize=8.5)
    figure.text(0.005, 0.5, y_label, ha="left", va="center", rotation=90, color=QUIET, fontsize=8.5)
    return figure, grid

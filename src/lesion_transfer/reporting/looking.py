"""The figure that shows where a model looks: confident right and wrong answers with heat maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lesion_transfer.reporting import DISCLAIMER


def looking_figure(
    images: NDArray[np.uint8],
    maps: NDArray[np.float64],
    captions: Sequence[str],
    title: str = "",
    columns: int = 4,
) -> Figure:
    """Show each picture beside itself under its heat map.

    Parameters
    ----------
    images
        Shape (n, side, side, 3), RGB.
    maps
        Shape (n, side, side): red where a pixel speaks for the answer given, blue against it.
    captions
        One per picture.
    title
        Above all.
    columns
        Pictures in a row.
    """
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(columns * 3.2, rows * 2.1 + 0.9), layout="constrained")
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    grid = figure.subplots(rows, 2 * columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, (image, heat, caption) in enumerate(zip(images, maps, captions, strict=True)):
        row, column = divmod(number, columns)
        plain, under = grid[row, 2 * column], grid[row, 2 * column + 1]
        plain.imshow(image)
        under.imshow(image)
        limit = float(np.abs(heat).max()) or 1.0
        under.imshow(heat, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.5)
        plain.set_title(caption, fontsize=8, loc="left")
    figure.supxlabel(
        f"red: covering it weakens the answer; blue: strengthens it. {DISCLAIMER}", fontsize=8
    )
    return figure

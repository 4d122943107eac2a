"""What the figures share: colours, a bare canvas, and how a figure becomes a PNG file.

Figures are built with matplotlib's objects, without pyplot and its global state: threads may draw
at the same time, and nothing is left open. Axes are placed by hand; a layout engine would cost more
than the drawing.
"""

from __future__ import annotations

from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#1b1f24"
QUIET = "#6b747d"
LINE = "#d5dae0"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe & Ito's colours: told apart by readers with any common colour vision."""

DPI = 120


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of ``width`` × ``height`` inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(figure: Figure, rect: tuple[float, float, float, float]) -> Axes:
    """Add axes at ``rect`` (left, bottom, width, height; shares of the figure), lightly framed."""
    axes = figure.add_axes(rect)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelcolor=INK, labelsize=9)
    axes.set_axisbelow(True)
    return axes


def figure_title(figure: Figure, title: str, left: float = 0.02) -> None:
    """Write ``title`` at the top left; a dollar sign in it is a dollar sign."""
    figure.text(
        left, 0.985, title, ha="left", va="top", color=INK, weight="bold", fontsize=11,
        parse_math=False,
    )  # fmt: skip


def figure_png(figure: Figure) -> bytes:
    """Return ``figure`` as a PNG file; equal figures give equal bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()

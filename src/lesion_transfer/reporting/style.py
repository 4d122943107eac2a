"""What the figures share: colours, a bare canvas, and how a figure becomes a PNG file.

Figures are built with matplotlib's objects, without pyplot and its global state: threads may draw
at the same time, and nothing is left open. Axes are placed by hand; a layout engine would cost more
than the drawing.
"""

from __future__ import annotations

import re
from html import escape
from io import BytesIO, StringIO

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

INK = "#1b1f24"
QUIET = "#6b747d"
LINE = "#d5dae0"
WHITE = "#ffffff"
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


def figure_svg(figure: Figure, label: str) -> str:
    """Return ``figure`` as an SVG element for a page that defines the colours it is drawn in.

    Text stays text, in the page's font. The named colours above become the page's variables
    ``--ink``, ``--quiet``, ``--line``, ``--page`` and ``--c0`` … ``--c5``, so that the figure
    follows the reader's light or dark setting. Equal figures give equal text. It is cropped or
    extended to what is drawn, but never narrower than the figure: text of one size in figures of
    one width has one size on the page.

    Parameters
    ----------
    figure
        Drawn in the colours of this module.
    label
        What it shows, for those who do not see it.
    """
    buffer = StringIO()
    figure.patch.set_visible(False)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "lesion_transfer"}):
        drawn = figure.get_tightbbox()
        left, right = min(drawn.x0, 0.0), max(drawn.x1, figure.get_figwidth())
        figure.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None},
            bbox_inches=Bbox.from_extents(left, drawn.y0, right, drawn.y1).padded(0.02),
        )  # fmt: skip
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', "", text, count=1)
    names = {INK: "ink", QUIET: "quiet", LINE: "line", WHITE: "page"}
    names |= {colour: f"c{number}" for number, colour in enumerate(PALETTE)}
    for colour, name in names.items():
        text = text.replace(colour, f"var(--{name})")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)

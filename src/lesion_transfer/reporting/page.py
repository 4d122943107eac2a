"""The results tables as one self-contained HTML page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from lesion_transfer.reporting import DISCLAIMER
from lesion_transfer.reporting.render import heading, percent, signed
from lesion_transfer.reporting.table import ResultsTable


def html(
    tables: Sequence[ResultsTable],
    figures: Sequence[bytes] = (),
    title: str = "Transfer-learning results",
) -> str:
    """Return a page with ``tables``, each followed by its figure where there is one.

    It needs no network and no script, follows the reader's light or dark setting, reads at phone
    width and prints. Every text is escaped.

    Parameters
    ----------
    tables
        In the order shown.
    figures
        PNG files, the i-th belonging to the i-th table; may be shorter than ``tables``.
    title
        Of the page.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "signed": signed, "heading": heading}
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    images = ["data:image/png;base64," + b64encode(figure).decode() for figure in figures]
    images += [""] * (len(tables) - len(images))
    return environment.from_string(template).render(
        sections=list(zip(tables, images, strict=True)), title=title, disclaimer=DISCLAIMER
    )

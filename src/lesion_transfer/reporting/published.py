"""The numbers that the paper and its re-implementation published, to stand beside ours."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

PUBLISHED_SETTING = {"dataset": "atlas", "backbone": "vgg_m", "image_size": 224}
"""What was published was measured on this; nothing else is comparable with it."""


def published_results() -> pd.DataFrame:
    """Return the published AUCs, one row per cell.

    Returns
    -------
    DataFrame
        Columns ``table`` (``paper``: Menegola et al., ISBI 2017; or ``reimplementation``),
        ``dataset``, ``backbone``, ``design``, ``model`` (a letter, A–F) and ``auc`` (in %, one
        decimal, as printed). The source is cited in full at the head of ``published.csv``.
    """
    with files(__package__).joinpath("published.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, comment="#")

"""The comparison as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from lesion_transfer.reporting import DISCLAIMER
from lesion_transfer.reporting.cells import ResultsTable
from lesion_transfer.reporting.frames import (
    ANSWER_COLUMNS,
    CONTRAST_COLUMNS,
    METRIC_COLUMNS,
    NOT_PERCENT,
    metric_name,
)
from lesion_transfer.reporting.render import heading, percent, signed

FOLD_COLUMNS = ("design", "model", "fold", "auc", "run_id", "url")
MISSING_COLUMNS = ("design", "model", "folds", "command")


@dataclass(frozen=True)
class Panel:
    """A figure of one design, as an SVG element."""

    design: str
    svg: str


@dataclass(frozen=True, eq=False)
class Section:
    """A results table and what stands behind it; all parts but the table may be empty.

    Attributes
    ----------
    forest, roc, reliability, decision
        Figures, one a design.
    contrasts, metrics, answers
        See :mod:`~lesion_transfer.reporting.frames`.
    folds
        Columns :data:`FOLD_COLUMNS`; ``url`` may be empty.
    missing
        Columns :data:`MISSING_COLUMNS`: how many folds a cell lacks, and what would compute them.
    reference
        The model that the contrasts compare all others with; empty: they are the declared ones.
    """

    table: ResultsTable
    forest: tuple[Panel, ...] = ()
    roc: tuple[Panel, ...] = ()
    reliability: tuple[Panel, ...] = ()
    decision: tuple[Panel, ...] = ()
    contrasts: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=CONTRAST_COLUMNS))
    metrics: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=METRIC_COLUMNS))
    answers: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=ANSWER_COLUMNS))
    folds: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=FOLD_COLUMNS))
    missing: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=MISSING_COLUMNS))
    reference: str = ""


def html(
    sections: Sequence[Section],
    provenance: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    side_by_side: Sequence[Panel] = (),
    title: str = "Transfer-learning results",
) -> str:
    """Return the page.

    It needs no network and no script, follows the reader's light or dark setting, reads at phone
    width and prints. Every text is escaped.

    Parameters
    ----------
    sections
        In the order shown.
    provenance
        What a reader needs to check the numbers, by name.
    notes
        What a reader must know of the selection.
    side_by_side
        Forest plots over all tables, where there are several.
    title
        Of the page.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": percent,
        "signed": signed,
        "heading": heading,
        "p_value": p_value,
        "share": share,
        "metric_name": metric_name,
        "svg": Markup,
        "rows": _rows,
    }
    environment.globals |= {
        "value": _value,
        "matrix": _matrix,
        "metric_table": _metric_table,
        "answer_table": _answer_table,
        "fold_table": _fold_table,
    }
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        sections=sections,
        provenance=provenance or {},
        notes=notes,
        side_by_side=side_by_side,
        title=title,
        disclaimer=DISCLAIMER,
    )


def p_value(p: float) -> str:
    """Return a p-value to two digits, never as zero; ``–`` where there is none."""
    if math.isnan(p):
        return "–"
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def share(value: float) -> str:
    """Return a probability in %, never rounded to certainty."""
    if value < 0.01:
        return "< 1 %"
    return "> 99 %" if value > 0.99 else f"{100 * value:.0f} %"


def _rows(frame: pd.DataFrame, **equal: str) -> list[dict[str, object]]:
    for column, wanted in equal.items():
        frame = frame[frame[column] == wanted]
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _value(metric: str, value: float) -> str:
    """Return a metric in % or, where it is no share, to three decimals."""
    if math.isnan(value):
        return "–"
    text = f"{value:.3f}" if metric in NOT_PERCENT else f"{100 * value:.1f}"
    return text.replace("-", "−")


def _matrix(section: Section, design: str) -> list[dict[str, object]]:
    """Return the rows of the matrix of differences, row − column, in the table's order."""
    contrasts = {
        (row["first"], row["second"]): row for row in _rows(section.contrasts, design=design)
    }
    models = [m for m in section.table.models if not section.table.cell(design, m).missing]
    largest = 0.1  # a difference of ten points has the full colour
    rows: list[dict[str, object]] = []
    for one in models:
        cells: list[dict[str, object] | None] = []
        for other in models:
            if one is other:
                cells.append(None)
                continue
            ours, theirs = (section.table.cell(design, m).mean for m in (one, other))
            tested = contrasts.get((one.name, other.name)) or contrasts.get((other.name, one.name))
            cells.append(
                {
                    "difference": ours - theirs,
                    "strength": min(abs(ours - theirs) / largest, 1.0),
                    "p": tested["f_p_holm"] if tested and not tested["problem"] else None,
                    "established": bool(tested and tested["established"]),
                }
            )
        rows.append({"name": one.label, "cells": cells})
    return rows


def _metric_table(section: Section, design: str) -> dict[str, object]:
    """Return the metrics of a design: a column for each model, a row for each metric."""
    frame = section.metrics[section.metrics["design"] == design]
    found = {(row["metric"], row["model"]): row for row in frame.to_dict("records")}
    return {
        "models": list(dict.fromkeys(frame["model"])),
        "metrics": list(dict.fromkeys(frame["metric"])),
        "cells": found,
    }


def _answer_table(section: Section, design: str) -> dict[str, object]:
    """Return the answers of a design: a column for each answer, rows by model and true class."""
    frame = section.answers[section.answers["design"] == design]
    return {
        "models": list(dict.fromkeys(frame["model"])),
        "classes": list(dict.fromkeys(frame["class"])),
        "share": {
            (row["model"], row["class"], row["answer"]): row["share"]
            for row in frame.to_dict("records")
        },
    }


def _fold_table(section: Section, design: str) -> dict[str, object]:
    """Return the folds of a design: a column for each model, a row for each fold."""
    frame = section.folds[section.folds["design"] == design]
    return {
        "models": list(dict.fromkeys(frame["model"])),
        "folds": sorted(set(frame["fold"])),
        "cells": {(row["fold"], row["model"]): row for row in frame.to_dict("records")},
    }

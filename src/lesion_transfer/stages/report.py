"""What the comparison's page shows beside its tables, read from the tracking server."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from lesion_transfer.evaluation.contrasts import DECLARED, Evidence
from lesion_transfer.reporting.cells import ResultsTable
from lesion_transfer.reporting.page import FOLD_COLUMNS, Section
from lesion_transfer.reporting.sections import section
from lesion_transfer.reporting.table import TABLE_COLUMNS
from lesion_transfer.stages.evidence import arm_evidence
from lesion_transfer.stages.missing import missing
from lesion_transfer.stages.provenance import without_password
from lesion_transfer.stages.workspace import Workspace


def report_section(
    ws: Workspace,
    table: ResultsTable,
    arms: pd.DataFrame,
    reference: str | None,
    *,
    anew: bool = False,
) -> Section:
    """Return a table's section of the page.

    Parameters
    ----------
    ws, table
        The surroundings, and the table.
    arms
        The frame the tables were made of, with a column ``runs``: the folds of each arm.
    reference
        The model that all others are compared with; None: the declared contrasts.
    anew
        Whether folds may be missing because they are too old, and must be computed again.
    """
    setting = [table.dataset, table.backbone, table.protocol, table.image_size]
    ours = arms[(arms[[*TABLE_COLUMNS]] == setting).all(axis=1)]
    by_cell = {(arm["design"], arm["model"]): arm for arm in ours.to_dict("records")}
    found: dict[str, dict[str, Evidence]] = {design: {} for design in table.designs}
    for design in table.designs:
        for model in (row.name for row in table.models if (design, row.name) in by_cell):
            arm = by_cell[design, model]
            ws.progress.now(f"{design} · {model} · predictions")
            found[design][model] = arm_evidence(
                ws, model, arm["run_id"], arm["runs"], arm["expected_folds"]
            )
    ws.progress.now(f"{table.title} · tests and figures")
    pairs = (
        DECLARED
        if reference is None
        else [(reference, model) for model in table.found if model != reference]
    )
    made = section(table, found, pairs)
    return replace(
        made,
        folds=_folds(ws, ours),
        missing=missing(table, _seed(ours), anew=anew),
        reference=reference or "",
    )


def _folds(ws: Workspace, arms: pd.DataFrame) -> pd.DataFrame:
    address = without_password(ws.tracker.uri).rstrip("/")
    page = f"{address}/#/experiments/{ws.tracker.experiment_id}/runs/"
    rows = [
        (
            arm["design"],
            arm["model"],
            fold.fold,
            fold.auc,
            fold.id,
            page + fold.id if address.startswith("http") else "",
        )
        for arm in arms.to_dict("records")
        for fold in arm["runs"]
    ]
    return pd.DataFrame(rows, columns=[*FOLD_COLUMNS])


def _seed(arms: pd.DataFrame) -> str:
    """Return the seed of these arms; empty where they have several."""
    seeds = set(arms["seed"])
    return str(seeds.pop()) if len(seeds) == 1 else ""

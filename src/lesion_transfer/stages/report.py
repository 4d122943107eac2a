"""What the comparison's page shows beside its tables, read from the tracking server."""

from __future__ import annotations

import pandas as pd

from lesion_transfer.errors import UserError
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
    ws: Workspace, table: ResultsTable, arms: pd.DataFrame, reference: str | None
) -> Section:
    """Return a table's section of the page.

    Parameters
    ----------
    ws, table
        The surroundings, and the table.
    arms
        The frame the tables were made of, with a column ``runs``: the fold runs of each arm.
    reference
        The model that all others are compared with; None: the declared contrasts.

    Raises
    ------
    UserError
        The table has no such reference.
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
    made = section(table, found, DECLARED if reference is None else _with(reference, table))
    return Section(
        **vars(made) | {"folds": _folds(ws, ours), "missing": missing(table, _seed(ours))}
    )


def _seed(arms: pd.DataFrame) -> str:
    """Return the seed of these arms; empty where they have several."""
    seeds = {run.tags["seed"] for runs in arms["runs"] for run in runs}
    return seeds.pop() if len(seeds) == 1 else ""


def _with(reference: str, table: ResultsTable) -> list[tuple[str, str]]:
    """Pair every other model with the reference, which comes first."""
    models = [
        row.name
        for row in table.models
        if not all(table.cell(design, row).missing for design in table.designs)
    ]
    if reference not in models:
        raise UserError(
            f"reference={reference}: no such model in the table {table.title}",
            expected=f"one of {', '.join(models)}",
        )
    return [(reference, model) for model in models if model != reference]


def _folds(ws: Workspace, arms: pd.DataFrame) -> pd.DataFrame:
    address = without_password(ws.tracker.uri).rstrip("/")
    page = f"{address}/#/experiments/{ws.tracker.experiment_id}/runs/"
    rows = [
        (
            arm["design"],
            arm["model"],
            run.tags["fold"],
            run.metrics["auc"],
            run.id,
            page + run.id if address.startswith("http") else "",
        )
        for arm in arms.to_dict("records")
        for run in arm["runs"]
    ]
    return pd.DataFrame(rows, columns=[*FOLD_COLUMNS])

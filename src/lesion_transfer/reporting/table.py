"""From a frame of arms to results tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pandas as pd

from lesion_transfer.errors import UserError
from lesion_transfer.reporting.cells import Cell, ModelRow, ResultsTable
from lesion_transfer.reporting.published import published_results
from lesion_transfer.study import LESION_DESIGNS, MODELS, Design

MARKS = "†‡§¶"
PUBLISHED_TABLES = ("paper", "reimplementation")
TABLE_COLUMNS = ("dataset", "backbone", "protocol", "image_size")
ARM_COLUMNS = (
    *TABLE_COLUMNS,
    *("design", "model", "source", "finetune", "stand_in", "n_folds", "expected_folds"),
    *("mean", "sd", "ci_low", "ci_high", "run_id"),
)


def results_tables(
    arms: pd.DataFrame,
    published: pd.DataFrame | None = None,
    letters: Collection[str] = tuple(MODELS),
) -> tuple[ResultsTable, ...]:
    """Build one table per (dataset, backbone, protocol, image size), in the order of the names.

    Parameters
    ----------
    arms
        One row per arm, columns :data:`ARM_COLUMNS`: ``model`` a letter or the pair spelt out,
        ``stand_in`` a note on what the source is in truth, or empty; AUCs as fractions. A column
        ``folds`` with the AUC of each fold (a sequence of floats) is optional; figures show it.
    published
        As :func:`~lesion_transfer.reporting.published.published_results`, the default.
    letters
        Of the paper's models, those that have a row even without a result.

    Raises
    ------
    ValueError
        A column is missing.
    UserError
        Two arms claim one cell.
    """
    if absent := set(ARM_COLUMNS) - set(arms.columns):
        raise ValueError(f"the frame of arms lacks {', '.join(sorted(absent))}")
    published = published_results() if published is None else published
    published_auc = {
        (str(row["table"]), str(row["design"]), str(row["model"])): float(row["auc"]) / 100
        for row in published.to_dict("records")
    }
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for arm in arms.to_dict("records"):
        key = tuple(arm[column] for column in TABLE_COLUMNS)
        groups.setdefault(key, []).append({str(name): value for name, value in arm.items()})
    return tuple(_table(groups[key], published_auc, letters) for key in sorted(groups))


def _table(
    arms: list[dict[str, Any]],
    published_auc: Mapping[tuple[str, str, str], float],
    letters: Collection[str],
) -> ResultsTable:
    designs = _ordered({arm["design"] for arm in arms}, [design.value for design in Design])
    rows = {arm["model"]: ModelRow(arm["model"], arm["source"], arm["finetune"]) for arm in arms}
    if set(designs) & {design.value for design in LESION_DESIGNS}:
        # What has not been run is part of the picture.
        for letter, model in ((letter, MODELS[letter]) for letter in letters):
            rows.setdefault(letter, ModelRow(letter, str(model.source), model.finetune))

    notes = list(dict.fromkeys(arm["stand_in"] for arm in arms if arm["stand_in"]))
    marks = {note: _mark(index) for index, note in enumerate(notes)}
    for arm in arms:
        row, mark = rows[arm["model"]], marks.get(arm["stand_in"], "")
        if mark not in row.marks:
            rows[row.name] = replace(row, marks=row.marks + mark)

    names = _ordered(rows, list(MODELS))
    by_cell: dict[tuple[str, str], dict[str, Any]] = {}
    for arm in arms:
        other = by_cell.setdefault((arm["design"], arm["model"]), arm)
        if other is not arm:
            raise UserError(
                f"two arms have the same design ({arm['design']}), model ({arm['model']}), "
                f"dataset, backbone, protocol and image size: runs {other['run_id']} and "
                f"{arm['run_id']}",
                expected="one arm for each cell of the table",
                next_step="restrict the comparison, for example to one seed",
            )
    cells: dict[tuple[str, str], Cell] = {}
    for design in designs:
        column = {
            name: _cell(
                by_cell.get((design, name)),
                *(published_auc.get((table, design, name)) for table in PUBLISHED_TABLES),
            )
            for name in names
        }
        complete = [cell.mean for cell in column.values() if cell.complete]
        for name, cell in column.items():
            best = cell.complete and len(complete) > 1 and cell.mean == max(complete)
            cells[design, name] = replace(cell, best=best)
    first = arms[0]
    return ResultsTable(
        dataset=first["dataset"],
        backbone=first["backbone"],
        protocol=first["protocol"],
        image_size=int(first["image_size"]),
        designs=designs,
        models=tuple(rows[name] for name in names),
        cells=MappingProxyType(cells),
        stand_ins=tuple((mark, note) for note, mark in marks.items()),
    )


def _cell(
    arm: Mapping[str, Any] | None, paper: float | None, reimplementation: float | None
) -> Cell:
    cell = Cell(paper=paper, reimplementation=reimplementation)
    if arm is None:
        return cell
    folds = arm.get("folds")
    return replace(
        cell,
        n_folds=int(arm["n_folds"]),
        expected_folds=int(arm["expected_folds"]),
        mean=float(arm["mean"]),
        sd=float(arm["sd"]),
        ci_low=float(arm["ci_low"]),
        ci_high=float(arm["ci_high"]),
        folds=() if folds is None or isinstance(folds, float) else tuple(map(float, folds)),
        run_id=str(arm["run_id"]),
    )


def _ordered(names: Any, known: list[str]) -> tuple[str, ...]:
    """Return the known names in their order, then the others, sorted."""
    return tuple(sorted(names, key=lambda name: (known.index(name) if name in known else 99, name)))


def _mark(index: int) -> str:
    """Return †, ‡, §, ¶, ††, and so on."""
    return MARKS[index % len(MARKS)] * (index // len(MARKS) + 1)

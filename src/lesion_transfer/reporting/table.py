"""The results table as a value: what every renderer shows, decided once.

Models are rows and designs are columns, as in table 2 of the paper. One table holds the arms of one
(dataset, backbone, protocol, image size): cells of different tables are not comparable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pandas as pd

from lesion_transfer.errors import UserError
from lesion_transfer.reporting import DISCLAIMER
from lesion_transfer.reporting.published import PUBLISHED_SETTING, published_results
from lesion_transfer.study import LESION_DESIGNS, MODELS, Design

MARKS = "†‡§¶"
MISSING = "–"
PUBLISHED_TABLES = ("paper", "reimplementation")


@dataclass(frozen=True)
class Cell:
    """One arm's result beside what was published for it. AUCs are fractions, 0–1.

    Attributes
    ----------
    n_folds, expected_folds
        Folds with a result, and of the protocol; a cell without any folds is missing.
    mean, sd, ci_low, ci_high
        Over the folds; NaN where there is no such number.
    folds
        The AUC of each fold, where the caller gave them.
    paper, reimplementation
        The published AUC of this design and model, or None.
    best
        The highest mean of its design. Only complete cells compete (a mean over fewer folds is
        another estimate), and only where there are two of them or more.
    run_id
        Of the arm's run, or empty.
    """

    n_folds: int = 0
    expected_folds: int = 0
    mean: float = math.nan
    sd: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    folds: tuple[float, ...] = ()
    paper: float | None = None
    reimplementation: float | None = None
    best: bool = False
    run_id: str = ""

    @property
    def missing(self) -> bool:
        """No fold has a result."""
        return self.n_folds == 0 or math.isnan(self.mean)

    @property
    def complete(self) -> bool:
        """Every fold of the protocol has a result."""
        return not self.missing and self.n_folds >= self.expected_folds

    @property
    def difference(self) -> float | None:
        """Ours − the paper's, or None where one is missing."""
        return None if self.missing or self.paper is None else self.mean - self.paper

    @property
    def text(self) -> str:
        """``82.5 ± 1.2`` in %, or ``–``."""
        if self.missing:
            return MISSING
        spread = "" if math.isnan(self.sd) else f" ± {100 * self.sd:.1f}"
        return f"{100 * self.mean:.1f}{spread}"

    @property
    def progress(self) -> str:
        """``4/10`` for an incomplete cell, else empty."""
        return "" if self.missing or self.complete else f"{self.n_folds}/{self.expected_folds}"

    @property
    def interval(self) -> str:
        """``79.1–84.0`` in %, or ``–``."""
        if self.missing or math.isnan(self.ci_low):
            return MISSING
        return f"{100 * self.ci_low:.1f}–{100 * self.ci_high:.1f}"


@dataclass(frozen=True)
class ModelRow:
    """A model as the table names it: letter, source, fine-tuned or frozen, its marks."""

    name: str
    source: str
    finetune: bool
    marks: str = ""

    @property
    def label(self) -> str:
        """``E†``."""
        return self.name + self.marks

    @property
    def description(self) -> str:
        """``imagenet, fine-tuned``, ``from scratch``; nothing where the name says it already."""
        if self.name not in MODELS:
            return ""
        if self.source == "none":
            return "from scratch" if self.finetune else "random, frozen"
        return f"{self.source}, {'fine-tuned' if self.finetune else 'frozen'}"


@dataclass(frozen=True)
class ResultsTable:
    """Models × designs of one dataset, backbone, protocol and image size."""

    dataset: str
    backbone: str
    protocol: str
    image_size: int
    designs: tuple[str, ...]
    models: tuple[ModelRow, ...]
    cells: Mapping[tuple[str, str], Cell]
    """By (design, model name); every pair is there."""
    stand_ins: tuple[tuple[str, str], ...] = ()
    """(mark, what it stands for), in the order of the marks."""

    def cell(self, design: str, model: ModelRow) -> Cell:
        """Return the cell of ``design`` and ``model``."""
        return self.cells[design, model.name]

    @property
    def published(self) -> bool:
        """Some cell has a published number."""
        return any(cell.paper is not None for cell in self.cells.values())

    @property
    def comparable(self) -> bool:
        """Ours were measured on what the published numbers were measured on."""
        ours = {"dataset": self.dataset, "backbone": self.backbone, "image_size": self.image_size}
        return ours == PUBLISHED_SETTING

    @property
    def title(self) -> str:
        """What the table is of, in a line."""
        return f"{self.dataset} · {self.backbone} · {self.image_size} px · protocol {self.protocol}"

    @property
    def caption(self) -> str:
        """What the numbers are."""
        folds = max(cell.expected_folds for cell in self.cells.values())
        text = f"AUC in %, mean ± SD over the {folds} folds of {folds // 2}×2 cross-validation."
        if any(len(design.split("_vs_")) > 2 for design in self.designs):
            text += " Three classes: mean of the one-vs-one AUCs."
        if any(cell.best for cell in self.cells.values()):
            text += " Bold: highest complete mean of its design."
        return text

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of our numbers before quoting one."""
        notes = [f"{mark} {note}" for mark, note in self.stand_ins]
        if any(cell.progress for cell in self.cells.values()):
            notes.append("n/m: only n of m folds are complete; such a mean is never bold.")
        return tuple(notes)

    @property
    def published_notes(self) -> tuple[str, ...]:
        """What a reader must know of the published numbers; empty where there are none."""
        if not self.published:
            return ()
        setting = "Atlas, VGG-M, 224 px"
        what = (
            "paper: Menegola et al., ISBI 2017; re-impl.: its published re-implementation; "
            f"both {setting}. Difference: ours − paper, in percentage points."
        )
        if self.comparable:
            return (what,)
        return (
            what,
            f"Ours: {self.dataset}, {self.backbone}, {self.image_size} px. Not the same data or "
            f"network as theirs ({setting}): the numbers stand side by side, they are not "
            "comparable.",
        )

    @property
    def footnotes(self) -> tuple[str, ...]:
        """All notes, the disclaimer last."""
        return (*self.notes, *self.published_notes, DISCLAIMER)


TABLE_COLUMNS = ("dataset", "backbone", "protocol", "image_size")
ARM_COLUMNS = (
    *TABLE_COLUMNS,
    *("design", "model", "source", "finetune", "stand_in", "n_folds", "expected_folds"),
    *("mean", "sd", "ci_low", "ci_high", "run_id"),
)


def results_tables(
    arms: pd.DataFrame, published: pd.DataFrame | None = None
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
    return tuple(_table(groups[key], published_auc) for key in sorted(groups))


def _table(
    arms: list[dict[str, Any]], published_auc: Mapping[tuple[str, str, str], float]
) -> ResultsTable:
    designs = _ordered({arm["design"] for arm in arms}, [design.value for design in Design])
    rows = {arm["model"]: ModelRow(arm["model"], arm["source"], arm["finetune"]) for arm in arms}
    if set(designs) & {design.value for design in LESION_DESIGNS}:
        # The six of the paper are always there: what has not been run is part of the picture.
        for letter, model in MODELS.items():
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

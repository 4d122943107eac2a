"""The results table as text: for a terminal, as Markdown, as CSV."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd
from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lesion_transfer.reporting import DISCLAIMER
from lesion_transfer.reporting.cells import MISSING, Cell, ModelRow, ResultsTable

WIDE = 100
"""Terminals from this width on show the published numbers beside ours."""

BRACKETS = "In brackets: 95 % interval over folds, which allows for shared training images."
"""What the tables of papers add to their caption."""


def percent(value: float | None) -> str:
    """Return a fraction in % with one decimal, ``–`` for None or NaN."""
    return MISSING if value is None or math.isnan(value) else f"{100 * value:.1f}"


def signed(value: float | None) -> str:
    """Return a difference of fractions in percentage points with its sign, ``–`` for None."""
    if value is None:
        return MISSING
    rounded = round(100 * value, 1)
    return "±0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "−")


def beside(theirs: float | None, difference: float | None) -> str:
    """Return a published AUC in % and how far ours is above it: ``82.5 (+0.4)``."""
    return percent(theirs) + ("" if difference is None else f" ({signed(difference)})")


def heading(design: str) -> str:
    """Return the name of a design as it is read aloud."""
    return design.replace("_", " ")


# --- terminal ------------------------------------------------------------------------------------


def terminal(table: ResultsTable, console: Console) -> RenderableType:
    """Return what ``console.print`` shows; without the published numbers where it is narrow."""
    wide = console.width >= WIDE and table.published
    grid = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=Text(table.title, style="bold"),
        title_justify="left",
    )
    grid.add_column("model", no_wrap=True)
    for design in table.designs:
        grid.add_column(Text(heading(design)), max_width=26)
    for number, row in enumerate(table.models):
        if number and wide:
            grid.add_row()
        cells = (_terminal_cell(table.cell(design, row), wide) for design in table.designs)
        grid.add_row(_terminal_model(row), *cells)
    notes = table.footnotes if wide else (*table.notes, _hidden(table), DISCLAIMER)
    lines = Text("\n".join(filter(None, (table.caption, *notes))), style="dim")
    return Group(grid, Padding(lines, (0, 0, 1, 0)))


def _hidden(table: ResultsTable) -> str:
    return f"The published numbers show from {WIDE} columns on." if table.published else ""


def _terminal_model(row: ModelRow) -> Text:
    label, description = (
        text.replace(", ", ",\n    ") for text in (row.label.ljust(4), row.description)
    )
    return Text.assemble((label, "bold"), description)


def _terminal_cell(cell: Cell, wide: bool) -> Text:
    text = Text.assemble(
        (cell.text, "bold green" if cell.best else "dim" if cell.missing else ""),
        (f"  {cell.progress}" if cell.progress else "", "yellow"),
    )
    if wide and cell.paper is not None:
        text.append(f"\npaper    {beside(cell.paper, cell.difference)}", style="dim")
    if wide and cell.reimplementation is not None:
        theirs = beside(cell.reimplementation, cell.difference_to_reimplementation)
        text.append(f"\nre-impl. {theirs}", style="dim")
    return text


# --- Markdown ------------------------------------------------------------------------------------


def markdown(table: ResultsTable) -> str:
    """Return the table as a GitHub-flavoured Markdown section."""
    columns: list[str] = ["model"]
    for design in table.designs:
        columns.append(heading(design))
        if table.published:
            columns += ["paper (difference)", "re-impl. (difference)"]
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1)]
    for row in table.models:
        line = [f"**{_md(row.label)}** {_md(row.description)}"]
        for design in table.designs:
            cell = table.cell(design, row)
            ours = f"**{cell.text}**" if cell.best else cell.text
            ours += f" ({cell.interval})" if cell.interval != MISSING else ""
            line.append(f"{ours} {cell.progress}" if cell.progress else ours)
            if table.published:
                line += [
                    beside(cell.paper, cell.difference),
                    beside(cell.reimplementation, cell.difference_to_reimplementation),
                ]
        lines.append(line)
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    notes = "\n".join(f"- {_md(note)}" for note in table.footnotes)
    caption = f"{table.caption} {BRACKETS}"
    return f"### {_md(table.title)}\n\n{_md(caption)}\n\n{body}\n\n{notes}\n"


def _md(text: str) -> str:
    """``text`` such that Markdown shows it as it is, on one line."""
    for character in "\\`*|[]<>":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())


# --- CSV -----------------------------------------------------------------------------------------


def tidy(tables: Iterable[ResultsTable]) -> pd.DataFrame:
    """Return every cell of ``tables`` as one row; all AUCs are fractions, 0–1, unrounded.

    Missing cells are there with ``n_folds`` 0, so that a reader sees what was not run.
    """
    return pd.DataFrame(
        [
            {
                "dataset": table.dataset,
                "backbone": table.backbone,
                "protocol": table.protocol,
                "image_size": table.image_size,
                "design": design,
                "model": row.name,
                "source": row.source,
                "finetune": row.finetune,
                "stand_in": "; ".join(note for mark, note in table.stand_ins if mark in row.marks),
                "n_folds": cell.n_folds,
                "expected_folds": cell.expected_folds,
                "mean": cell.mean,
                "sd": cell.sd,
                "ci_low": cell.ci_low,
                "ci_high": cell.ci_high,
                "best": cell.best,
                "paper": cell.paper,
                "reimplementation": cell.reimplementation,
                "difference": cell.difference,
                "difference_to_reimplementation": cell.difference_to_reimplementation,
                "comparable": table.comparable,
                "run_id": cell.run_id,
            }
            for table in tables
            for design in table.designs
            for row in table.models
            for cell in [table.cell(design, row)]
        ]
    )


def csv(tables: Iterable[ResultsTable]) -> str:
    """Return :func:`tidy` as CSV; floats to six decimals, unknown values empty."""
    return tidy(tables).to_csv(index=False, float_format="%.6f", lineterminator="\n")

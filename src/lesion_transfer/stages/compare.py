"""Compare: query the arms on the tracking server and rebuild the results table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from lesion_transfer import __version__
from lesion_transfer.checkout import checkout
from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.statistics import summarise
from lesion_transfer.reporting import render
from lesion_transfer.reporting.cells import ResultsTable
from lesion_transfer.reporting.latex import latex
from lesion_transfer.reporting.page import html
from lesion_transfer.reporting.plot import results_figure
from lesion_transfer.reporting.sections import side_by_side
from lesion_transfer.reporting.style import figure_png
from lesion_transfer.reporting.table import TABLE_COLUMNS, results_tables
from lesion_transfer.stages.arms import StoredArm, stored_arms
from lesion_transfer.stages.compare_request import CompareRequest
from lesion_transfer.stages.one_a_cell import CELL, mixed, one_a_cell
from lesion_transfer.stages.provenance import provenance
from lesion_transfer.stages.report import report_section
from lesion_transfer.stages.workspace import Workspace, workspace, writable
from lesion_transfer.study import MODELS, SCHEMA_VERSION, digest
from lesion_transfer.tracking import Kind, Tag, Unit

LISTED = 6
"""Combinations of values that a message names."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The tables, the files they were written to, and notes for the reader."""

    tables: tuple[ResultsTable, ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    run_id: str

    @property
    def done(self) -> RenderableType:
        """The tables."""
        return _Tables(self.tables, self.notes)

    @property
    def where(self) -> str:
        """The files and the run."""
        folder = self.files[0].parent
        return f"{folder} (results.html, .md, .csv, .tex and figures) and MLflow run {self.run_id}"

    @property
    def next_step(self) -> str:
        """Look at the runs."""
        return "make server, or mlflow ui, shows every run, curve and model"


@dataclass(frozen=True, slots=True)
class _Tables:
    """Draws itself for the console it meets: narrow ones leave the published columns out."""

    tables: tuple[ResultsTable, ...]
    notes: tuple[str, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in self.tables:
            yield render.terminal(table, console)
        yield from (Text(f"Note: {note}") for note in self.notes)


def compare(request: CompareRequest) -> Comparison:
    """Rebuild the table from every complete fold that the request lets through.

    Raises
    ------
    UserError
        There is none.
    """
    writable(request.out, "out")
    wanted = request.selection
    # One value of a name is left to the server; of several, it cannot choose.
    narrow = {name: values[0] for name, values in wanted.items() if len(values) == 1}
    with workspace(request) as ws:
        ws.progress.now("reading the tracking server")
        arms = [
            arm.since(request.since_ms)
            for arm in stored_arms(ws.tracker, narrow)
            if all(arm.tags[name] in values for name, values in wanted.items())
        ]
        arms = [arm for arm in arms if arm.folds]
        if not arms:
            raise UserError(
                f"no complete fold on {ws.tracker.uri} matches {request.asked or 'this study'}",
                expected=_there(ws, wanted),
                next_step="run a study first (mlflow run .), or check MLFLOW_TRACKING_URI and "
                "MLFLOW_EXPERIMENT_NAME",
            )
        return compared(ws, arms, request)


def _there(ws: Workspace, names: Iterable[str]) -> str:
    """Say which values of the restricted names have been run together; nothing where none has."""
    arms = stored_arms(ws.tracker, {}) if names else []
    if "model" in names:  # a pair that has no letter cannot be asked for
        arms = [arm for arm in arms if arm.tags["model"] in MODELS]
    typed = {"model": "models"}  # several letters, as a parameter
    found = sorted({", ".join(f"{typed.get(n, n)}={arm.tags[n]}" for n in names) for arm in arms})
    more = [f"{len(found) - LISTED} more"] if len(found) > LISTED else []
    return "; or ".join(found[:LISTED] + more)


def compared(ws: Workspace, found: Iterable[StoredArm], request: CompareRequest) -> Comparison:
    """Build the tables of these arms, write them to the request's ``out`` and log them.

    With a ``reference``, all other models are compared with it; else the declared pairs are.

    Raises
    ------
    UserError
        No table has the reference.
    """
    out, reference = request.out, request.reference
    shown, notes = one_a_cell(found)
    arms = arm_frame(shown)
    tables = results_tables(arms, letters=request.letters)
    notes += mixed(shown) + without_reference(tables, reference)
    folds = sorted(fold.id for arm in shown for fold in arm.folds)
    asked = [reference, request.letters, request.asked, notes]
    key = digest(SCHEMA_VERSION, __version__, checkout(), "comparison", folds, asked)
    known = ws.tracker.find(key, adopt=True) if ws.reusable(key) else None
    if known is not None:  # the same folds give the same report
        stored = [ws.tracker.artifact(known.id, name) for name in ws.tracker.files(known.id)]
        files = tuple(sorted(_write(out / path.name, path.read_bytes()) for path in stored))
        return Comparison(tables, files, notes, known.id)
    origin = provenance(shown, ws.tracker.uri)
    origin |= {"asked for": request.asked} if request.asked else {}
    content = _report(ws, tables, arms, notes, origin, request)
    files = tuple(sorted(_write(out / name, data) for name, data in content.items()))
    unit = Unit(
        kind=Kind.COMPARISON,
        key=key,
        name=f"comparison · {', '.join(sorted({table.dataset for table in tables}))}",
        description="\n\n".join(render.markdown(table) for table in tables),
        identity={"dataset": ",".join(sorted({table.dataset for table in tables}))},
    )
    with ws.tracker.open(unit, adopt=True) as run:
        run.metrics({"arms": len(arms), "folds": int(arms["n_folds"].sum())})
        for path in files:
            run.file(path)
        run.complete()
    return Comparison(tables, files, notes, run.id)


def _report(
    ws: Workspace,
    tables: tuple[ResultsTable, ...],
    arms: pd.DataFrame,
    notes: tuple[str, ...],
    origin: dict[str, str],
    request: CompareRequest,
) -> dict[str, str | bytes]:
    """Return the files of a comparison, by name."""
    anew = request.since is not None
    sections = [report_section(ws, table, arms, request.reference, anew=anew) for table in tables]
    content: dict[str, str | bytes] = {
        "results.md": "\n\n".join(render.markdown(table) for table in tables),
        "results.csv": render.csv(tables),
        "results.tex": latex(tables),
        "results.html": html(sections, origin, notes, side_by_side(tables)),
        "contrasts.csv": _csv(tables, [each.contrasts for each in sections]),
        "metrics.csv": _csv(tables, [each.metrics for each in sections]),
        "folds.csv": _fold_table(arms).to_csv(index=False),
    }
    return content | {
        f"results_{number}.png": figure_png(results_figure(table))
        for number, table in enumerate(tables, start=1)
    }


def without_reference(tables: Iterable[ResultsTable], reference: str | None) -> tuple[str, ...]:
    """Note each table that has nothing to compare with.

    Raises
    ------
    UserError
        None has.
    """
    if reference is None:
        return ()
    tables = [*tables]
    lacking = [table for table in tables if reference not in table.found]
    if len(lacking) == len(tables):
        raise UserError(
            f"reference={reference}: no table has a result of such a model",
            expected="one of "
            + ", ".join(sorted({name for each in tables for name in each.found})),
        )
    return tuple(
        f"{table.title}: it has no result of {reference}, with which nothing is compared there"
        for table in lacking
    )


def arm_frame(arms: Iterable[StoredArm]) -> pd.DataFrame:
    """Sum the folds up into a row per arm, as :func:`results_tables` reads them."""
    rows = []
    for arm in arms:
        tags, scores = arm.tags, [fold.auc for fold in arm.folds]
        summary = summarise(scores)
        rows.append(
            {name: tags[name] for name in CELL}
            | {
                "image_size": int(tags["image_size"]),
                "seed": tags["seed"],
                "source": tags["source"],
                "finetune": tags["finetune"] == "true",
                "stand_in": tags.get(Tag.STAND_IN, ""),
                "n_folds": summary.n,
                "expected_folds": arm.expected_folds,
                "mean": summary.mean,
                "sd": summary.sd,
                "ci_low": summary.ci_low,
                "ci_high": summary.ci_high,
                "run_id": arm.run_id,
                "folds": tuple(scores),
                "fold_names": tuple(fold.fold for fold in arm.folds),
                "fold_runs": tuple(fold.id for fold in arm.folds),
                "runs": arm.folds,
            }
        )
    return pd.DataFrame(rows)


def _fold_table(arms: pd.DataFrame) -> pd.DataFrame:
    columns = ["fold_names", "folds", "fold_runs"]
    table = arms[[*CELL, *columns]].explode(columns)
    return table.rename(columns={"fold_names": "fold", "folds": "auc", "fold_runs": "run_id"})


def _csv(tables: Iterable[ResultsTable], frames: Iterable[pd.DataFrame]) -> str:
    """Join the frames of several tables, each row saying which table it belongs to."""
    joined = [
        frame.assign(**{name: getattr(table, name) for name in TABLE_COLUMNS})
        for table, frame in zip(tables, frames, strict=True)
    ]
    return pd.concat(joined, ignore_index=True).to_csv(index=False, float_format="%.6g")


def _write(path: Path, data: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path

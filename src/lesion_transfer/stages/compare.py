"""Compare: query the folds on the tracking server and rebuild the results table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from lesion_transfer import __version__
from lesion_transfer.errors import UserError
from lesion_transfer.evaluation.statistics import summarise
from lesion_transfer.reporting import render
from lesion_transfer.reporting.cells import ResultsTable
from lesion_transfer.reporting.latex import latex
from lesion_transfer.reporting.page import html
from lesion_transfer.reporting.plot import results_figure
from lesion_transfer.reporting.sections import side_by_side
from lesion_transfer.reporting.style import figure_png
from lesion_transfer.reporting.table import results_tables
from lesion_transfer.stages.provenance import provenance
from lesion_transfer.stages.report import report_section
from lesion_transfer.stages.requests import CompareRequest
from lesion_transfer.stages.workspace import Workspace, workspace, writable
from lesion_transfer.study import SCHEMA_VERSION, digest
from lesion_transfer.tracking import COMPLETE, Kind, StoredRun, Tag, Unit

CELL = ["dataset", "backbone", "protocol", "image_size", "design", "model"]


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
        found = ws.tracker.search({Tag.KIND: Kind.FOLD.value, Tag.STATE: COMPLETE, **narrow})
        folds = [
            run
            for run in found
            if run.start_time >= request.since_ms
            and all(run.tags[name] in values for name, values in wanted.items())
        ]
        if not folds:
            asked = [f"{name}={','.join(values)}" for name, values in wanted.items()]
            asked += [f"since={request.since}"] * (request.since is not None)
            raise UserError(
                f"no complete fold on {ws.tracker.uri} matches "
                + (", ".join(asked) or "this study"),
                next_step="run a study first (mlflow run .), or check MLFLOW_TRACKING_URI and "
                "MLFLOW_EXPERIMENT_NAME",
            )
        return compared(ws, folds, request.out, request.reference, adopt=True)


def compared(
    ws: Workspace,
    folds: Iterable[StoredRun],
    out: Path,
    reference: str | None = None,
    *,
    adopt: bool = False,
) -> Comparison:
    """Build the tables of these folds, write them to ``out`` and log them.

    With a ``reference``, all other models are compared with it; else the declared pairs are.
    """
    arms, notes = arm_results(folds)
    tables = results_tables(arms)
    runs = [run for arm in arms["runs"] for run in arm]
    key = digest(
        SCHEMA_VERSION, __version__, "comparison", sorted(run.id for run in runs), reference
    )
    known = ws.tracker.find(key, adopt=adopt) if ws.reusable(key) else None
    if known is not None:  # the same folds give the same report
        stored = [ws.tracker.artifact(known.id, name) for name in ws.tracker.files(known.id)]
        files = tuple(sorted(_write(out / path.name, path.read_bytes()) for path in stored))
        return Comparison(tables, files, notes, known.id)
    content = _report(ws, tables, arms, notes, runs, reference)
    files = tuple(sorted(_write(out / name, data) for name, data in content.items()))
    unit = Unit(
        kind=Kind.COMPARISON,
        key=key,
        name=f"comparison · {', '.join(sorted({table.dataset for table in tables}))}",
        description="\n\n".join(render.markdown(table) for table in tables),
        identity={"dataset": ",".join(sorted({table.dataset for table in tables}))},
    )
    with ws.tracker.open(unit, adopt=adopt) as run:
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
    runs: list[StoredRun],
    reference: str | None,
) -> dict[str, str | bytes]:
    """Return the files of a comparison, by name."""
    sections = [report_section(ws, table, arms, reference) for table in tables]
    content: dict[str, str | bytes] = {
        "results.md": "\n\n".join(render.markdown(table) for table in tables),
        "results.csv": render.csv(tables),
        "results.tex": latex(tables),
        "results.html": html(
            sections, provenance(runs, ws.tracker.uri), notes, side_by_side(tables)
        ),
        "contrasts.csv": _csv(tables, [each.contrasts for each in sections]),
        "metrics.csv": _csv(tables, [each.metrics for each in sections]),
        "folds.csv": _fold_table(arms).to_csv(index=False),
    }
    return content | {
        f"results_{number}.png": figure_png(results_figure(table))
        for number, table in enumerate(tables, start=1)
    }


def arm_results(folds: Iterable[StoredRun]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Sum folds up into a row per arm, as :func:`results_tables` reads them.

    Of several runs of one fold, which a process killed between completing and cleaning up can
    leave, the newest counts. Where several arms claim one cell (another seed, data that has
    changed, an edited protocol), one with all its folds goes before one without, then the newest;
    a note says so.
    """
    newest: dict[tuple[str, str], StoredRun] = {}
    for run in sorted(folds, key=lambda run: (run.start_time, run.id)):
        newest[run.tags[Tag.ARM], run.tags["fold"]] = run
    by_arm: dict[str, list[StoredRun]] = {}
    for (arm, _), run in newest.items():
        by_arm.setdefault(arm, []).append(run)
    best_last = sorted(by_arm.values(), key=_standing)
    cells: dict[tuple[str, ...], list[StoredRun]] = {}
    notes = []
    for runs in best_last:
        cell = tuple(runs[0].tags[name] for name in CELL)
        if cell in cells:
            notes.append(
                f"{' · '.join(cell)}: several arms differ in seed, data or protocol values; "
                "the newest complete one is shown (seed=, image_size= and since= choose)"
            )
        cells[cell] = runs
    rows = []
    for runs in cells.values():
        runs.sort(key=lambda run: run.tags["fold"])
        tags, scores = runs[0].tags, [run.metrics["auc"] for run in runs]
        summary = summarise(scores)
        rows.append(
            {name: tags[name] for name in CELL}
            | {
                "image_size": int(tags["image_size"]),
                "source": tags["source"],
                "finetune": tags["finetune"] == "true",
                "stand_in": tags.get(Tag.STAND_IN, ""),
                "n_folds": summary.n,
                "expected_folds": int(tags[Tag.FOLDS_EXPECTED]),
                "mean": summary.mean,
                "sd": summary.sd,
                "ci_low": summary.ci_low,
                "ci_high": summary.ci_high,
                "run_id": tags.get("mlflow.parentRunId", ""),
                "folds": tuple(scores),
                "fold_names": tuple(run.tags["fold"] for run in runs),
                "fold_runs": tuple(run.id for run in runs),
                "runs": tuple(runs),
            }
        )
    return pd.DataFrame(rows), tuple(notes)


def _standing(runs: list[StoredRun]) -> tuple[bool, int]:
    """Rank an arm by its folds: complete ones first, then by age."""
    complete = len(runs) >= int(runs[0].tags[Tag.FOLDS_EXPECTED])
    return complete, max(run.start_time for run in runs)


def _fold_table(arms: pd.DataFrame) -> pd.DataFrame:
    columns = ["fold_names", "folds", "fold_runs"]
    table = arms[[*CELL, *columns]].explode(columns)
    return table.rename(columns={"fold_names": "fold", "folds": "auc", "fold_runs": "run_id"})


def _csv(tables: Iterable[ResultsTable], frames: Iterable[pd.DataFrame]) -> str:
    """Join the frames of several tables, each row saying which table it belongs to."""
    joined = [
        frame.assign(dataset=table.dataset, backbone=table.backbone, protocol=table.protocol)
        for table, frame in zip(tables, frames, strict=True)
    ]
    return pd.concat(joined, ignore_index=True).to_csv(index=False, float_format="%.6g")


def _write(path: Path, data: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path

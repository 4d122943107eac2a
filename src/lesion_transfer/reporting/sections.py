"""From evidence to a section of the page: tests run, figures drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lesion_transfer.evaluation.contrasts import DECLARED, Evidence, contrasts
from lesion_transfer.reporting.cells import ResultsTable
from lesion_transfer.reporting.forest import ForestRow, forest_figure, forest_rows
from lesion_transfer.reporting.frames import answer_frame, contrast_frame, metric_frame
from lesion_transfer.reporting.page import Panel, Section
from lesion_transfer.reporting.render import heading
from lesion_transfer.reporting.risk_figures import decision_figure, reliability_panels
from lesion_transfer.reporting.roc import roc_panels
from lesion_transfer.reporting.style import figure_svg


def section(
    table: ResultsTable,
    arms: Mapping[str, Mapping[str, Evidence]],
    declared: Iterable[tuple[str, str]] = DECLARED,
) -> Section:
    """Return a table's section, but for its folds and for what is missing.

    Parameters
    ----------
    table
        The results.
    arms
        The evidence of its cells, by design and model.
    declared
        The pairs of models to compare, by name.
    """
    declared = [*declared]
    forest, roc, reliability, decision = [], [], [], []
    for design, models in arms.items():
        name = heading(design)
        folds = {model: [*evidence.folds.values()] for model, evidence in models.items()}
        forest.append(
            Panel(
                design,
                figure_svg(
                    forest_figure(forest_rows(table, design)),
                    f"{name}: mean AUC of each model with its interval, as in the table",
                ),
            )
        )
        roc.append(Panel(design, figure_svg(roc_panels(folds), f"{name}: mean ROC curves")))
        reliability.append(
            Panel(design, figure_svg(reliability_panels(folds), f"{name}: reliability"))
        )
        if all(len(each[0].classes) == 2 for each in folds.values()):
            decision.append(
                Panel(design, figure_svg(decision_figure(folds), f"{name}: decision curves"))
            )
    return Section(
        table=table,
        forest=tuple(forest),
        roc=tuple(roc),
        reliability=tuple(reliability),
        decision=tuple(decision),
        contrasts=contrast_frame(
            {design: contrasts(models, declared) for design, models in arms.items()}
        ),
        metrics=metric_frame(arms),
        answers=answer_frame(arms),
    )


def side_by_side(tables: Iterable[ResultsTable]) -> tuple[Panel, ...]:
    """Return a forest plot for each design over all tables; none where there is one table.

    Lines are told apart by that part of their setting in which the tables differ.
    """
    tables = [*tables]
    if len(tables) < 2:
        return ()

    def parts(table: ResultsTable) -> tuple[str, ...]:
        return table.dataset, table.backbone, f"{table.image_size} px", table.protocol

    telling = [len(set(column)) > 1 for column in zip(*map(parts, tables), strict=True)]
    lines: dict[str, list[ForestRow]] = {}
    for table in tables:
        setting = ", ".join(
            each for each, differs in zip(parts(table), telling, strict=True) if differs
        )
        for design in table.designs:
            lines.setdefault(design, []).extend(
                ForestRow(row.name, setting, row.cell) for row in forest_rows(table, design)
            )
    return tuple(
        Panel(design, figure_svg(forest_figure(rows), f"{heading(design)}: every setting's AUCs"))
        for design, rows in lines.items()
    )

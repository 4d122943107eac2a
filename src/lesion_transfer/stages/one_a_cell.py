"""Which arms stand in the tables, and what a reader must know of those beside each other."""

from __future__ import annotations

from collections.abc import Iterable

from lesion_transfer.reporting.table import TABLE_COLUMNS
from lesion_transfer.stages.arms import StoredArm
from lesion_transfer.tracking import Tag

CELL = ["dataset", "backbone", "protocol", "image_size", "design", "model"]


def one_a_cell(arms: Iterable[StoredArm]) -> tuple[list[StoredArm], tuple[str, ...]]:
    """Choose an arm for each cell of the tables.

    Where several claim one (another seed, data that has changed, an edited protocol), one with all
    its folds goes before one without, then the newest; a note says so.
    """
    cells: dict[tuple[str, ...], StoredArm] = {}
    notes = []
    for arm in sorted(arms, key=_standing):
        cell = tuple(arm.tags[name] for name in CELL)
        if cell in cells:
            notes.append(
                f"{' · '.join(cell)}: several arms differ in seed, data or protocol values; "
                "the newest complete one is shown (seed=, image_size= and since= choose)"
            )
        cells[cell] = arm
    return [*cells.values()], tuple(dict.fromkeys(notes))


def mixed(arms: Iterable[StoredArm]) -> tuple[str, ...]:
    """Note each table whose arms differ in more than their models.

    That is in the folds or data they were measured on, or in the classifier of their features.
    """
    tables: dict[tuple[str, ...], list[StoredArm]] = {}
    for arm in arms:
        tables.setdefault(tuple(arm.tags[name] for name in TABLE_COLUMNS), []).append(arm)
    notes = []
    for table, inside in tables.items():
        title = " · ".join(table)
        if len({(arm.tags["seed"], arm.tags.get(Tag.DATA_DIGEST)) for arm in inside}) > 1:
            notes.append(
                f"{title}: its arms differ in seed or version of the data; what sets two "
                "numbers apart need not be their models (seed= and since= choose)"
            )
        heads: dict[str, set[str]] = {}
        for arm in inside:
            heads.setdefault(arm.head, set()).add(arm.tags["model"])
        if len(heads) > 1:
            each = ", ".join(f"{head} of {', '.join(sorted(of))}" for head, of in heads.items())
            notes.append(
                f"{title}: its last classifiers differ ({each}); what sets two numbers apart "
                "need not be their networks"
            )
    return tuple(notes)


def _standing(arm: StoredArm) -> tuple[bool, int]:
    """Rank an arm by its folds: complete ones first, then by age."""
    complete = len(arm.folds) >= arm.expected_folds
    return complete, max(fold.start_time for fold in arm.folds)

"""The results table as a value: what every renderer shows, decided once.

Models are rows and designs are columns, as in table 2 of the paper. One table holds the arms of one
(dataset, backbone, protocol, image size): cells of different tables are not comparable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lesion_transfer.reporting import DISCLAIMER
from lesion_transfer.reporting.published import PUBLISHED_SETTING
from lesion_transfer.study import MODELS

MISSING = "–"


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
        return self._above(self.paper)

    @property
    def difference_to_reimplementation(self) -> float | None:
        """Ours − the re-implementation's, or None where one is missing."""
        return self._above(self.reimplementation)

    def _above(self, theirs: float | None) -> float | None:
        return None if self.missing or theirs is None else self.mean - theirs

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
    def found(self) -> tuple[str, ...]:
        """The models that have a result, by name."""
        return tuple(
            row.name
            for row in self.models
            if not all(self.cell(design, row).missing for design in self.designs)
        )

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
            f"both {setting}. Differences: ours − theirs, in percentage points."
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

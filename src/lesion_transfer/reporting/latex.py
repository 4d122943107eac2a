"""The results table for a paper: LaTeX, for the package booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from lesion_transfer.reporting.cells import Cell, ResultsTable
from lesion_transfer.reporting.render import BRACKETS, beside, heading

ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "−": "$-$", "–": "--", "×": r"$\times$", "†": r"\dag{}", "‡": r"\ddag{}",
    "§": r"\S{}", "¶": r"\P{}", "“": "``", "”": "''", "·": r"$\cdot$",
}  # fmt: skip


def latex(tables: Sequence[ResultsTable]) -> str:
    """Return a ``table*`` environment for each table; needs the package booktabs."""
    return "% \\usepackage{booktabs}\n" + "\n".join(_table(table) for table in tables)


def _table(table: ResultsTable) -> str:
    each = 3 if table.published else 1
    spans = " & ".join(
        rf"\multicolumn{{{each}}}{{c}}{{{_tex(heading(design))}}}" for design in table.designs
    )
    names = " & ".join(["ours", "paper (diff.)", "re-impl. (diff.)"][:each] * len(table.designs))
    lines = []
    for row in table.models:
        cells = [row.label, row.description]
        texts = [_tex(text) for text in cells]
        for design in table.designs:
            texts += _cells(table.cell(design, row), table.published)
        lines.append(" & ".join(texts) + r" \\")
    notes = " ".join(
        _tex(note.rstrip(".") + ".") for note in (table.caption, BRACKETS, *table.footnotes)
    )
    body = "\n".join(lines)
    return rf"""\begin{{table*}}
\centering\scriptsize
\caption{{{_tex(table.title)}. {notes}}}
\begin{{tabular}}{{ll{"r" * each * len(table.designs)}}}
\toprule
 & & {spans} \\
model & source & {names} \\
\midrule
{body}
\bottomrule
\end{{tabular}}
\end{{table*}}
"""


def _cells(cell: Cell, published: bool) -> list[str]:
    ours = _tex(cell.text)
    ours = rf"\textbf{{{ours}}}" if cell.best else ours
    if not cell.missing and cell.interval != "–":
        ours += f" ({_tex(cell.interval)})"
    if cell.progress:
        ours += f" {cell.progress}"
    theirs = (
        beside(cell.paper, cell.difference),
        beside(cell.reimplementation, cell.difference_to_reimplementation),
    )
    return [ours, *(map(_tex, theirs) if published else ())]


def _tex(text: str) -> str:
    """``text`` such that LaTeX prints it as it is."""
    return "".join(ESCAPES.get(character, character) for character in text)

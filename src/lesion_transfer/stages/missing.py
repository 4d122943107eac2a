"""What a table lacks, and the commands that would fill it."""

from __future__ import annotations

import shlex

import keras
import pandas as pd

from lesion_transfer.models.backbones import VGGM, SmallVGG
from lesion_transfer.protocols import PROTOCOL_FOLDER
from lesion_transfer.reporting.cells import ModelRow, ResultsTable
from lesion_transfer.reporting.page import MISSING_COLUMNS
from lesion_transfer.stages.requests import SYNTHETIC


def missing(table: ResultsTable, seed: str = "", *, anew: bool = False) -> pd.DataFrame:
    """Return the cells that lack folds, and for each the command that computes them.

    Folds that are there are reused by it, unless they are to be computed ``anew``. An ellipsis
    stands for what only its user knows: where the data and files lie, and what a model file expects
    of its input. ``seed`` is that of the table's arms; empty where they have several.
    """
    expected = max(cell.expected_folds for cell in table.cells.values())
    rows = [
        (design, row.name, expected - cell.n_folds, _command(table, design, row, seed, anew))
        for design in table.designs
        for row in table.models
        for cell in [table.cell(design, row)]
        if cell.n_folds < expected
    ]
    return pd.DataFrame(rows, columns=[*MISSING_COLUMNS])


def _command(table: ResultsTable, design: str, model: ModelRow, seed: str, anew: bool) -> str:
    given = {
        "target": table.dataset,
        "design": design,
        "source": model.source,
        "finetune": str(model.finetune).lower(),
        "backbone": table.backbone,
        "image_size": str(table.image_size),
    }
    architectures = {SmallVGG.name, VGGM.name}
    if table.backbone not in architectures and not hasattr(keras.applications, table.backbone):
        given |= {"backbone": f"…/{table.backbone}.keras", "input_scaling": "…"}
    # A number of epochs given on the command line is part of the protocol's name.
    protocol, _, epochs = table.protocol.partition("+epochs=")
    if not (PROTOCOL_FOLDER / f"{protocol}.yaml").exists():
        protocol = f"…/{protocol}.yaml"
    given |= {"protocol": protocol} | ({"epochs": epochs} if epochs else {})
    given |= ({"seed": seed} if seed else {}) | ({"force": "true"} if anew else {})
    if table.dataset != SYNTHETIC:
        given["data_root"] = "…"
    options = " ".join(f"-P {name}={shlex.quote(value)}" for name, value in given.items())
    return f"mlflow run . -e evaluate {options}"

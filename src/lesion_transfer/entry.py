"""The entry points: request → stage → what is printed at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

from lesion_transfer.cli import main
from lesion_transfer.outcome import Outcome, show
from lesion_transfer.stages.request import Request
from lesion_transfer.stages.requests import ENTRY_POINTS

STAGES: dict[str, str] = {
    "main": "study.study",
    "preprocess": "preprocess.preprocess",
    "pretrain": "pretrain.pretrain",
    "finetune": "folds.finetune",
    "extract": "folds.extract",
    "evaluate": "external.evaluate_or_validate",
    "compare": "compare.compare",
}
"""The function of each, below ``lesion_transfer.stages``; a test checks that their types fit."""

EXAMPLES: dict[str, str] = {
    "main": "models=D,E folds=1x1",
    "preprocess": "target=isic2017 data_root=/data/isic2017",
    "pretrain": "source=retinopathy source_data=eyepacs source_root=/data/eyepacs",
    "finetune": "source=imagenet folds=1x1,1x2",
    "extract": "source=imagenet finetune=false",
    "evaluate": "source=imagenet design=malignant_vs_benign",
    "compare": "design=melanoma_vs_benign",
}
"""Parameters worth trying first; a test parses every one of them."""


def run_entry_point(name: str, argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, call the stage, print what was done; return the exit code."""
    return main(
        ENTRY_POINTS[name],
        lambda request: show(stage(name)(request)),
        argv,
        command=f"python -m lesion_transfer {name}",
        examples=[mlflow_command(name)],
        on_error=_record_failure,
    )


def _record_failure(error: BaseException) -> None:
    """Leave the reason in the run that ``mlflow run`` opened for this command, if it did."""
    if "MLFLOW_RUN_ID" not in os.environ:
        return
    from lesion_transfer.tracking import Tracker

    try:
        Tracker().record_failure(error)
    except Exception as unrecorded:  # a server that is down must not hide the first error
        print(f"(not recorded in the MLflow run: {unrecorded})", file=sys.stderr)


def stage(name: str) -> Callable[[Request], Outcome]:
    """Import the stage of an entry point: seconds, for TensorFlow and MLflow come with it."""
    module, function = STAGES[name].split(".")
    found = getattr(import_module(f"lesion_transfer.stages.{module}"), function)
    return cast(Callable[[Request], Outcome], found)


def mlflow_command(name: str) -> str:
    """Return an example command line of the entry point."""
    entry = [] if name == "main" else ["-e", name]
    values = [word for pair in EXAMPLES[name].split() for word in ("-P", pair)]
    return " ".join(["mlflow", "run", ".", *entry, *values])

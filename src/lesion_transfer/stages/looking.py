"""Where a fold's model looks, on its surest right and wrong answers, as a figure of the fold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lesion_transfer.evaluation.predictions import Predictions
from lesion_transfer.evaluation.svm import LinearHead
from lesion_transfer.models.occlusion import occlusion_maps
from lesion_transfer.models.views import viewed
from lesion_transfer.reporting.looking import looking_figure
from lesion_transfer.stages.arm import PlannedArm
from lesion_transfer.stages.workspace import Workspace
from lesion_transfer.tracking import Run
from lesion_transfer.training.predict import predict

LOOKING_FIGURE = "looking.png"


def log_looking(
    ws: Workspace,
    planned: PlannedArm,
    run: Run,
    found: Predictions,
    rows: npt.NDArray[np.int64],
    head: LinearHead,
    network: Any | None,
) -> None:
    """Log the figure.

    Parameters
    ----------
    found, rows
        The fold's predictions, and where in the store their pictures are.
    head
        The fold's classifier.
    network
        The fold's own; None: it is the source's.
    """
    ws.progress.now(f"{run.unit.name} · where it looks")
    half = planned.looking // 2
    right, wrong = (
        found.most_confident(count, right=kind)
        for count, kind in ((planned.looking - half, True), (half, False))
    )
    chosen = np.concatenate([right, wrong])
    if network is None:
        network = ws.networks.get(planned.source.key, planned.source.build)
    model = viewed(network, planned.protocol.extraction.views)

    def ask(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        everything = np.arange(len(pictures))
        return head.probabilities(predict(model, pictures, everything, len(pictures)))

    images, given = planned.store.images[rows[chosen]], found.predicted[chosen]
    captions = [
        f"{found.images[row]}\n{found.classes[found.labels[row]]}, called {found.classes[answer]} "
        f"({100 * found.probabilities[row, answer]:.0f} %)"
        for row, answer in zip(chosen, given, strict=True)
    ]
    title = f"{run.unit.name}: its surest right answers, then its surest errors"
    run.figure(
        looking_figure(images, occlusion_maps(ask, images, given), captions, title), LOOKING_FIGURE
    )

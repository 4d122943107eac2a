"""Running a network over rows of an image store, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt

from lesion_transfer.data.images import Pictures
from lesion_transfer.training.augment import Images


def predict(
    model: keras.Model,
    images: Images | Pictures,
    rows: npt.NDArray[np.int64],
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the outputs (n, outputs) float32 of ``model`` for ``rows`` of ``images``.

    Every batch has the same shape, the last one being filled up, so that nothing is compiled twice
    and a row's output does not depend on its neighbours.
    """
    outputs = []
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        batch = images[np.resize(chosen, batch_size)].astype(np.float32)
        outputs.append(np.asarray(model.predict_on_batch(batch))[: len(chosen)])
        if progress is not None:
            progress(min(start + batch_size, len(rows)), len(rows))
    return np.concatenate(outputs).astype(np.float32, copy=False)

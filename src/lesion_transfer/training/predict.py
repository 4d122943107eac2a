"""Running a network over rows of an image store, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import numpy as np
import numpy.typing as npt

from lesion_transfer.data.images import Pictures
from lesion_transfer.training.augment import Images

Matrix = npt.NDArray[np.float32]


def outputs(
    model: keras.Model,
    images: Images | Pictures,
    rows: npt.NDArray[np.int64],
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Matrix]:
    """Yield the outputs (batch, outputs) float32 of ``model`` for ``rows`` of ``images``, in order.

    Every batch has the same shape, the last one being filled up, so that nothing is compiled twice
    and a row's output does not depend on its neighbours. Pictures go in as the bytes they are; the
    network's input makes them float32.
    """
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        found = np.asarray(model.predict_on_batch(images[np.resize(chosen, batch_size)]))
        yield found[: len(chosen)].astype(np.float32, copy=False)
        if progress is not None:
            progress(min(start + batch_size, len(rows)), len(rows))


def predict(
    model: keras.Model,
    images: Images | Pictures,
    rows: npt.NDArray[np.int64],
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Matrix:
    """Return :func:`outputs` as one array (n, outputs)."""
    return np.concatenate(list(outputs(model, images, rows, batch_size, progress)))

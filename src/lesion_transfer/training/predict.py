"""Running a network over rows of an image store, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lesion_transfer.data.images import Pictures
from lesion_transfer.training.augment import Images

Matrix = npt.NDArray[np.float32]
BATCH = 64
"""Pictures that go through a network at a time, where nothing is trained."""


class Network(Protocol):
    """A Keras model, or what answers like one."""

    def predict_on_batch(self, images: Images) -> Any:
        """Return the outputs (batch, outputs) for pictures (batch, side, side, 3)."""


def outputs(
    model: Network,
    images: Images | Pictures,
    rows: npt.NDArray[np.int64],
    batch_size: int = BATCH,
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
    model: Network,
    images: Images | Pictures,
    rows: npt.NDArray[np.int64],
    batch_size: int = BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> Matrix:
    """Return :func:`outputs` as one array (n, outputs)."""
    return np.concatenate(list(outputs(model, images, rows, batch_size, progress)))

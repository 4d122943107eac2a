"""Batches of one epoch: balanced, augmented, prepared while the network computes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lesion_transfer.data.balance import balanced_epoch
from lesion_transfer.data.images import Pictures
from lesion_transfer.protocols import Training
from lesion_transfer.training.augment import Images, augment

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows of an image store with their labels.

    Attributes
    ----------
    images
        All images of the store (N, side, side, 3), uint8, possibly memory-mapped.
    rows
        Which of them, (n,) int.
    labels
        Their classes, (n,) int.
    """

    images: Images | Pictures
    rows: npt.NDArray[np.int64]
    labels: Labels

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Batch:
    """Fixed-size arrays; the examples that fill up the last batch of an epoch weigh nothing.

    A fixed size means that a compiled training step is compiled once.
    """

    images: Images
    labels: Labels
    weights: npt.NDArray[np.float32]


def epoch_batches(examples: Examples, spec: Training, epoch: int, seed: int) -> Iterator[Batch]:
    """Yield the batches of one epoch; ``(seed, epoch)`` decides them, threads do not.

    One background thread prepares batches ahead of the network; OpenCV and NumPy release the
    interpreter while they work.
    """
    if spec.balance:
        order = balanced_epoch(examples.labels, epoch, seed)
    else:
        order = np.random.default_rng([seed, epoch]).permutation(len(examples))
    starts = range(0, len(order), spec.batch_size)

    def prepare(number: int, start: int) -> Batch:
        chosen = order[start : start + spec.batch_size]
        weights = np.ones(spec.batch_size, np.float32)
        weights[len(chosen) :] = 0
        filled = np.resize(chosen, spec.batch_size)
        rng = np.random.default_rng([seed, epoch, number])
        images = augment(examples.images[examples.rows[filled]], spec.augmentation, rng)
        return Batch(images, examples.labels[filled], weights)

    with ThreadPoolExecutor(1) as pool:
        ahead: list[Future[Batch]] = []
        for number, start in enumerate(starts):
            ahead.append(pool.submit(prepare, number, start))
            if len(ahead) > 3:
                yield ahead.pop(0).result()
        for future in ahead:
            yield future.result()

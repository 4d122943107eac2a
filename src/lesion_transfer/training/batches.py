"""Batches of one epoch: balanced, augmented, prepared while the network computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lesion_transfer.data.balance import balanced_epoch
from lesion_transfer.data.images import Pictures
from lesion_transfer.protocols import Augmentation, Training
from lesion_transfer.training.augment import Changes, Floats, Images, change, draw, mixed

Labels = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]
THREADS = min(8, os.cpu_count() or 1)
"""That prepare batches ahead of the network."""


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
    rows: Rows
    labels: Labels

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Batch:
    """Fixed-size arrays; the examples that fill up the last batch of an epoch weigh nothing.

    A fixed size means that a compiled training step is compiled once.

    Attributes
    ----------
    inputs
        Of the network: pictures (batch, side, side, 3), RGB 0–255 uint8, or what a
        :data:`Feed` makes of them.
    targets
        (batch, classes), the share of each class; rows sum to 1.
    weights
        (batch,) of each example in the loss.
    """

    inputs: Any
    targets: Floats
    weights: Floats


Feed = Callable[[Rows, Changes], Any]
"""Makes a batch's inputs of positions among the examples and of the changes to each of them."""


def opencv_feed(examples: Examples, spec: Augmentation) -> Feed:
    """Read the pictures and change them, on the processor."""

    def feed(chosen: Rows, changes: Changes) -> Images:
        return change(examples.images[examples.rows[chosen]], spec, changes)

    return feed


def epoch_batches(
    examples: Examples,
    classes: int,
    spec: Training,
    epoch: int,
    seed: int,
    feed: Feed,
    threads: int = THREADS,
) -> Iterator[Batch]:
    """Yield the batches of one epoch; ``(seed, epoch)`` decides them, threads do not.

    They are prepared in background threads, ahead of the network; OpenCV and NumPy release the
    interpreter while they work.
    """
    side = examples.images.shape[1]
    if spec.balance is True:
        order = balanced_epoch(examples.labels, epoch, seed)
    else:
        order = np.random.default_rng([seed, epoch]).permutation(len(examples))
    starts = range(0, len(order), spec.batch_size)
    one_hot = np.eye(classes, dtype=np.float32)
    if spec.balance == "weights":
        one_hot *= class_weights(examples.labels, classes)

    def prepare(number: int, start: int) -> Batch:
        chosen = order[start : start + spec.batch_size]
        filled = np.resize(chosen, spec.batch_size)
        rng = np.random.default_rng([seed, epoch, number])
        changes = draw(spec.batch_size, side, spec.augmentation, rng)
        # Of a mixed example, each part weighs what its class does.
        targets = mixed(one_hot[examples.labels[filled]], changes)
        weights = targets.sum(axis=1)
        targets = targets / weights[:, None]
        weights[len(chosen) :] = 0
        return Batch(feed(filled, changes), targets, weights)

    with ThreadPoolExecutor(threads) as pool:
        ahead: list[Future[Batch]] = []
        for number, start in enumerate(starts):
            ahead.append(pool.submit(prepare, number, start))
            if len(ahead) > threads + 2:
                yield ahead.pop(0).result()
        for future in ahead:
            yield future.result()


def class_weights(labels: Labels, classes: int) -> npt.NDArray[np.float32]:
    """Return (classes,) weights by which classes weigh alike, and examples 1 on average.

    A class without an example, which no weight can help, has 0.
    """
    counts = np.bincount(labels, minlength=classes)
    share = len(labels) / np.count_nonzero(counts)
    return np.divide(share, counts, out=np.zeros(classes), where=counts > 0).astype(np.float32)

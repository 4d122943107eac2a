"""Balanced epochs: every class as often as the largest."""

from __future__ import annotations

import numpy as np

from lesion_transfer.data.designs import Indices


def balanced_epoch(labels: Indices, epoch: int, seed: int) -> Indices:
    """Return the order in which one epoch visits the images.

    The largest class is visited once each; every other class is brought to the same count: all its
    images as many whole times as fit, the remainder drawn without replacement. So no image of a
    class is visited more than once oftener than another.

    Parameters
    ----------
    labels
        (n,) int64, from 0.
    epoch, seed
        Decide the draw and the order; equal values give the equal result.

    Returns
    -------
    (classes present × size of the largest,) int64 positions in ``labels``, shuffled.
    """
    rng = np.random.default_rng([seed, epoch])
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    largest = max((len(rows) for rows in members), default=0)
    chosen = [
        np.concatenate(
            [
                np.tile(rows, largest // len(rows)),
                rng.choice(rows, largest % len(rows), replace=False),
            ]
        )
        for rows in members
    ]
    return rng.permutation(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)

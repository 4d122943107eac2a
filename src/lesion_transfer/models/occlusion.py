"""Where a fold model looks: what covering a part of the picture takes from its decision.

Occlusion sensitivity (Zeiler & Fergus, *Visualizing and understanding convolutional networks*, ECCV
2014) asks the whole fold model, SVM and calibration included, and needs no gradients, so it is the
same on every backend.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Asked = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating]]
"""What is asked: pictures (n, side, side, 3) → class probabilities (n, classes)."""

PATCH = 0.25
"""Side of the covered square, as a share of the picture's."""
STEP = 0.125
"""Distance between neighbouring squares, likewise."""


def occlusion_maps(
    ask: Asked, images: npt.NDArray[np.uint8], classes: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return how much each pixel speaks for a class.

    Parameters
    ----------
    ask
        Gives the probabilities of some 50 pictures, one picture's covered versions, at a time.
    images
        (n, side, side, 3) uint8, RGB.
    classes
        (n,): the class asked about, for each image.

    Returns
    -------
    ndarray
        (n, side, side): the log-odds that the class loses when the pixel is covered by its
        picture's mean colour, averaged over the squares that cover it. Negative: the pixel speaks
        against the class.
    """
    side = images.shape[1]
    squares = _squares(side)
    maps = np.zeros((len(images), side, side))
    covered = np.zeros((side, side))
    for top, left, bottom, right in squares:
        covered[top:bottom, left:right] += 1
    for number, (image, label) in enumerate(zip(images, classes, strict=True)):
        batch = np.repeat(image[None], len(squares) + 1, axis=0)
        mean = image.mean(axis=(0, 1)).round().astype(np.uint8)
        for row, (top, left, bottom, right) in enumerate(squares, start=1):
            batch[row, top:bottom, left:right] = mean
        odds = _log_odds(ask(batch), label)
        for (top, left, bottom, right), loss in zip(squares, odds[0] - odds[1:], strict=True):
            maps[number, top:bottom, left:right] += loss
    return maps / covered


def _squares(side: int) -> list[tuple[int, int, int, int]]:
    """Return the covered squares (top, left, bottom, right); together they cover every pixel."""
    size = max(1, round(side * PATCH))
    starts = sorted({*range(0, side - size, max(1, round(side * STEP))), side - size})
    return [(top, left, top + size, left + size) for top in starts for left in starts]


def _log_odds(probabilities: npt.NDArray[np.floating], label: int) -> npt.NDArray[np.float64]:
    chosen = np.clip(probabilities[:, label].astype(np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(chosen / (1 - chosen)))

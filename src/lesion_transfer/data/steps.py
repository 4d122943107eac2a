"""The steps of a preparation: where to crop a picture, and bringing it to the store's size.

A step only finds a box, on a small version of the picture, so that noise and the scale at which it
was decoded matter little. The pixels are touched once, by the resizing at the end, which takes the
box with its fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_opening

from lesion_transfer.data.decode import RGB, decode_bytes
from lesion_transfer.protocols import CentreCrop, Circle, Step, TrimBorder

OVERSAMPLING = 1.5
"""A picture is decoded with sides of at least this many times the store's."""

ENOUGH = 1.25
"""Where cropping leaves less than this, and there is more in the file, it is decoded again."""

_SEARCHED = 256
"""Shorter side of the version in which boxes are searched."""

_BRIGHT_SHARE = 0.02  # of an edge's pixels may be bright, and it still is border: dust, a date
_THINNEST = 0.02  # of a side: fewer rows or columns in a row are no subject
_SMALLEST = 0.1  # of a side: what leaves less has found no subject, and crops nothing
_DISC = 0.1  # of the mean light over all rows (or columns): one with less is outside the disc


class Box(NamedTuple):
    """A part of a picture, in its pixels; right and bottom are just outside."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def side(self) -> float:
        """Its shorter side."""
        return min(self.right - self.left, self.bottom - self.top)


def prepare_bytes(content: bytes, size: int, steps: Sequence[Step]) -> RGB:
    """Return the picture in a file's content, (size, size, 3) uint8, cropped and resized.

    It is decoded no larger than ``size`` and the crop need, which depends on nothing else.

    Raises
    ------
    BadImage
        It cannot be used.
    """
    wanted = max(ceil(OVERSAMPLING * size), _SEARCHED if steps else 0)
    decoded = decode_bytes(content, at_least=wanted)
    box = crop_box(decoded.picture, steps)
    if decoded.reduced and box.side < ENOUGH * size:
        shown = box.side / min(decoded.picture.shape[:2])
        decoded = decode_bytes(content, at_least=ceil(wanted / shown))
        box = crop_box(decoded.picture, steps)
    return resize(decoded.picture, box, size)


def prepare(picture: RGB, size: int, steps: Sequence[Step]) -> RGB:
    """Return a decoded picture, (size, size, 3) uint8, cropped and resized."""
    return resize(picture, crop_box(picture, steps), size)


def resize(picture: RGB, box: Box, size: int) -> RGB:
    """Bring a part of a picture to ``(size, size, 3)``, its aspect not kept, as in the paper.

    Pillow widens the kernel of what it shrinks, so nothing is aliased. Bicubic: Lanczos takes half
    as long again, for a difference of 0.06 of 255.
    """
    square = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(square)


def crop_box(picture: RGB, steps: Sequence[Step]) -> Box:
    """Return the part of a picture (height, width, 3) that the steps leave, each within the last.

    A step that finds nothing, as in a picture that is dark all over, leaves what it was given.
    """
    height, width = picture.shape[:2]
    if not steps:
        return Box(0.0, 0.0, width, height)
    scale = max(1.0, min(height, width) / _SEARCHED)
    small = picture
    if scale > 1:
        side = (max(1, round(width / scale)), max(1, round(height / scale)))
        small = np.asarray(cv2.resize(picture, side, interpolation=cv2.INTER_AREA), np.uint8)
    box = Box(0.0, 0.0, small.shape[1], small.shape[0])
    for step in steps:
        box = _centre(box, step) if isinstance(step, CentreCrop) else _subject(small, box, step)
    across, down = width / small.shape[1], height / small.shape[0]
    return Box(box.left * across, box.top * down, box.right * across, box.bottom * down)


def _centre(box: Box, step: CentreCrop) -> Box:
    across = (box.right - box.left) * (1 - step.keep) / 2
    down = (box.bottom - box.top) * (1 - step.keep) / 2
    return Box(box.left + across, box.top + down, box.right - across, box.bottom - down)


def _subject(picture: RGB, box: Box, step: TrimBorder | Circle) -> Box:
    """Narrow the box to the rows and columns, from the first to the last, that show something."""
    left, top = floor(box.left), floor(box.top)
    view = picture[top : ceil(box.bottom), left : ceil(box.right)]
    rows, columns = _bright(view, step.fuzz) if isinstance(step, TrimBorder) else _disc(view)
    across, down = _span(columns), _span(rows)
    if across is None or down is None:
        return box
    return Box(left + across[0], top + down[0], left + across[1], top + down[1])


def _bright(view: RGB, fuzz: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows and columns with bright pixels.

    The paper's script is ImageMagick's ``-fuzz 20% -trim``, which cuts off whatever is like the
    corner. On a picture without a frame that is skin; here only dark edges go.
    """
    lightest = np.maximum(np.maximum(view[..., 0], view[..., 1]), view[..., 2])
    bright = lightest > fuzz * 255
    return bright.mean(axis=1) > _BRIGHT_SHARE, bright.mean(axis=0) > _BRIGHT_SHARE


def _disc(view: RGB) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows and columns lit more than a tenth of the mean.

    The threshold of B. Graham, first in the Kaggle competition of 2015 (``x > x.mean() / 10``); he
    applies it to the middle row, which a dark or decentred picture can mislead.
    """
    light = view.sum(axis=2, dtype=np.uint32)
    rows, columns = light.sum(axis=1), light.sum(axis=0)
    return rows > _DISC * rows.mean(), columns > _DISC * columns.mean()


def _span(inside: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Return where the subject begins and ends; a thin line, as scanners leave them, is none."""
    length = max(1, round(_THINNEST * len(inside)))
    found = np.flatnonzero(binary_opening(inside, np.ones(length, bool)))
    if not len(found) or found[-1] + 1 - found[0] < _SMALLEST * len(inside):
        return None
    return int(found[0]), int(found[-1]) + 1

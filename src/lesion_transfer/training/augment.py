"""Augmentation: one affine warp an image, then blur, colour, cut-out and MixUp.

What is done to a batch is drawn first, by :func:`draw`, and then done by :func:`change` with OpenCV
or by :mod:`~lesion_transfer.training.augment_device` on an accelerator. The affine changes are
composed into one matrix, so that a picture is resampled once (the paper's scripts do likewise).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from lesion_transfer.protocols import Augmentation

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to each of n pictures; None is nothing.

    Attributes
    ----------
    matrices
        (n, 2, 3): each maps a pixel (x, y) of the changed picture to its place in the picture.
    deviations
        (n,) of the Gaussian blur, pixels; 0 is none.
    gains, channels, added
        (n, 1, 1, 1), (n, 1, 1, 3), (n, 1, 1, 1): contrast about the picture's mean; a factor of
        each channel; and what is added to all, of 255.
    corners
        (n, 2), top and left of the square that is cut out.
    kept, partners
        (n,), (n,): the share of each picture in its mixture, and which one is mixed in.
    """

    matrices: npt.NDArray[np.float64]
    deviations: Floats | None = None
    gains: Floats | None = None
    channels: Floats | None = None
    added: Floats | None = None
    corners: Integers | None = None
    kept: Floats | None = None
    partners: Integers | None = None


def draw(count: int, side: int, spec: Augmentation, rng: np.random.Generator) -> Changes:
    """Draw the changes to ``count`` pictures of ``side`` pixels; the generator alone decides them.

    What the protocol does not ask for draws nothing.
    """
    drawn: dict[str, Any] = {"matrices": affine_matrices(count, side, spec, rng)}
    if spec.blur:
        deviations = rng.uniform(0, spec.blur * side, count)
        drawn["deviations"] = (deviations * rng.integers(0, 2, count)).astype(np.float32)
    if spec.brightness or spec.contrast or spec.colour:
        shape = (count, 1, 1, 1)
        gains = rng.uniform(1 - spec.contrast, 1 + spec.contrast, shape)
        channels = rng.uniform(1 - spec.colour, 1 + spec.colour, (count, 1, 1, 3))
        added = rng.uniform(-spec.brightness, spec.brightness, shape)
        drawn |= {
            "gains": gains.astype(np.float32),
            "channels": channels.astype(np.float32),
            "added": added.astype(np.float32) * 255,
        }
    if spec.cutout:
        drawn["corners"] = rng.integers(0, side - cut_side(side, spec) + 1, (count, 2))
    if spec.mixup:
        drawn["kept"] = rng.beta(spec.mixup, spec.mixup, count).astype(np.float32)
        drawn["partners"] = rng.permutation(count)
    return Changes(**drawn)


def change(images: Images, spec: Augmentation, changes: Changes) -> Images:
    """Return changed copies of ``images`` (batch, side, side, 3), RGB 0–255.

    Pixels that come from outside the picture repeat its edge.
    """
    side = images.shape[1]
    out = np.empty_like(images)
    for image, matrix, target in zip(images, changes.matrices, out, strict=True):
        cv2.warpAffine(
            image,
            matrix,
            (side, side),
            dst=target,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    if changes.deviations is not None:
        for number in np.flatnonzero(changes.deviations):
            deviation = float(changes.deviations[number])
            cv2.GaussianBlur(
                out[number],
                (0, 0),
                deviation,
                dst=out[number],
                borderType=cv2.BORDER_REPLICATE,
            )
    if changes.gains is not None:
        pixels = out.astype(np.float32)
        mean = pixels.mean(axis=(1, 2, 3), keepdims=True)
        pixels = ((pixels - mean) * changes.gains + mean) * changes.channels + changes.added
        out = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    if changes.corners is not None:
        cut = cut_side(side, spec)
        for image, (top, left) in zip(out, changes.corners, strict=True):
            image[top : top + cut, left : left + cut] = image.mean(axis=(0, 1)).astype(np.uint8)
    if changes.kept is not None:
        out = np.rint(mixed(out, changes)).astype(np.uint8)
    return out


def augment(images: Images, spec: Augmentation, rng: np.random.Generator) -> Images:
    """Draw changes to ``images`` (batch, side, side, 3), RGB 0–255, and return changed copies."""
    return change(images, spec, draw(len(images), images.shape[1], spec, rng))


def mixed(values: npt.NDArray[Any], changes: Changes) -> Floats:
    """Return mixtures of the rows of ``values``: MixUp (Zhang et al. 2018, equation 1).

    Its authors draw one share for a batch; here each example has its own.
    """
    if changes.kept is None:
        return values.astype(np.float32, copy=False)
    kept = changes.kept.reshape(-1, *[1] * (values.ndim - 1))
    mixture = values * kept + values[changes.partners] * (1 - kept)
    return mixture.astype(np.float32, copy=False)


def cut_side(side: int, spec: Augmentation) -> int:
    """Side of the square that is cut out, in pixels."""
    return max(1, round(spec.cutout * side))


def affine_matrices(
    count: int, side: int, spec: Augmentation, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw matrices (count, 2, 3) about the centre: zoom, shear, rotation, flip and shift."""
    log_zoom = np.log(spec.zoom)
    zoom = np.exp(rng.uniform(-log_zoom, log_zoom, (count, 2)))
    angle = np.deg2rad(rng.uniform(0, spec.rotation, count))
    shear = np.deg2rad(rng.uniform(-spec.shear, spec.shear, count))
    shift = rng.uniform(-spec.translation, spec.translation, (count, 2)) * side
    mirrored = rng.integers(0, 2, count) * 2 - 1 if spec.flip else np.ones(count)

    zeros = np.zeros(count)
    scaling = np.array([[mirrored * zoom[:, 0], zeros], [zeros, zoom[:, 1]]])
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle + shear)], [np.sin(angle), np.cos(angle + shear)]]
    )
    linear = np.einsum("ijn,jkn->nik", rotation, scaling)
    centre = np.full(2, (side - 1) / 2)
    offset = centre + shift - linear @ centre
    return np.concatenate([linear, offset[..., None]], axis=2)

"""Augmentation: one affine warp an image, then blur, colour and cut-out; and MixUp of a batch.

The affine changes are composed into one matrix, so that a picture is resampled once (the paper's
scripts do likewise). A batch's changes depend only on the generator it is given.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from lesion_transfer.protocols import Augmentation

Images = npt.NDArray[np.uint8]
Targets = npt.NDArray[np.float32]


def augment(images: Images, spec: Augmentation, rng: np.random.Generator) -> Images:
    """Return changed copies of ``images`` (batch, side, side, 3), RGB 0–255.

    Pixels that come from outside the picture repeat its edge.
    """
    count, side = images.shape[:2]
    matrices = affine_matrices(count, side, spec, rng)
    out = np.empty_like(images)
    for image, matrix, target in zip(images, matrices, out, strict=True):
        # The matrix maps an output pixel to its place in the picture.
        cv2.warpAffine(
            image,
            matrix,
            (side, side),
            dst=target,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    if spec.blur:
        _blur(out, spec.blur, rng)
    if spec.brightness or spec.contrast or spec.colour:
        out = _recolour(out, spec, rng)
    if spec.cutout:
        _cut_out(out, spec.cutout, rng)
    return out


def mix(
    images: Images, targets: Targets, alpha: float, rng: np.random.Generator
) -> tuple[Images, Targets]:
    """Mix into each example another one of the batch: MixUp (Zhang et al. 2018, equation 1).

    Parameters
    ----------
    images
        (batch, side, side, 3), RGB 0–255.
    targets
        (batch, classes): what is mixed as the pictures are.
    alpha
        The share that is kept is drawn from Beta(alpha, alpha), for each example by itself.
    """
    kept = rng.beta(alpha, alpha, len(images)).astype(np.float32)
    other = rng.permutation(len(images))
    share = kept[:, None, None, None]
    mixed = images * share + images[other] * (1 - share)
    share = kept[:, None]
    return np.rint(mixed).astype(np.uint8), targets * share + targets[other] * (1 - share)


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


def _blur(images: Images, share: float, rng: np.random.Generator) -> None:
    deviations = rng.uniform(0, share * images.shape[1], len(images))
    chosen = rng.integers(0, 2, len(images))
    for number in np.flatnonzero(chosen):
        image, deviation = images[number], deviations[number]
        cv2.GaussianBlur(image, (0, 0), deviation, dst=image, borderType=cv2.BORDER_REPLICATE)


def _recolour(images: Images, spec: Augmentation, rng: np.random.Generator) -> Images:
    count = len(images)
    shape = (count, 1, 1, 1)
    pixels = images.astype(np.float32)
    mean = pixels.mean(axis=(1, 2, 3), keepdims=True)
    gain = rng.uniform(1 - spec.contrast, 1 + spec.contrast, shape).astype(np.float32)
    channel = rng.uniform(1 - spec.colour, 1 + spec.colour, (count, 1, 1, 3)).astype(np.float32)
    added = rng.uniform(-spec.brightness, spec.brightness, shape).astype(np.float32) * 255
    pixels = ((pixels - mean) * gain + mean) * channel + added
    changed: Images = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return changed


def _cut_out(images: Images, share: float, rng: np.random.Generator) -> None:
    side = images.shape[1]
    cut = max(1, round(share * side))
    corners = rng.integers(0, side - cut + 1, (len(images), 2))
    for image, (top, left) in zip(images, corners, strict=True):
        image[top : top + cut, left : left + cut] = image.mean(axis=(0, 1)).astype(np.uint8)

"""Augmentation as a layer in front of the network, for accelerators.

The changes are drawn on the processor, as :func:`~lesion_transfer.training.augment.draw` does for
OpenCV. A few numbers a picture go to the accelerator, which does the work within the training step;
the fold's pictures lie there already where they fit.

It differs from OpenCV's by the rounding between its steps, and by OpenCV's interpolation between
32nds of a pixel; tests hold both to each other.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import keras
import numpy as np
from keras import ops

from lesion_transfer.protocols import Augmentation
from lesion_transfer.training.augment import Changes, cut_side, draw
from lesion_transfer.training.batches import Examples, Feed, Rows

RESIDENT_BYTES = 2 * 2**30
"""Of pictures that are kept on the accelerator; where there are more, batches are sent to it."""


def on_accelerator() -> bool:
    """Whether the backend computes on anything but the processor."""
    return "cpu" not in str(ops.zeros(()).device).lower()


def augmented(model: keras.Model, spec: Augmentation) -> keras.Model:
    """Put the augmentation in front of ``model``; :func:`device_feed` makes its inputs."""
    size = model.input_shape[1]
    example = _arrays(draw(1, size, spec, np.random.default_rng(0)))
    changes = {
        name: keras.Input(values.shape[1:], dtype=values.dtype.name, name=name)
        for name, values in example.items()
    }
    images = keras.Input((size, size, 3), dtype="uint8", name="images")
    layer = _Augment(spec, dtype="float32", name="augment")
    return keras.Model({"images": images, **changes}, model(layer(images, **changes)))


def device_feed(examples: Examples, spec: Augmentation) -> Feed:
    """Take the pictures from the accelerator, or send them there, and leave them as they are.

    The inputs are the pictures and, by name, what is to be done to them.
    """
    images, rows = examples.images, examples.rows
    resident = len(rows) * math.prod(images.shape[1:]) <= RESIDENT_BYTES
    there = ops.convert_to_tensor(images[rows]) if resident else None

    def feed(chosen: Rows, changes: Changes) -> dict[str, Any]:
        taken = images[rows[chosen]] if there is None else ops.take(there, chosen, axis=0)
        given = {"images": taken, **_arrays(changes)}
        return {name: ops.convert_to_tensor(values) for name, values in given.items()}

    return feed


def _arrays(changes: Changes) -> dict[str, Any]:
    """Return the changes that there are, by name, with types that every accelerator has."""
    arrays = {field.name: getattr(changes, field.name) for field in fields(changes)}
    return {
        name: values.astype(np.int32 if values.dtype.kind == "i" else np.float32)
        for name, values in arrays.items()
        if values is not None
    }


class _Augment(keras.layers.Layer):  # type: ignore[misc]
    """What :func:`lesion_transfer.training.augment.change` does, in ``keras.ops``."""

    def __init__(self, spec: Augmentation, **options: Any) -> None:
        super().__init__(autocast=False, **options)
        self.spec = spec
        # TensorFlow's affine transform is an operation that XLA cannot compile.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def call(
        self,
        images: Any,
        matrices: Any,
        deviations: Any = None,
        gains: Any = None,
        channels: Any = None,
        added: Any = None,
        corners: Any = None,
        kept: Any = None,
        partners: Any = None,
    ) -> Any:
        """Change ``images`` (batch, side, side, 3) uint8; see ``Changes`` for the others."""
        side = images.shape[1]
        x = ops.cast(images, "float32")
        # The last row of a projective transform, which this is not.
        transform = ops.pad(ops.reshape(matrices, (-1, 6)), [[0, 0], [0, 2]])
        x = ops.image.affine_transform(
            x, transform, interpolation="bilinear", fill_mode="nearest", data_format="channels_last"
        )
        if deviations is not None:
            x = _blurred(x, deviations, reach=math.ceil(3 * self.spec.blur * side))
        if gains is not None:
            mean = ops.mean(x, axis=(1, 2, 3), keepdims=True)
            x = ops.clip(((x - mean) * gains + mean) * channels + added, 0, 255)
        if corners is not None:
            cut = cut_side(side, self.spec)
            place = ops.arange(side, dtype="int32")
            inside = [
                (place >= corners[:, axis, None]) & (place < corners[:, axis, None] + cut)
                for axis in (0, 1)
            ]
            square = inside[0][:, :, None, None] & inside[1][:, None, :, None]
            x = ops.where(square, ops.mean(x, axis=(1, 2), keepdims=True), x)
        if kept is not None:
            share = kept[:, None, None, None]
            x = x * share + ops.take(x, partners, axis=0) * (1 - share)
        return x

    def compute_output_shape(
        self, images_shape: tuple[int | None, ...], **other: Any
    ) -> tuple[int | None, ...]:
        """Return the shape of the pictures."""
        return images_shape


def _blurred(x: Any, deviations: Any, reach: int) -> Any:
    """Blur rows, then columns, each picture by its own Gaussian: products with banded matrices."""
    side = x.shape[1]
    places = np.arange(-reach, side + reach)
    repeated = np.clip(places, 0, side - 1).astype("int32")  # the edge goes on beyond the picture
    distance = ops.convert_to_tensor(places - np.arange(side)[:, None], dtype="float32")
    deviations = ops.maximum(deviations, 0.1)[:, None, None]  # 0.1 pixels are none
    within = ops.cast(ops.abs(distance) <= ops.ceil(3 * deviations), "float32")
    kernel = within * ops.exp(-0.5 * ops.square(distance / deviations))
    kernel = kernel / ops.sum(kernel, axis=-1, keepdims=True)
    x = ops.einsum("nij,njwc->niwc", kernel, ops.take(x, repeated, axis=1))
    return ops.einsum("nij,nhjc->nhic", kernel, ops.take(x, repeated, axis=2))

"""Input scaling as layers: every network of the platform takes raw 0–255 RGB."""

from __future__ import annotations

from typing import Any

import keras

from lesion_transfer.errors import UserError

# ImageNet channel statistics on the 0–255 scale, in RGB, as torchvision and Caffe publish them.
TORCH_MEAN = (123.675, 116.28, 103.53)
TORCH_SD = (58.395, 57.12, 57.375)
IMAGENET_MEAN = (123.68, 116.779, 103.939)
"""As Caffe, and the networks of 2014, subtract it."""

SCALINGS = ("none", "unit", "symmetric", "torch", "caffe")


@keras.saving.register_keras_serializable(package="lesion_transfer")
class ReverseChannels(keras.layers.Layer):  # type: ignore[misc]
    """RGB to BGR, as networks converted from Caffe expect."""

    def call(self, images: Any) -> Any:
        """Reverse the last axis of ``images`` (batch, height, width, 3)."""
        return keras.ops.flip(images, axis=-1)


def scale_input(images: Any, scaling: str) -> Any:
    """Apply the layers that turn 0–255 RGB into what a network expects.

    Parameters
    ----------
    images
        Keras tensor (batch, height, width, 3), RGB, 0–255.
    scaling
        ``none``; ``unit``: x/255; ``symmetric``: x/127.5 − 1; ``torch``: ImageNet mean and SD per
        channel; ``caffe``: BGR minus the ImageNet mean.

    Raises
    ------
    UserError
        No such scaling.
    """
    layers = keras.layers
    match scaling:
        case "none":
            return images
        case "unit":
            return layers.Rescaling(1 / 255)(images)
        case "symmetric":
            return layers.Rescaling(1 / 127.5, offset=-1.0)(images)
        case "torch":
            scale = [1 / sd for sd in TORCH_SD]
            offset = [-mean / sd for mean, sd in zip(TORCH_MEAN, TORCH_SD, strict=True)]
            return layers.Rescaling(scale, offset=offset)(images)
        case "caffe":
            offset = [-mean for mean in reversed(IMAGENET_MEAN)]
            return layers.Rescaling([1.0, 1.0, 1.0], offset=offset)(ReverseChannels()(images))
    raise UserError(
        f"input_scaling={scaling!r} is not known", expected=f"one of {', '.join(SCALINGS)}"
    )

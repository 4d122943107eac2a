"""The demo's network: a VGG that trains in seconds."""

from __future__ import annotations

import keras
from keras import layers

from lesion_transfer.models.backbone import Backbone
from lesion_transfer.models.scaling import scale_input


class SmallVGG(Backbone):
    """Three convolution blocks and one dense feature layer: a VGG that trains in a second.

    Made for the demo's 32-pixel pictures; the pattern (3×3 convolutions, pooling, a wide rectified
    layer whose output is the feature vector) is that of Simonyan & Zisserman 2014.
    """

    name = "small_vgg"
    identity = ("small_vgg", "1")
    has_imagenet = False
    widths = (16, 32, 64)
    features = 128

    def core(self, size: int, imagenet: bool) -> keras.Model:
        """See :meth:`Backbone.core`."""
        image = keras.Input((size, size, 3), name="image")
        x = scale_input(image, "symmetric")
        for number, width in enumerate(self.widths, start=1):
            x = layers.Conv2D(
                width,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=f"conv{number}",
            )(x)
            x = layers.MaxPooling2D(name=f"pool{number}")(x)
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(
            self.features, activation="relu", kernel_initializer="he_normal", name="features"
        )(x)
        return keras.Model(image, x)

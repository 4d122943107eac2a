"""VGG-M, the network of the paper: CNN-M of Chatfield et al. 2014, as it was released."""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers

from lesion_transfer.errors import UserError
from lesion_transfer.models.backbone import Backbone, cut_at
from lesion_transfer.models.files import file_digest
from lesion_transfer.models.matconvnet import PRETRAINED, read_matconvnet
from lesion_transfer.models.normalization import LocalResponseNormalization, SubtractMean
from lesion_transfer.models.released import load_released
from lesion_transfer.models.scaling import IMAGENET_MEAN

FILE = "imagenet-vgg-m.mat"


class VGGM(Backbone):
    """Five convolutions with local response normalisation, and two layers of 4,096 units.

    Chatfield, Simonyan, Vedaldi & Zisserman 2014, *Return of the Devil in the Details*, table 1,
    column CNN-M. Where the table leaves something open the released model decides, and importing
    it checks every layer: its pools are 3×3 with stride 2 (the table says "×2"), and ``pool2`` is
    padded by one row below and one column to the right, which is what makes ``fc6`` see 6×6.

    The paper's "layer 19" is the rectifier after ``fc7``; here a layer's activation is part of it,
    so ``fc7`` is that. Dropout between ``fc6`` and ``fc7`` belongs to the network; the one after
    ``fc7`` to the classifier that training puts on top.

    Random weights have the variance, and biases the value, of those in the paper's scripts: 1 over
    the number of inputs (there it is an orthogonal matrix, which for ``fc6`` takes long to make),
    and 0.05. With He's variance, twice that, features come out nine times as large, from inputs
    that go to ±128.

    Without a file the mean of ImageNet's colours is subtracted: a constant, which nothing in a
    fold's test half can move.

    Parameters
    ----------
    feature_layer
        Layer whose output is the feature vector; None: ``fc7``.
    weights
        The released ``imagenet-vgg-m.mat``; None: there are no ImageNet weights.
    units
        Width of ``fc6`` and ``fc7``.

    Raises
    ------
    UserError
        There is no such file.
    """

    name = "vgg_m"

    def __init__(
        self,
        feature_layer: str | None = None,
        weights: Path | None = None,
        units: int = 4096,
    ) -> None:
        self.feature_layer = feature_layer or "fc7"
        self.units = units
        self.weights = weights
        self.has_imagenet = weights is not None
        self.identity = ("vgg_m", "2", self.feature_layer, str(units))
        if weights is not None:
            self.weights_identity = (file_digest(weights, "weights", f"the released {FILE}"),)

    def core(self, size: int, imagenet: bool) -> keras.Model:
        """See :meth:`Backbone.core`."""
        try:
            model = cut_at(_network(size, self.units), self.feature_layer)
        except ValueError as error:
            raise UserError(
                f"backbone=vgg_m does not take images of {size} px: {error}",
                expected="image_size=224, the network's own, or at least 59",
            ) from error
        if imagenet and self.weights is not None:
            load_released(read_matconvnet(self.weights), model.layers)
        return model

    def no_imagenet(self) -> UserError:
        """Return the error of asking for ImageNet weights without their file."""
        return UserError(
            "backbone=vgg_m has its ImageNet weights in a file, and none was given",
            expected=f"weights={FILE}, the released model (about 400 MB)",
            next_step=f"download {PRETRAINED}{FILE}, put it in any folder or on S3, and name it: "
            f"-P weights=/path/to/{FILE}",
        )


def _network(size: int, units: int) -> keras.Model:
    drawn = {
        "kernel_initializer": "lecun_normal",
        "bias_initializer": keras.initializers.Constant(0.05),
    }

    def conv(width: int, window: int, stride: int, name: str) -> layers.Layer:
        return layers.Conv2D(
            width,
            window,
            stride,
            # Padding of 1 before a stride of 1 is "same" for 3×3; before other convolutions it
            # is a layer, because "same" with a stride pads one side more than the other.
            padding="same" if window == 3 else "valid",
            activation="relu",
            name=name,
            **drawn,
        )

    def dense(name: str) -> layers.Layer:
        return layers.Dense(units, activation="relu", name=name, **drawn)

    stack = [
        SubtractMean(IMAGENET_MEAN, name="mean"),
        conv(96, 7, 2, "conv1"),
        LocalResponseNormalization(name="norm1"),
        layers.MaxPooling2D(3, 2, name="pool1"),
        layers.ZeroPadding2D(1, name="pad2"),
        conv(256, 5, 2, "conv2"),
        LocalResponseNormalization(name="norm2"),
        # Nothing is below zero after a rectifier, so zeros never win a maximum.
        layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad_pool2"),
        layers.MaxPooling2D(3, 2, name="pool2"),
        conv(512, 3, 1, "conv3"),
        conv(512, 3, 1, "conv4"),
        conv(512, 3, 1, "conv5"),
        layers.MaxPooling2D(3, 2, name="pool5"),
        layers.Flatten(name="flatten"),
        dense("fc6"),
        layers.Dropout(0.5, seed=0, name="dropout6"),
        dense("fc7"),
    ]
    image = keras.Input((size, size, 3), name="image")
    x = image
    for layer in stack:
        x = layer(x)
    return keras.Model(image, x)

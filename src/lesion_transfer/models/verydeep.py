"""VGG16 and VGG19 with the weights that MatConvNet released."""

from __future__ import annotations

from pathlib import Path

import keras

from lesion_transfer.models.applications import Application
from lesion_transfer.models.matconvnet import read_matconvnet
from lesion_transfer.models.normalization import SubtractMean
from lesion_transfer.models.released import load_released
from lesion_transfer.models.scaling import IMAGENET_MEAN


class VeryDeep(Application):
    """Configurations D and E of Simonyan & Zisserman 2014, in RGB.

    The layers are those of ``keras.applications``; what goes in is RGB less the file's own mean,
    not BGR as in the weights that Keras distributes, so its networks are of another identity.

    Parameters
    ----------
    name
        ``VGG16`` or ``VGG19``.
    feature_layer
        As for an :class:`Application`; the second layer of 4,096 units is ``fc2``.
    weights
        ``imagenet-vgg-verydeep-16.mat`` or ``-19.mat``.

    Raises
    ------
    UserError
        There is no such file.
    """

    names = ("VGG16", "VGG19")

    def __init__(self, name: str, feature_layer: str | None, weights: Path) -> None:
        super().__init__(name, feature_layer, weights)
        self.path = weights
        self.identity = (*self.identity, "matconvnet")

    def core(self, size: int, imagenet: bool) -> keras.Model:
        """See :meth:`Backbone.core`."""
        model = self.unscaled(size, None)
        image = keras.Input((size, size, 3), name="image")
        mean = SubtractMean(IMAGENET_MEAN, name="mean")
        network = keras.Model(image, model(mean(image)))
        if imagenet:
            load_released(read_matconvnet(self.path), [mean, *model.layers])
        return network

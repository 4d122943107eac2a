"""The networks of ``keras.applications`` as backbones."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lesion_transfer.errors import UserError
from lesion_transfer.models.backbone import Backbone, cut_at
from lesion_transfer.models.files import file_digest, reason
from lesion_transfer.models.scaling import TORCH_SD, scale_input

# What each module's preprocess_input does; the modules not named here scale in the network.
SCALING = {
    "resnet": "caffe",
    "vgg16": "caffe",
    "vgg19": "caffe",
    "densenet": "torch",
    "resnet_v2": "symmetric",
    "mobilenet": "symmetric",
    "mobilenet_v2": "symmetric",
    "inception_v3": "symmetric",
    "inception_resnet_v2": "symmetric",
    "nasnet": "symmetric",
    "xception": "symmetric",
}
_RESCALED = "efficientnet"
"""The module whose networks hold one more scaling where Keras downloads their weights."""

_DOWNLOAD = re.compile(r"URL fetch failure on (\S+/(\S+)):")


class Application(Backbone):
    """A network of ``keras.applications``, with its own preprocessing.

    Parameters
    ----------
    name
        As in ``keras.applications``.
    feature_layer
        Layer whose output is the feature vector, such as VGG's ``fc2``; None: the average of the
        last feature map.
    weights
        File of the ImageNet weights (.h5, as Keras distributes them); None: Keras' cache, and
        failing that its download.

    Raises
    ------
    UserError
        There is no such file.
    """

    has_imagenet = True

    def __init__(
        self, name: str, feature_layer: str | None = None, weights: Path | None = None
    ) -> None:
        self.name = name
        self.feature_layer = feature_layer
        self.weights = weights
        self.identity = ("keras.applications", name, keras.__version__, feature_layer or "")
        if self._module == _RESCALED:
            self.identity += ("scaled by its normalisation",)  # it was not, once
        if weights is not None:
            digest = file_digest(weights, "weights", "a Keras weights file (.h5)")
            self.weights_identity = (digest,)

    def core(self, size: int, imagenet: bool) -> keras.Model:
        """See :meth:`Backbone.core`."""
        model = self.unscaled(size, (self.weights or "imagenet") if imagenet else None)
        image = keras.Input((size, size, 3), name="image")
        return keras.Model(image, model(scale_input(image, self.scaling)))

    @property
    def scaling(self) -> str:
        """What the network expects of 0–255 RGB, a name of :func:`scale_input`."""
        return SCALING.get(self._module, "none")

    @property
    def _module(self) -> str:
        module: str = getattr(keras.applications, self.name).__module__
        return module.rpartition(".")[2]

    def unscaled(self, size: int, weights: Path | str | None) -> keras.Model:
        """Return Keras' own network up to the feature layer, with these weights.

        Raises
        ------
        UserError
            The weights cannot be had, or the architecture does not take this size.
        """
        model = self._made(size, weights)
        if self._module == _RESCALED and weights is not None:
            model = self._scaled_by_normalization(model, size)
        return cut_at(model, self.feature_layer)

    def _scaled_by_normalization(self, model: keras.Model, size: int) -> keras.Model:
        """Return an EfficientNet of ImageNet weights whose layers are those of one without.

        Its files hold standard deviations where the normalisation takes variances. Keras makes up
        for it by a layer of its own, but only where it has downloaded the file itself. With the
        variances in place the layer is not needed, whichever way the weights came.
        """
        plain = self._made(size, None)
        plain.set_weights(model.get_weights())
        layer = next(x for x in plain.layers if isinstance(x, keras.layers.Normalization))
        mean, variance, *count = layer.get_weights()
        deviation = np.array(TORCH_SD, np.float32) / 255
        if np.allclose(variance, deviation, atol=1e-3):
            layer.set_weights([mean, np.broadcast_to(deviation**2, variance.shape), *count])
        layer.finalize_state()
        return plain

    def _made(self, size: int, weights: Path | str | None) -> keras.Model:
        # A layer of the classifier, such as VGG's fc2, exists only with the classifier on top,
        # whose size is ImageNet's.
        top = self.feature_layer is not None
        options: dict[str, Any] = {"include_top": True} if top else {"pooling": "avg"}
        try:
            model: keras.Model = getattr(keras.applications, self.name)(
                **{"include_top": False, **options},
                weights=None if weights is None else str(weights),
                input_shape=(size, size, 3),
            )
        except Exception as error:  # Keras raises bare Exceptions where a download fails
            download = _DOWNLOAD.search(str(error))
            if download is not None:
                raise self._not_downloaded(*download.groups()) from error
            raise UserError(
                f"backbone={self.name} could not be made at {size} px: {reason(error)}",
                expected="an image size that the architecture takes"
                + (f", and weights of this network in {weights}" if self.weights else ""),
                next_step=f"give another image_size={' or weights=' if self.weights else ''}, or a "
                "Keras model file as backbone=",
            ) from error
        return model

    def _not_downloaded(self, url: str, name: str) -> UserError:
        if name.startswith("NASNet"):  # the only ones whose name in the cache is another
            name = name.lower().replace("-", "_")
        # Keras' own rule; it reads the variable once, when it is imported.
        home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
        return UserError(
            f"backbone={self.name}: its ImageNet weights are not on this machine, and {url} "
            "cannot be reached",
            expected=f"the file {name} in {home / 'models'}",
            next_step="download it where there is a network, and put it there or name it with "
            "weights=; or give a Keras model file as backbone=",
        )

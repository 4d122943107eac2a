"""Any Keras model file as a backbone."""

from __future__ import annotations

from pathlib import Path

import keras

from lesion_transfer.errors import UserError
from lesion_transfer.models.backbone import Backbone, cut_at
from lesion_transfer.models.files import file_digest, load_network
from lesion_transfer.models.precision import in_precision
from lesion_transfer.models.scaling import scale_input
from lesion_transfer.models.transfer import set_weights


class KerasFile(Backbone):
    """Any Keras model file; its weights are the ImageNet weights of the source ``imagenet``."""

    has_imagenet = True

    def __init__(self, path: Path, feature_layer: str | None, scaling: str | None) -> None:
        self.path = path
        self.name = path.stem
        self.feature_layer = feature_layer
        self.scaling = scaling or "none"
        digest = file_digest(path, "backbone", "the path of a Keras model file")
        self.identity = (digest, feature_layer or "", self.scaling)

    def core(self, size: int, imagenet: bool) -> keras.Model:
        """See :meth:`Backbone.core`."""
        # A file may come from a mixed training; float32 is the reference whatever it was.
        model = in_precision(load_network(self.path), "float32")
        shape = model.input_shape
        fits = isinstance(shape, tuple) and len(shape) == 4
        if not fits or any(
            given not in (None, wanted)
            for given, wanted in zip(shape[1:], (size, size, 3), strict=True)
        ):
            raise UserError(
                f"backbone={self.path} takes inputs of shape {shape}",
                expected=f"one image input of (batch, {size}, {size}, 3)",
                next_step="set image_size= to what the network takes",
            )
        if not imagenet or None in shape[1:]:
            model = self._copy(model, size, imagenet)
        model = cut_at(model, self.feature_layer)
        image = keras.Input((size, size, 3), name="image")
        return keras.Model(image, model(scale_input(image, self.scaling)))

    def _copy(self, model: keras.Model, size: int, imagenet: bool) -> keras.Model:
        """Return the same layers for one size, so that each knows its resolution.

        Those of a network within the network do not.
        """
        inputs = keras.tree.map_structure(lambda _: keras.Input((size, size, 3)), model.input)
        try:
            copy = keras.models.clone_model(model, input_tensors=inputs)
        except ValueError as error:
            raise UserError(
                f"backbone={self.path} cannot be copied: {error}",
                expected="a Functional or Sequential Keras model",
                next_step="save it as one, for pictures of one size",
            ) from error
        if imagenet:
            set_weights(copy, model.get_weights())
        return copy

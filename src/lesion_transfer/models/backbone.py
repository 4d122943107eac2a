"""What every backbone is: a recipe for a network of 0–255 RGB → feature vector."""

from __future__ import annotations

from abc import ABC, abstractmethod

import keras
from keras import layers

from lesion_transfer.errors import UserError


class Backbone(ABC):
    """A network architecture and, where it has them, its ImageNet weights.

    Attributes
    ----------
    name
        What a reader calls it; a tag of every run.
    identity
        Part of every key: equal identities build equal networks from equal seeds.
    weights_identity
        Part of the key of the source ``imagenet`` alone: which weights it is to have, where the
        identity does not say.
    has_imagenet
        Whether it comes with ImageNet weights.
    """

    name: str
    identity: tuple[str, ...]
    weights_identity: tuple[str, ...] = ()
    has_imagenet: bool

    @abstractmethod
    def core(self, size: int, imagenet: bool) -> keras.Model:
        """Return the scaled network: (batch, size, size, 3) RGB 0–255 → the feature layer."""

    def build(self, size: int, *, imagenet: bool, seed: int) -> keras.Model:
        """Build the feature network.

        Parameters
        ----------
        size
            Side of the input images, pixels.
        imagenet
            Take the ImageNet weights the backbone comes with; otherwise random ones.
        seed
            Decides the random weights.

        Returns
        -------
        keras.Model
            (batch, size, size, 3) RGB in 0–255 → (batch, features) float32.

        Raises
        ------
        UserError
            The backbone has no ImageNet weights, cannot be read, or does not take this size.
        """
        if imagenet and not self.has_imagenet:
            raise self.no_imagenet()
        keras.utils.set_random_seed(seed)
        core = self.core(size, imagenet)
        outputs = keras.tree.flatten(core.output)
        if len(outputs) > 1:
            raise UserError(
                f"backbone={self.name}: the network has {len(outputs)} outputs",
                expected="one: (batch, features) or (batch, height, width, channels)",
                next_step="name the layer whose output to take with feature_layer=",
            )
        features = outputs[0]
        if len(features.shape) == 4:
            features = layers.GlobalAveragePooling2D(name="features")(features)
        elif len(features.shape) != 2:
            raise UserError(
                f"backbone={self.name}: the feature layer's output has shape {features.shape}",
                expected="(batch, features) or (batch, height, width, channels)",
                next_step="name another layer with feature_layer=",
            )
        return keras.Model(core.input, features, name="network")

    def no_imagenet(self) -> UserError:
        """Return the error of asking for ImageNet weights that the backbone does not have."""
        return UserError(
            f"backbone={self.name} comes with no ImageNet weights",
            expected="for source=imagenet a keras.applications name, a Keras model file, or a "
            "backbone whose weights= are given",
            next_step="choose such a backbone, or a source such as none or retinopathy",
        )


def cut_at(model: keras.Model, feature_layer: str | None) -> keras.Model:
    """Return ``model`` up to the layer called ``feature_layer``; the whole of it for None.

    Raises
    ------
    UserError
        There is no such layer.
    """
    if feature_layer is None:
        return model
    try:
        layer = model.get_layer(feature_layer)
    except ValueError as error:
        known = [layer.name for layer in model.layers]
        shown = ", ".join(known[-12:])
        raise UserError(
            f"feature_layer={feature_layer!r}: the network has no such layer",
            expected=f"one of its {len(known)} layers, the last being {shown}",
        ) from error
    return keras.Model(model.input, layer.output)

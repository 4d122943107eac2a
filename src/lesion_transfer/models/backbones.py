"""Backbones: from a name or a Keras model file to a network of 0–255 RGB → feature vector.

Three kinds stand behind one interface: the small VGG of the demo, the ``keras.applications`` by
name, and any Keras model file.
"""

from __future__ import annotations

import hashlib
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import keras
from keras import layers

from lesion_transfer import protocols
from lesion_transfer.errors import UserError
from lesion_transfer.models.scaling import scale_input


class Backbone(ABC):
    """A network architecture and, where it has them, its ImageNet weights.

    Attributes
    ----------
    name
        What a reader calls it; a tag of every run.
    identity
        Part of every key: equal identities build equal networks.
    """

    name: str
    identity: tuple[str, ...]
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
            raise no_imagenet(self)
        keras.utils.set_random_seed(seed)
        core = self.core(size, imagenet)
        features = core.output
        if len(features.shape) == 4:
            features = layers.GlobalAveragePooling2D(name="features")(features)
        elif len(features.shape) != 2:
            raise UserError(
                f"backbone={self.name}: the feature layer's output has shape {features.shape}",
                expected="(batch, features) or (batch, height, width, channels)",
                next_step="name another layer with feature_layer=",
            )
        return keras.Model(core.input, features, name="network")


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


class KerasFile(Backbone):
    """Any Keras model file; its weights are the ImageNet weights of the source ``imagenet``."""

    has_imagenet = True

    def __init__(self, path: Path, feature_layer: str | None, scaling: str | None) -> None:
        self.path = path
        self.name = path.stem
        self.feature_layer = feature_layer
        self.scaling = scaling or "none"
        self.identity = (_file_digest(path), feature_layer or "", self.scaling)

    def core(self, size: int, imagenet: bool) -> keras.Model:
        """See :meth:`Backbone.core`."""
        model = load_network(self.path)
        if not imagenet:
            model = keras.models.clone_model(model)
        expected = model.input_shape[1:3] if isinstance(model.input_shape, tuple) else ()
        if len(expected) != 2 or any(side not in (None, size) for side in expected):
            raise UserError(
                f"backbone={self.path} takes inputs of shape {model.input_shape}",
                expected=f"one image input of (batch, {size}, {size}, 3)",
                next_step="set image_size= to what the network takes",
            )
        if self.feature_layer is not None:
            model = keras.Model(model.input, _layer(model, self.feature_layer).output)
        image = keras.Input((size, size, 3), name="image")
        return keras.Model(image, model(scale_input(image, self.scaling)))


class Application(Backbone):
    """A network of ``keras.applications``, with its own preprocessing."""

    has_imagenet = True

    # What each module's preprocess_input does; the modules not named here scale in the network.
    _SCALING = {  # noqa: RUF012
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

    def __init__(self, name: str, feature_layer: str | None) -> None:
        self.name = name
        self.make = getattr(keras.applications, name)
        self.feature_layer = feature_layer
        self.identity = ("keras.applications", name, keras.__version__, feature_layer or "")

    def core(self, size: int, imagenet: bool) -> keras.Model:
        """See :meth:`Backbone.core`."""
        module = self.make.__module__.rsplit(".", 1)[-1]
        image = keras.Input((size, size, 3), name="image")
        # A layer of the classifier, such as VGG's fc2, exists only with the classifier on top,
        # whose size is ImageNet's.
        top = self.feature_layer is not None
        try:
            model = self.make(
                weights="imagenet" if imagenet else None,
                include_top=top,
                input_shape=(size, size, 3),
                **({} if top else {"pooling": "avg"}),
            )
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"backbone={self.name} could not be made at {size} px: {error}",
                expected="the weights at hand or a network to download them from, and an image "
                "size that the architecture takes",
                next_step="give a Keras model file as backbone=, or another image_size=",
            ) from error
        if self.feature_layer is not None:
            model = keras.Model(model.input, _layer(model, self.feature_layer).output)
        scaled = scale_input(image, self._SCALING.get(module, "none"))
        return keras.Model(image, model(scaled))


def resolve_backbone(spec: protocols.Backbone, path: Path | None = None) -> Backbone:
    """Return the backbone a protocol names.

    Parameters
    ----------
    spec
        The protocol's backbone.
    path
        The local model file, where ``spec.name`` is a path or URI of one.

    Raises
    ------
    UserError
        There is no such backbone.
    """
    if path is not None:
        return KerasFile(path, spec.feature_layer, spec.input_scaling)
    if spec.name == SmallVGG.name:
        return SmallVGG()
    make = getattr(keras.applications, spec.name, None)
    if callable(make):
        return Application(spec.name, spec.feature_layer)
    names = sorted(n for n in dir(keras.applications) if n[:1].isupper())
    raise UserError(
        f"backbone={spec.name!r}: no such network, and no such file",
        expected="small_vgg, the path or URI of a .keras file, or one of " + ", ".join(names),
    )


def no_imagenet(backbone: Backbone) -> UserError:
    """Return the error of asking a backbone for weights that it does not come with."""
    return UserError(
        f"backbone={backbone.name} comes with no ImageNet weights",
        expected="a keras.applications name or a Keras model file for source=imagenet",
        next_step="choose such a backbone, or a source such as none or retinopathy",
    )


def is_file(name: str) -> bool:
    """Whether a backbone's name means a model file rather than an architecture."""
    return "/" in name or name.endswith((".keras", ".h5"))


def load_network(path: Path) -> keras.Model:
    """Read a Keras model file, without its optimiser and without running code from it.

    Raises
    ------
    UserError
        The file is missing, unreadable, or its weights do not fit its layers.
    """
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"the model file {path} cannot be used: {error}",
            expected="a Keras 3 model file (.keras) whose weights fit its layers",
            next_step="save it again with model.save('….keras'), or give another file",
        ) from error


def transfer_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy all weights of ``source`` into ``target``, which must have the same layers.

    Raises
    ------
    UserError
        A weight does not fit; the message names the layer and both shapes.
    """
    theirs, ours = source.weights, target.weights
    for given, wanted in zip(theirs, ours, strict=False):
        if tuple(given.shape) != tuple(wanted.shape):
            raise UserError(
                f"the weights of layer {wanted.path!r} do not fit: the source has shape "
                f"{tuple(given.shape)}, the network {tuple(wanted.shape)}",
                next_step="use the backbone and image size that the source was trained with",
            )
    if len(theirs) != len(ours):
        raise UserError(
            f"the source has {len(theirs)} weight arrays, the network {len(ours)}",
            next_step="use the backbone that the source was trained with",
        )
    target.set_weights(source.get_weights())


def _layer(model: keras.Model, name: str) -> Any:
    try:
        return model.get_layer(name)
    except ValueError as error:
        known = [layer.name for layer in model.layers]
        shown = ", ".join(known[-12:])
        raise UserError(
            f"feature_layer={name!r}: the network has no such layer",
            expected=f"one of its {len(known)} layers, the last being {shown}",
        ) from error


def _file_digest(path: Path) -> str:
    if not path.is_file():
        raise UserError(
            f"backbone={path}: there is no such file",
            expected="the path of a Keras model file",
        )
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""From the name of a backbone, or a model file, to the backbone itself."""

from __future__ import annotations

from pathlib import Path

import keras

from lesion_transfer import protocols
from lesion_transfer.errors import UserError
from lesion_transfer.models.applications import Application
from lesion_transfer.models.backbone import Backbone
from lesion_transfer.models.files import load_network
from lesion_transfer.models.keras_file import KerasFile
from lesion_transfer.models.small_vgg import SmallVGG
from lesion_transfer.models.transfer import transfer_weights
from lesion_transfer.models.verydeep import VeryDeep
from lesion_transfer.models.vgg_m import VGGM

__all__ = [
    "VGGM",
    "Application",
    "Backbone",
    "KerasFile",
    "SmallVGG",
    "VeryDeep",
    "is_file",
    "load_network",
    "resolve_backbone",
    "transfer_weights",
]


def resolve_backbone(
    spec: protocols.Backbone, path: Path | None = None, weights: Path | None = None
) -> Backbone:
    """Return the backbone a protocol names.

    Parameters
    ----------
    spec
        The protocol's backbone.
    path
        The local model file, where ``spec.name`` is a path or URI of one.
    weights
        The local file that ``spec.weights`` names.

    Raises
    ------
    UserError
        There is no such backbone, or it takes no such weights.
    """
    name, feature_layer = spec.name, spec.feature_layer
    if path is None and spec.input_scaling is not None:
        raise UserError(
            f"input_scaling={spec.input_scaling} is for model files; backbone={name} scales its "
            "input as its family expects",
            next_step="leave input_scaling= out, or give a model file as backbone=",
        )
    if path is None and name == VGGM.name:
        return VGGM(feature_layer, weights)
    matlab = weights is not None and weights.suffix == ".mat"
    if weights is not None and matlab and name in VeryDeep.names:
        return VeryDeep(name, feature_layer, weights)
    application = path is None and _is_application(name)
    if weights is not None and (matlab or not application):
        raise UserError(
            f"weights={weights} are none that backbone={name} takes",
            expected="a released MatConvNet file (.mat) for vgg_m, VGG16 or VGG19, or Keras' own "
            "(.h5) for a keras.applications name",
            next_step="leave weights= out, or name the backbone they belong to",
        )
    if path is not None:
        return KerasFile(path, feature_layer, spec.input_scaling)
    if name == SmallVGG.name:
        if feature_layer is not None:
            raise UserError(
                f"feature_layer={feature_layer}: small_vgg has its features in one layer alone",
                next_step="leave feature_layer= out, or choose another backbone",
            )
        return SmallVGG()
    if application:
        return Application(name, feature_layer, weights)
    names = sorted(n for n in dir(keras.applications) if n[:1].isupper())
    raise UserError(
        f"backbone={name!r}: no such network, and no such file",
        expected="small_vgg, vgg_m, the path or URI of a .keras file, or one of "
        + ", ".join(names),
    )


def is_file(name: str) -> bool:
    """Whether a backbone's name means a model file rather than an architecture."""
    return "/" in name or name.endswith((".keras", ".h5"))


def is_architecture(name: str) -> bool:
    """Whether a backbone is one of the platform's or of ``keras.applications``, and no file's."""
    return name in (SmallVGG.name, VGGM.name) or _is_application(name)


def _is_application(name: str) -> bool:
    return callable(getattr(keras.applications, name, None))

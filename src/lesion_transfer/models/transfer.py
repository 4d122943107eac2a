"""Weights from one network into another of the same layers."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from lesion_transfer.errors import UserError


def transfer_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy the weights of ``source`` into ``target``, layer by layer.

    Layers are matched by their order, and must have weights of the same shapes; names may differ,
    as they do between a network and the same network inside a fold model. What the source has after
    the last layer of the target, such as a classifier, is left out.

    Parameters
    ----------
    source
        A network, with or without a classifier, or a fold model, whose network is taken.
    target
        Its weights are replaced; all of them, or none where an error is raised.

    Raises
    ------
    UserError
        A layer does not fit; the message names it and both shapes. Or the source scales its
        pictures by layers that the target does not have: no weights say how.
    """
    _check_scaling(_network_in(source), target)
    theirs, ours = _layers(_network_in(source)), _layers(target)
    for (our_name, our), (their_name, their) in zip(ours, theirs, strict=False):
        wanted, given = _shapes(our), _shapes(their)
        if wanted != given:
            raise UserError(
                f"the weights of layer {our_name!r} do not fit: the source has {given} in its "
                f"{their_name!r}, the network {wanted}",
                next_step="use the backbone, feature layer and image size that the source was "
                "trained with",
            )
    if len(theirs) < len(ours):
        raise UserError(
            f"the source has no weights for layer {ours[len(theirs)][0]!r}: it ends after "
            f"{len(theirs)} layers, the network has {len(ours)}",
            next_step="use the backbone and feature layer that the source was trained with",
        )
    for (_, our), (_, their) in zip(ours, theirs, strict=False):
        for variable, value in zip(our, their, strict=True):
            variable.assign(keras.ops.convert_to_numpy(value))
    _finalize(target)


def set_weights(network: keras.Model, weights: list[npt.NDArray[np.float32]]) -> None:
    """Set all weights, as ``network.set_weights``, and what layers have computed from them."""
    network.set_weights(weights)
    _finalize(network)


def _finalize(network: keras.Model) -> None:
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with copies of its weights


def _network_in(model: keras.Model) -> keras.Model:
    """Take the network out of a fold model; anything else is one."""
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    named = [layer for layer in inner if layer.name == "network"]
    return named[0] if named else model


def _check_scaling(source: keras.Model, target: keras.Model) -> None:
    given, wanted = _rescalings(source), _rescalings(target)
    if given and given != wanted:
        raise UserError(
            f"the source scales its pictures by {', '.join(given)}, the network by "
            f"{', '.join(wanted) or 'nothing'}",
            expected="the same scaling, as no weights carry it over",
            next_step="give the source's file as backbone=, with source=imagenet",
        )


def _rescalings(model: keras.Model) -> list[str]:
    """Return what each layer of scale and offset does, in order."""
    return [
        f"x·{_shown(layer.scale)} + {_shown(layer.offset)}"
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Rescaling)
    ]


def _shown(value: Any) -> str:
    numbers = [f"{number:.5g}" for number in np.ravel(value)]
    return numbers[0] if len(numbers) == 1 else f"({', '.join(numbers)})"


def _layers(model: keras.Model) -> list[tuple[str, list[Any]]]:
    """Return the name and the weights of each layer that has any, in order."""
    by_layer = groupby(model.weights, key=lambda weight: weight.path.rpartition("/")[0])
    return [(name, list(weights)) for name, weights in by_layer]


def _shapes(weights: list[Any]) -> str:
    return ", ".join(f"{weight.name} {tuple(weight.shape)}" for weight in weights)

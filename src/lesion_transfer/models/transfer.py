"""Weights from one network into another of the same layers."""

from __future__ import annotations

from collections.abc import Iterator
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
        pictures before its first layer otherwise than the target does: no weights carry that. A
        source that does not scale them is taken to have been given scaled ones.
    """
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
    _check_scaling(_network_in(source), target)
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


def layers_upwards(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a network, and those of networks inside it, from the input upwards."""
    for layer in network.layers:
        yield from layers_upwards(layer) if isinstance(layer, keras.Model) else (layer,)


def _network_in(model: keras.Model) -> keras.Model:
    """Take the network out of a fold model; anything else is one."""
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    named = [layer for layer in inner if layer.name == "network"]
    return named[0] if named else model


def _check_scaling(source: keras.Model, target: keras.Model) -> None:
    given, wanted = _scaling(source), _scaling(target)
    if given and (len(given) != len(wanted) or not np.allclose(given, wanted, rtol=1e-4)):
        raise UserError(
            f"the source scales its pictures by {_shown(given)}, the network by {_shown(wanted)}",
            expected="the same scaling, as no weights carry it over",
            next_step="give the backbone and the input_scaling= that the source was trained with",
        )


def _scaling(model: keras.Model) -> list[npt.NDArray[np.float64]]:
    """Return scale and offset, (2, 3), of each Rescaling before the first layer that learns."""
    found = []
    for layer in layers_upwards(model):
        if layer.weights and not isinstance(layer, keras.layers.Normalization):
            break  # also of a network that was saved as frozen
        if isinstance(layer, keras.layers.Rescaling):
            both = (np.broadcast_to(part, 3) for part in (layer.scale, layer.offset))
            found.append(np.array([*both], np.float64))
    return found


def _shown(scaling: list[npt.NDArray[np.float64]]) -> str:
    """Say what is done to each channel; once, if to all the same."""
    steps = [[f"x·{scale:.5g} {offset:+.5g}" for scale, offset in step.T] for step in scaling]
    return ", ".join(" | ".join(dict.fromkeys(step)) for step in steps) or "nothing"


def _layers(model: keras.Model) -> list[tuple[str, list[Any]]]:
    """Return the name and the weights of each layer that has any, in order."""
    by_layer = groupby(model.weights, key=lambda weight: weight.path.rpartition("/")[0])
    return [(name, list(weights)) for name, weights in by_layer]


def _shapes(weights: list[Any]) -> str:
    return ", ".join(f"{weight.name} {tuple(weight.shape)}" for weight in weights)

"""Putting a released network's weights into our layers, one by one, and checking each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

from lesion_transfer.errors import UserError
from lesion_transfer.models.matconvnet import ReleasedLayer, ReleasedNetwork
from lesion_transfer.models.normalization import LocalResponseNormalization, SubtractMean

Padding = tuple[int, int, int, int]
_KINDS = {
    layers.Conv2D: "conv",
    layers.Dense: "conv",
    layers.MaxPooling2D: "pool",
    LocalResponseNormalization: "normalize",
}
# They hold no weights and say nothing that the file does.
_PASSED = (layers.InputLayer, layers.Flatten, layers.Dropout, layers.GlobalAveragePooling2D)


def load_released(network: ReleasedNetwork, ours: Iterable[keras.layers.Layer]) -> None:
    """Put the weights of ``network`` into the layers of a chain.

    MatConvNet's filters (height, width, inputs, outputs) are Keras' kernels as they are; both
    correlate, without flipping. A dense layer is MatConvNet's convolution over the whole map, whose
    first three axes unroll in the order of Keras' ``Flatten``. Colours are RGB in both. What the
    file has beyond the last of our layers, such as ImageNet's classifier, is left out.

    Parameters
    ----------
    network
        What :func:`~lesion_transfer.models.matconvnet.read_matconvnet` gave.
    ours
        The layers from the image to the features: convolutions, dense layers, maximum pools,
        response normalisations, and a :class:`SubtractMean`, built.

    Raises
    ------
    UserError
        A layer differs in kind, shape, stride, padding, rectifier or constants; the message names
        it and says how. Weights already copied stay.
    """
    chain = _Chain(network)
    for layer in ours:
        chain.fill(layer)


@dataclass
class _Chain:
    """Where in the released network we are, and what led up to the layer that comes next."""

    network: ReleasedNetwork
    position: int = 0
    pad: Padding = (0, 0, 0, 0)
    map_shape: tuple[int, ...] = field(default=())
    """Height, width and channels of the map that a dense layer sees."""

    def fill(self, layer: keras.layers.Layer) -> None:
        if isinstance(layer, SubtractMean):
            self._mean(layer)
        elif isinstance(layer, layers.ZeroPadding2D):
            (top, bottom), (left, right) = layer.padding
            self.pad = (top, bottom, left, right)
        elif isinstance(layer, layers.Flatten):
            self.map_shape = tuple(layer.input.shape[1:])
        elif type(layer) in _KINDS:
            self._compute(layer, self._next(layer))
            self.pad = (0, 0, 0, 0)
        elif not isinstance(layer, _PASSED):
            raise TypeError(f"layer {layer.name!r} is a {type(layer).__name__}: no part of a chain")

    def _next(self, layer: keras.layers.Layer) -> ReleasedLayer:
        if self.position == len(self.network.layers):
            raise self._error(f"it ends before our layer {layer.name!r}")
        theirs = self.network.layers[self.position]
        self.position += 1
        self._same(layer, theirs, "kind", _KINDS[type(layer)], theirs.kind)
        return theirs

    def _compute(self, layer: keras.layers.Layer, theirs: ReleasedLayer) -> None:
        match layer:
            case LocalResponseNormalization():
                constants = (layer.n, layer.k, layer.alpha, layer.beta)
                if theirs.lrn is None or not np.allclose(constants, theirs.lrn, rtol=1e-4):
                    self._same(layer, theirs, "n, k, alpha, beta", constants, theirs.lrn)
            case layers.MaxPooling2D():
                self._geometry(layer, theirs, layer.pool_size)
            case layers.Conv2D():
                self._weights(layer, theirs, tuple(layer.kernel.shape))
                self._geometry(layer, theirs, layer.kernel_size)
            case layers.Dense():
                inputs, outputs = layer.kernel.shape
                self._weights(layer, theirs, (*(self.map_shape or (1, 1, inputs)), outputs))
                self.map_shape = (1, 1, outputs)

    def _weights(
        self, layer: keras.layers.Layer, theirs: ReleasedLayer, shape: tuple[int, ...]
    ) -> None:
        filters, biases = theirs.filters, theirs.biases
        if filters is None or biases is None:
            raise ValueError(f"a convolution has filters and biases: {theirs.name}")
        self._same(layer, theirs, "filters", shape, filters.shape)
        self._same(layer, theirs, "biases", shape[-1:], biases.shape)
        rectified = layer.activation is keras.activations.relu
        self._same(layer, theirs, "rectifier", rectified, theirs.rectified)
        layer.set_weights([filters.reshape(layer.kernel.shape), biases])

    def _geometry(
        self, layer: keras.layers.Layer, theirs: ReleasedLayer, window: tuple[int, int]
    ) -> None:
        """Compare what each output sees: padding that no window reaches makes no difference."""
        top, left = self.pad[0], self.pad[2]
        padded = layer.input.shape[1:3]
        if layer.padding == "same":
            extra = [_same_padding(*of) for of in zip(padded, window, layer.strides, strict=True)]
            top, left = top + extra[0], left + extra[1]
        height, width = padded[0] - sum(self.pad[:2]), padded[1] - sum(self.pad[2:])
        above, below, before, after = theirs.pad
        theirs_window = theirs.window or (0, 0)
        self._same(layer, theirs, "window", tuple(window), theirs_window)
        self._same(layer, theirs, "stride", tuple(layer.strides), theirs.stride)
        self._same(layer, theirs, "padding above and left", (top, left), (above, before))
        size = (
            (height + above + below - window[0]) // theirs.stride[0] + 1,
            (width + before + after - window[1]) // theirs.stride[1] + 1,
        )
        self._same(layer, theirs, "output size", tuple(layer.output.shape[1:3]), size)

    def _mean(self, layer: SubtractMean) -> None:
        mean, shape = self.network.mean, tuple(layer.mean.shape)
        if mean.shape not in (shape, shape[-1:]):
            raise self._error(f"its averageImage has shape {mean.shape}, our images {shape}")
        layer.set_weights([np.broadcast_to(mean, shape)])

    def _same(
        self, layer: keras.layers.Layer, theirs: ReleasedLayer, what: str, our: Any, their: Any
    ) -> None:
        if our != their:
            raise self._error(
                f"its layer {theirs.name!r} does not fit our layer {layer.name!r}: {what} {their}, "
                f"not {our}"
            )

    def _error(self, problem: str) -> UserError:
        return UserError(
            f"weights={self.network.path}: {problem}",
            expected="the released model of this backbone, at the image size it was trained with",
            next_step="give the backbone's own file, and image_size=224",
        )


def _same_padding(size: int, window: int, stride: int) -> int:
    """Return the rows that Keras' "same" puts before a map of ``size`` rows."""
    return max(0, (-(-size // stride) - 1) * stride + window - size) // 2

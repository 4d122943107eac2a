"""Several views of one picture: mirrored and turned by quarters, which resamples nothing."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


def viewed(network: keras.Model, views: int) -> keras.Model:
    """Return a network whose features are the mean over ``views`` of the picture.

    Parameters
    ----------
    network
        (batch, size, size, 3) RGB 0–255 → (batch, d) features; it is shared, not copied.
    views
        1 (the network itself), 2, 4 or 8.
    """
    if views == 1:
        return network
    image = keras.Input(network.input_shape[1:], name="image")
    return keras.Model(image, mean_features(network, image, views), name="viewed")


def mean_features(network: keras.Model, image: Any, views: int) -> Any:
    """Apply ``network`` to the first ``views`` symmetries of a square and average its answers.

    They are, in this order: the picture; mirrored left to right; both of these upside down; and
    these four with rows and columns exchanged.

    Parameters
    ----------
    image
        Keras tensor (batch, size, size, 3).
    """
    if views == 1:
        return network(image)
    seen = [image, ops.flip(image, axis=2)]
    if views > 2:
        seen += [ops.flip(view, axis=1) for view in seen]
    if views > 4:
        seen += [ops.transpose(view, (0, 2, 1, 3)) for view in seen]
    return layers.Average(name="mean_of_views")([network(view) for view in seen])

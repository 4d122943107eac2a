"""A small network with all that a Keras file may hold, and what the tests ask of any network."""

import keras
import numpy as np
from keras import layers

SIZE = 12
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.float32)


def run(network: keras.Model, images: np.ndarray = IMAGES) -> np.ndarray:
    return keras.ops.convert_to_numpy(network(images, training=False))


def same_weights(one: keras.Model, other: keras.Model) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def small_network(units: int = 6) -> keras.Model:
    """A network with a nested block, 4-D and 2-D layers, and batch normalisation."""
    inner_in = keras.Input((SIZE, SIZE, 3))
    inner = keras.Model(
        inner_in, layers.Conv2D(4, 3, padding="same", name="inner_conv")(inner_in), name="block"
    )
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.BatchNormalization(name="norm")(inner(image))
    x = layers.Activation("relu", name="maps")(x)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    x = layers.Dense(units, name="hidden")(x)
    return keras.Model(image, layers.Dense(2, name="top")(x))

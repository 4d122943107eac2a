"""The fold model: one network from raw RGB to calibrated class probabilities, no pickles.

A linear SVM on L2-normalised features is a dense layer, and its calibration another, so the whole
fold becomes a single ``.keras`` file made of standard layers.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from lesion_transfer.evaluation.svm import LinearHead
from lesion_transfer.models.views import mean_features


def head_model(head: LinearHead) -> keras.Model:
    """Turn a fitted SVM and its calibration into layers: (batch, d) features → probabilities.

    Frozen arms log this alone for each fold, since their folds share one network.
    """
    features = keras.Input((head.coef.shape[0],), name="features")
    rows = layers.UnitNormalization(name="l2")(features) if head.normalised else features
    svm = layers.Dense(head.coef.shape[1], name="svm")
    calibration = layers.Dense(len(head.classes), activation="softmax", name="calibration")
    model = keras.Model(features, calibration(svm(rows)), name="head")
    svm.set_weights([head.coef, head.intercept])
    calibration.set_weights([head.calibration_coef, head.calibration_intercept])
    return model


def compose(network: keras.Model, head: keras.Model, views: int = 1) -> keras.Model:
    """Join a network and a fold's head into the fold model.

    Parameters
    ----------
    network
        (batch, size, size, 3) RGB 0–255 → (batch, d) features.
    head
        (batch, d) features → (batch, classes) probabilities, from :func:`head_model`.
    views
        Of the picture, over which features are averaged, as they were for the head.

    Returns
    -------
    keras.Model
        (batch, height, width, 3) RGB 0–255, any height and width → (batch, classes) probabilities.
    """
    size = network.input_shape[1]
    image = keras.Input((None, None, 3), name="image")
    x = layers.Resizing(size, size, antialias=True, name="resize")(image)
    return keras.Model(image, head(mean_features(network, x, views)), name="fold_model")


def disagreement(
    model: keras.Model,
    inputs: npt.NDArray[Any],
    probabilities: npt.NDArray[np.float64],
) -> float:
    """Largest absolute difference between the model's and scikit-learn's probabilities."""
    ours = keras.ops.convert_to_numpy(model(inputs.astype(np.float32), training=False))
    return float(np.abs(ours - probabilities).max())

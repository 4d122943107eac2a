import keras
import numpy as np
import pytest
from keras import layers
from numpy.testing import assert_allclose, assert_array_equal

from lesion_transfer.training.predict import predict

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image))
    x = layers.Dropout(0.5)(layers.BatchNormalization()(x))
    return keras.Model(image, layers.Dense(5)(layers.Flatten()(x)))


@pytest.mark.parametrize("size", [1, 7, 20, 40, 64])
def test_it_is_keras_own_prediction(model: keras.Model, size: int):
    outputs = predict(model, IMAGES, np.arange(40), size)
    assert outputs.shape == (40, 5)
    assert outputs.dtype == np.float32
    assert_allclose(outputs, model.predict(IMAGES.astype(np.float32), verbose=0), atol=1e-5)


def test_rows_are_given_in_the_order_asked_for(model: keras.Model):
    rows = np.array([5, 3, 39, 3])
    everything = predict(model, IMAGES, np.arange(40), 16)
    assert_allclose(predict(model, IMAGES, rows, 16), everything[rows], atol=1e-6)


def test_a_row_does_not_depend_on_what_fills_its_batch(model: keras.Model):
    whole = predict(model, IMAGES, np.arange(16), 16)
    assert_array_equal(predict(model, IMAGES, np.arange(5), 16), whole[:5])


def test_progress_counts_to_the_end(model: keras.Model):
    told: list[tuple[int, int]] = []
    predict(model, IMAGES, np.arange(40), 16, progress=lambda *done: told.append(done))
    assert told == [(16, 40), (32, 40), (40, 40)]


def test_nothing_is_trained(model: keras.Model):
    before = model.get_weights()
    predict(model, IMAGES, np.arange(40))
    for one, other in zip(before, model.get_weights(), strict=True):
        assert_array_equal(one, other)

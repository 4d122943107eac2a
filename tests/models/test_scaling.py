import sys

import keras
import numpy as np
import pytest
from keras.applications.imagenet_utils import preprocess_input
from numpy.testing import assert_allclose, assert_array_equal

from lesion_transfer.errors import UserError
from lesion_transfer.models.applications import Application
from lesion_transfer.models.scaling import SCALINGS, scale_input

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3)).astype(np.float32)


def scaled(scaling: str) -> np.ndarray:
    image = keras.Input((5, 5, 3))
    model = keras.Model(image, scale_input(image, scaling))
    return keras.ops.convert_to_numpy(model(IMAGES))


def test_none_leaves_the_pixels_alone():
    assert_array_equal(scaled("none"), IMAGES)


def test_unit_is_zero_to_one():
    assert_allclose(scaled("unit"), IMAGES / 255, atol=1e-6)


def test_symmetric_is_minus_one_to_one():
    assert_allclose(scaled("symmetric"), IMAGES / 127.5 - 1, atol=1e-6)


def test_torch_is_mean_and_sd_per_channel():
    mean, sd = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    assert_allclose(scaled("torch"), (IMAGES / 255 - mean) / sd, atol=1e-5)


def test_caffe_is_bgr_less_the_mean():
    assert_allclose(scaled("caffe"), IMAGES[..., ::-1] - [103.939, 116.779, 123.68], atol=1e-4)


@pytest.mark.parametrize(
    ("scaling", "mode"), [("symmetric", "tf"), ("torch", "torch"), ("caffe", "caffe")]
)
def test_keras_preprocesses_alike(scaling: str, mode: str):
    assert_allclose(scaled(scaling), preprocess_input(IMAGES.copy(), mode=mode), atol=1e-4)


def test_all_scalings_differ():
    assert len({scaled(scaling).tobytes() for scaling in SCALINGS}) == len(SCALINGS) == 5


def test_an_unknown_scaling_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="input_scaling='tf' is not known") as raised:
        scale_input(keras.Input((5, 5, 3)), "tf")
    assert all(scaling in raised.value.expected for scaling in SCALINGS)


@pytest.mark.parametrize("name", sorted(n for n in dir(keras.applications) if n[:1].isupper()))
def test_every_application_is_scaled_as_its_own_module_does(name: str):
    module = sys.modules[getattr(keras.applications, name).__module__]
    expected = module.preprocess_input(IMAGES.copy())
    assert_allclose(scaled(Application(name).scaling), expected, atol=1e-4)

import numpy as np
import pytest
from networks import run, same_weights
from numpy.testing import assert_allclose

from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import SmallVGG


@pytest.mark.parametrize("size", [8, 15, 32])
def test_small_vgg_turns_pictures_into_128_features(size: int):
    network = SmallVGG().build(size, imagenet=False, seed=0)
    assert network.output_shape == (None, 128)
    images = np.zeros((2, size, size, 3), np.float32)
    assert run(network, images).shape == (2, 128)
    assert run(network, images).dtype == np.float32


def test_seeds_decide_the_weights():
    one, same, other = (SmallVGG().build(8, imagenet=False, seed=s) for s in (1, 1, 2))
    assert same_weights(one, same)
    assert not same_weights(one, other)


def test_small_vgg_takes_raw_pixels():
    network = SmallVGG().build(8, imagenet=False, seed=0)
    grey = np.full((1, 8, 8, 3), 127.5, np.float32)  # zero after scaling; biases start at zero
    assert_allclose(run(network, grey), 0, atol=1e-5)


def test_small_vgg_has_no_imagenet():
    with pytest.raises(UserError, match="backbone=small_vgg comes with no ImageNet") as raised:
        SmallVGG().build(8, imagenet=True, seed=0)
    assert "weights=" in raised.value.expected
    assert raised.value.next_step

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from lesion_transfer.models.normalization import LocalResponseNormalization, SubtractMean
from lesion_transfer.models.precision import in_precision

RNG = np.random.default_rng(0)


def output(layer: keras.layers.Layer, x: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(layer(x.astype(np.float32)))


# --- local response normalisation ----------------------------------------------------------------


def test_a_case_by_hand():
    """Six channels at one place; constants large enough to matter."""
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    near = [1 + 4 + 9, 1 + 4 + 9 + 16, 1 + 4 + 9 + 16 + 25, 4 + 9 + 16 + 25 + 36, 86, 77]
    expected = x / (2 + 0.5 * np.array(near)) ** 0.75
    layer = LocalResponseNormalization(k=2, n=5, alpha=0.5, beta=0.75)
    assert_allclose(output(layer, x[None, None, None])[0, 0, 0], expected, rtol=1e-6)


def test_the_papers_constants_by_hand():
    x = np.zeros(96)
    x[10] = 100.0
    expected = 100 / (2 + 1e-4 * 100**2) ** 0.75  # 43.8691…
    assert expected == pytest.approx(43.8691, abs=1e-4)
    result = output(LocalResponseNormalization(), x[None, None, None])[0, 0, 0]
    assert result[10] == pytest.approx(expected, rel=1e-6)
    assert not np.delete(result, 10).any()


@pytest.mark.parametrize("channels", [3, 4, 5, 96])
@pytest.mark.parametrize("beta", [0.75, 0.5, 1.0])
def test_it_is_tensorflows(channels: int, beta: float):
    x = RNG.normal(0, 100, (2, 4, 3, channels)).astype(np.float32)
    theirs = tf.nn.local_response_normalization(x, depth_radius=2, bias=2, alpha=1e-4, beta=beta)
    assert_allclose(
        output(LocalResponseNormalization(beta=beta), x), theirs.numpy(), rtol=2e-5, atol=1e-5
    )


@pytest.mark.parametrize(("n", "before", "after"), [(1, 0, 0), (2, 0, 1), (4, 1, 2), (40, 19, 20)])
def test_windows_of_any_width_stop_at_the_ends(n: int, before: int, after: int):
    x = RNG.normal(0, 3, 10)
    sums = [(x[max(0, i - before) : i + after + 1] ** 2).sum() for i in range(10)]
    expected = x / (1 + 0.1 * np.array(sums)) ** 0.75
    layer = LocalResponseNormalization(k=1, n=n, alpha=0.1)
    assert_allclose(output(layer, x[None, None, None])[0, 0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("beta", [0.75, 0.5])
@pytest.mark.parametrize("n", [1, 4, 5, 12])
def test_the_gradient_is_the_formulas(n: int, beta: float):
    x = tf.constant(RNG.normal(0, 3, (2, 4, 3, 9)), tf.float32)
    upstream = tf.constant(RNG.normal(0, 1, x.shape), tf.float32)
    layer = LocalResponseNormalization(k=1.5, n=n, alpha=0.3, beta=beta)

    def formula(x: tf.Tensor) -> tf.Tensor:
        padded = tf.pad(x**2, [[0, 0], [0, 0], [0, 0], [(n - 1) // 2, n // 2]])
        near = tf.add_n([padded[..., shift : shift + 9] for shift in range(n)])
        return x / (1.5 + 0.3 * near) ** beta

    found, expected = [], []
    for function, gradients in ((layer, found), (formula, expected)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x, training=True) if function is layer else function(x)
        gradients.append(tape.gradient(y, x, output_gradients=upstream).numpy())
    assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("constants", [{"k": 0}, {"k": -1}, {"n": 0}])
def test_constants_that_divide_by_zero_are_refused(constants: dict):
    with pytest.raises(ValueError, match="k must be positive and n at least 1"):
        LocalResponseNormalization(**constants)


# --- mean subtraction ----------------------------------------------------------------------------


def test_the_mean_starts_as_the_colour_and_is_never_trained():
    images = RNG.integers(0, 256, (2, 4, 5, 3))
    layer = SubtractMean((10.0, 20.5, 30.0))
    assert_allclose(output(layer, images), images - [10, 20.5, 30], atol=1e-4)
    assert [tuple(w.shape) for w in layer.weights] == [(4, 5, 3)]
    assert not layer.trainable_weights


def test_a_mean_image_is_subtracted_pixel_by_pixel():
    images, mean = RNG.integers(0, 256, (2, 4, 4, 3)), RNG.uniform(0, 255, (4, 4, 3))
    layer = SubtractMean((0.0, 0.0, 0.0))
    layer.build((None, 4, 4, 3))
    layer.set_weights([mean])
    assert_allclose(output(layer, images), images - mean, atol=1e-4)


def test_in_bfloat16_the_mean_keeps_its_fractions():
    image = keras.Input((2, 2, 3))
    network = keras.Model(image, SubtractMean((123.68, 116.779, 103.939), name="mean")(image))
    grey = np.full((1, 2, 2, 3), 124, np.float32)
    exact = keras.ops.convert_to_numpy(network(grey))
    mixed = in_precision(network, "bfloat16")
    rounded = keras.ops.convert_to_numpy(keras.ops.cast(mixed(grey), "float32"))
    assert_allclose(rounded, exact, rtol=1 / 256)


# --- both ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["file", "config"])
def test_layers_come_back_as_they_were(tmp_path: Path, how: str):
    image = keras.Input((4, 4, 7))
    x = SubtractMean(tuple(range(7)), name="mean")(image)
    x = LocalResponseNormalization(k=1.5, n=3, alpha=0.2, beta=0.6, name="lrn")(x)
    model = keras.Model(image, x)
    model.get_layer("mean").set_weights([RNG.uniform(0, 255, (4, 4, 7))])
    if how == "file":
        model.save(tmp_path / "both.keras")
        again = keras.models.load_model(tmp_path / "both.keras", safe_mode=True)
    else:
        again = keras.models.clone_model(model)
        again.set_weights(model.get_weights())
    images = RNG.uniform(0, 255, (2, 4, 4, 7)).astype(np.float32)
    assert_array_equal(output(again, images), output(model, images))
    lrn = again.get_layer("lrn")
    assert (lrn.k, lrn.n, lrn.alpha, lrn.beta) == (1.5, 3, 0.2, 0.6)
    assert not again.trainable_weights

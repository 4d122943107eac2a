import keras
import numpy as np
import pytest
from keras import layers
from numpy.testing import assert_allclose, assert_array_equal
from test_loop import data, spec

from lesion_transfer.errors import UserError
from lesion_transfer.models.applications import Application
from lesion_transfer.models.vgg_m import VGGM
from lesion_transfer.protocols import Augmentation, Training
from lesion_transfer.training import optimizers
from lesion_transfer.training.batches import opencv_feed
from lesion_transfer.training.loop import Trainer
from lesion_transfer.training.optimizers import layer_rates, learning_rate

# --- over time -----------------------------------------------------------------------------------


def test_a_constant_rate_is_constant():
    assert {learning_rate(spec(), step, 10) for step in range(40)} == {0.01}


def test_warm_up_rises_in_a_line_to_the_rate():
    warm = spec(warmup_epochs=2)
    rates = [learning_rate(warm, step, 4) for step in range(10)]
    assert_allclose(rates[:8], 0.01 * np.arange(1, 9) / 9)
    assert rates[8:] == [0.01, 0.01]


def test_part_of_an_epoch_can_be_warm_up():
    rates = [learning_rate(spec(warmup_epochs=0.5), step, 4) for step in range(4)]
    assert_allclose(rates, [0.01 / 3, 0.02 / 3, 0.01, 0.01])


def test_a_cosine_starts_at_the_rate_is_half_midway_and_ends_at_zero():
    cosine = spec(schedule="cosine", epochs=5)
    rates = [learning_rate(cosine, step, 10) for step in range(51)]
    assert (rates[0], rates[50]) == (0.01, pytest.approx(0, abs=1e-12))
    assert rates[25] == pytest.approx(0.005)
    assert rates == sorted(rates, reverse=True)


def test_a_cosine_begins_after_the_warm_up():
    both = spec(schedule="cosine", warmup_epochs=1, epochs=5)
    rates = [learning_rate(both, step, 10) for step in range(51)]
    assert int(np.argmax(rates)) == 10
    assert rates[10] == 0.01
    assert rates[30] == pytest.approx(0.005)
    assert rates[50] == pytest.approx(0, abs=1e-12)


def test_nothing_but_warm_up_is_allowed():
    rates = [learning_rate(spec(schedule="cosine", warmup_epochs=9), s, 2) for s in range(8)]
    assert all(0 < rate < 0.01 for rate in rates)


# --- over depth ----------------------------------------------------------------------------------


def test_blocks_lie_between_changes_of_resolution():
    vgg = VGGM(units=4).build(224, imagenet=False, seed=0)
    rate = dict(zip([v.path for v in vgg.trainable_variables], layer_rates(vgg, 0.5), strict=True))
    kernels = [
        rate[f"{name}/kernel"]
        for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    ]
    assert kernels == [1 / 16, 1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 2, 1 / 2]
    assert rate["conv2/bias"] == 1 / 8


def test_rates_rise_with_depth_whatever_squeezes_and_excites():
    mobile = Application("MobileNetV3Small").build(96, imagenet=False, seed=0)
    rates = layer_rates(mobile, 0.5)
    assert rates == sorted(rates)
    assert sorted(set(rates)) == [0.5**depth for depth in (5, 4, 3, 2, 1)]


def test_networks_inside_networks_have_blocks_too():
    inner = Application("MobileNetV3Small").build(96, imagenet=False, seed=0)
    image = keras.Input((96, 96, 3))
    assert layer_rates(keras.Model(image, inner(image)), 0.5) == layer_rates(inner, 0.5)


def test_blocks_of_a_network_for_any_size_cannot_be_told():
    image = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="low")(image))
    with pytest.raises(UserError, match="'low'"):
        layer_rates(keras.Model(image, x), 0.5)


def two_blocks() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, name="low")(layers.Rescaling(1 / 127.5, -1.0)(image))
    return keras.Model(image, layers.Dense(5, name="high")(layers.Flatten()(x)))


def one_step(start: list[np.ndarray], **options) -> list[np.ndarray]:
    """Return how far one step on all examples moves each weight of network and classifier."""
    given: Training = spec(
        epochs=1,
        batch_size=128,
        dropout=0.0,
        augmentation=Augmentation(),
        **{"learning_rate": 0.001, **options},
    )
    trainer = Trainer(two_blocks(), 2, given)
    examples = data()[0]
    trainer._reset(start, 0)
    before = trainer.model.get_weights()
    trainer._epoch(1, examples, 0, opencv_feed(examples, given.augmentation))
    return [new - old for old, new in zip(before, trainer.model.get_weights(), strict=True)]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.5},
        {"optimizer": "adamw", "weight_decay": 20.0},
        {"optimizer": "adamw"},
        {"optimizer": "sgd"},
    ],
    ids=str,
)
def test_each_block_steps_by_its_rate_decay_included(options: dict):
    start = [weight + 0.1 for weight in two_blocks().get_weights()]
    whole = one_step(start, **options)
    scaled = one_step(start, layer_decay=0.3, **options)
    for factor, one, other in zip([0.09] * 2 + [0.3] * 2 + [1] * 2, whole, scaled, strict=True):
        assert np.abs(one).max() > 0
        assert_allclose(other, factor * one, rtol=1e-3, atol=1e-7)


def test_layer_rates_go_with_accumulation_and_averages():
    options = {"layer_decay": 0.3, "accumulate": 2, "ema": 0.5, "weight_decay": 0.1}
    trainer = Trainer(two_blocks(), 2, spec(epochs=6, learning_rate=0.03, **options))
    done = trainer.fit(two_blocks().get_weights(), *data(), 0)
    assert done.history["val_auc"].max() > 0.9


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.5},
        {"optimizer": "adamw", "ema": 0.5, "accumulate": 2, "layer_decay": 0.5},
    ],
    ids=str,
)
def test_a_fused_step_is_the_same_step(options: dict, monkeypatch: pytest.MonkeyPatch):
    given = spec(precision="bfloat16", dropout=0.0, epochs=3, **options)
    ends = []
    for fused in (True, False):
        if not fused:
            monkeypatch.setattr(optimizers, "_fused", lambda kind: kind)
        trainer = Trainer(two_blocks(), 2, given)
        if keras.backend.backend() == "tensorflow":
            assert (type(trainer.optimizer).__name__ == "Fused") == fused
        trainer.fit(two_blocks().get_weights(), *data(), 0)
        ends.append(trainer.network.get_weights())
    for one, other in zip(*ends, strict=True):
        assert_allclose(one, other, atol=0.01 * np.abs(other).max())


def test_without_layer_rates_the_optimizer_is_keras_own():
    # PyTorch has a subclass, also of Keras' own.
    made = Trainer(two_blocks(), 2, spec()).optimizer
    assert isinstance(made, keras.optimizers.AdamW)
    assert type(made).__module__.startswith("keras.")
    assert_array_equal(layer_rates(two_blocks(), 1.0), 1.0)

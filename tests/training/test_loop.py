import keras
import numpy as np
import pytest
from keras import layers
from numpy.testing import assert_allclose, assert_array_equal

from lesion_transfer.errors import TrainingDivergedError, UserError
from lesion_transfer.evaluation.metrics import cross_entropy
from lesion_transfer.protocols import Augmentation, Training
from lesion_transfer.training.batches import Examples
from lesion_transfer.training.loop import Fit, Trainer
from lesion_transfer.training.optimizers import learning_rate
from lesion_transfer.training.predict import predict

SIDE = 6


def network(seed: int = 0, norm: bool = False) -> keras.Model:
    keras.utils.set_random_seed(seed)
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Flatten()(layers.Rescaling(1 / 127.5, -1.0)(image))
    x = layers.Dense(8, name="hidden")(x)
    if norm:
        x = layers.BatchNormalization(name="norm")(x)
    return keras.Model(image, layers.Activation("relu")(x))


def spec(**values) -> Training:
    given = {
        "epochs": 4,
        "batch_size": 16,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "dropout": 0.2,
        "augmentation": Augmentation(flip=True, brightness=0.05),
    } | values
    return Training(**given)


def data(classes: int = 2, noise: float = 60, mislabelled: int = 0) -> tuple[Examples, Examples]:
    """Dark and bright pictures, overlapping; 70 to train on, 30 to validate on."""
    rng = np.random.default_rng(0)
    labels = np.arange(100) % classes
    level = np.linspace(90, 170, classes)[labels]
    pixels = level[:, None, None, None] + rng.normal(0, noise, (100, SIDE, SIDE, 3))
    images = np.clip(pixels, 0, 255).astype(np.uint8)
    labels[:mislabelled] = rng.integers(0, classes, mislabelled)
    rows = rng.permutation(100)
    return tuple(Examples(images, part, labels[part]) for part in (rows[:70], rows[70:]))


def fit(
    trainer: Trainer, seed: int = 0, initial=None, mislabelled: int = 0, **options
) -> tuple[Fit, list[np.ndarray]]:
    start = network().get_weights() if initial is None else initial
    done = trainer.fit(start, *data(trainer.classes, mislabelled=mislabelled), seed, **options)
    return done, trainer.network.get_weights()


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    return Trainer(network(seed=9), 2, spec())


# --- it learns -----------------------------------------------------------------------------------


def test_a_simple_problem_is_learnt(trainer: Trainer):
    done, _ = fit(trainer)
    history = done.history
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["train_loss"].iloc[-1] < 0.7 * history["train_loss"].iloc[0]
    assert history["val_auc"].max() > 0.9
    assert (history["learning_rate"] == 0.01).all()


def test_three_classes_are_learnt():
    done, _ = fit(Trainer(network(), 3, spec(epochs=6, learning_rate=0.03)))
    assert done.val_probabilities.shape == (30, 3)
    assert_allclose(done.val_probabilities.sum(axis=1), 1, atol=1e-5)
    assert done.history["val_auc"].max() > 0.8


def test_sgd_learns_too():
    done, _ = fit(Trainer(network(), 2, spec(optimizer="sgd", momentum=0.5, learning_rate=0.05)))
    assert done.history["val_auc"].max() > 0.9


# --- the seed decides ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"ema": 0.8}, {"optimizer": "sgd", "momentum": 0.9}, {"precision": "bfloat16"}],
    ids=str,
)
def test_fits_of_one_seed_are_equal_bit_for_bit_whatever_came_before(options: dict):
    trainer = Trainer(network(norm=True), 2, spec(epochs=2, **options))
    start = network(seed=1, norm=True).get_weights()
    first, weights = fit(trainer, 3, start)
    other, other_weights = fit(trainer, 4, network(seed=2, norm=True).get_weights())
    again, weights_again = fit(trainer, 3, start)
    fresh, fresh_weights = fit(Trainer(network(seed=5, norm=True), 2, trainer.spec), 3, start)
    assert same(weights, weights_again)
    assert same(weights, fresh_weights)
    assert first.history.equals(again.history)
    assert first.history.equals(fresh.history)
    assert_array_equal(first.val_probabilities, again.val_probabilities)
    assert not same(weights, other_weights)
    assert not first.history.equals(other.history)


def test_seeds_differ_even_without_dropout_and_augmentation():
    trainer = Trainer(network(), 2, spec(epochs=1, dropout=0.0, augmentation=Augmentation()))
    assert not same(fit(trainer, 0)[1], fit(trainer, 1)[1])


def test_the_seed_decides_what_is_dropped():
    trainer = Trainer(network(), 2, spec(dropout=0.5))
    dropout = keras.Model(trainer.model.input, trainer.model.get_layer("dropout").output)
    images = np.full((64, SIDE, SIDE, 3), 200.0, np.float32)

    def kept(seed: int) -> np.ndarray:
        trainer._reset(network().get_weights(), seed)
        return keras.ops.convert_to_numpy(dropout(images, training=True)) > 0

    assert_array_equal(kept(0), kept(0))
    assert (kept(0) != kept(1)).any()


def test_a_failed_fit_leaves_no_trace():
    trainer = Trainer(network(), 2, spec(epochs=2))
    _, expected = fit(trainer, 3)

    def stop(epoch: int, row: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(trainer, 1, on_epoch=stop)
    assert same(fit(trainer, 3)[1], expected)


def test_the_initial_weights_given_are_not_changed(trainer: Trainer):
    start = network(seed=1).get_weights()
    copies = [w.copy() for w in start]
    fit(trainer, 0, start)
    assert same(start, copies)


# --- which epoch is kept -------------------------------------------------------------------------


@pytest.mark.parametrize("ema", [None, 0.7])
@pytest.mark.parametrize("select", ["best", "last"])
def test_the_kept_weights_are_those_of_the_chosen_epoch(select: str, ema: float | None):
    # Falls, then rises: half of the labels are drawn, and learnt by heart.
    trainer = Trainer(network(), 2, spec(epochs=8, learning_rate=0.03, select=select, ema=ema))
    every: list[list[np.ndarray]] = []
    done, kept = fit(
        trainer,
        mislabelled=50,
        on_epoch=lambda epoch, row: every.append(trainer.network.get_weights()),
    )
    losses = done.history["val_loss"]
    lowest = int(losses.argmin()) + 1
    assert lowest < 8  # or the test would say nothing
    assert done.best_epoch == (lowest if select == "best" else 8)
    assert same(kept, every[done.best_epoch - 1])
    assert not same(kept, every[lowest - 1 if select == "last" else 7])
    _, validation = data(mislabelled=50)
    assert cross_entropy(validation.labels, done.val_probabilities) == pytest.approx(
        losses[done.best_epoch - 1], abs=1e-9
    )


@pytest.mark.parametrize("ema", [None, 0.7])
def test_the_whole_model_is_that_of_the_kept_epoch_afterwards(ema: float | None):
    """The pretrain stage scores ``trainer.model``, network and classifier, on held-out images."""
    trainer = Trainer(network(), 2, spec(epochs=8, learning_rate=0.03, ema=ema))
    done, _ = fit(trainer, mislabelled=50)
    assert done.best_epoch < 8  # or the test would say nothing
    _, validation = data(mislabelled=50)
    now = predict(trainer.model, validation.images, validation.rows)
    assert_allclose(now, done.val_probabilities, atol=1e-6)


def test_each_epoch_is_reported_once_as_it_ends(trainer: Trainer):
    rows: list[tuple[int, dict[str, float]]] = []
    done, _ = fit(trainer, on_epoch=lambda *row: rows.append(row))
    assert [epoch for epoch, _ in rows] == [1, 2, 3, 4]
    assert [row["val_loss"] for _, row in rows] == done.history["val_loss"].tolist()


# --- it stops ------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_training():
    trainer = Trainer(network(), 2, spec(optimizer="sgd", learning_rate=1e30))
    with pytest.raises(TrainingDivergedError, match=r"loss became nan in epoch 1, step 2") as error:
        fit(trainer)
    assert isinstance(error.value, UserError)
    assert "learning_rate" in error.value.next_step


def test_so_does_a_last_step_that_ruins_the_network():
    """Its own loss is still a number, and no step comes after it."""
    ruin = {"optimizer": "sgd", "learning_rate": 1e30, "epochs": 1, "batch_size": 128}
    with pytest.raises(TrainingDivergedError, match="no longer numbers after epoch 1"):
        fit(Trainer(network(), 2, spec(**ruin)))


def test_a_ruined_network_leaves_no_trace_in_the_next_average():
    trainer = Trainer(network(), 2, spec(epochs=2, ema=0.7))
    _, expected = fit(trainer, 3)
    trainer.model.set_weights([np.full_like(w, np.nan) for w in trainer.model.get_weights()])
    assert same(fit(trainer, 3)[1], expected)


# --- averaged weights ----------------------------------------------------------------------------


def test_averaged_weights_differ_from_raw_ones_and_do_not_disturb_them():
    options = {"epochs": 3, "dropout": 0.0, "select": "last"}
    raw, raw_weights = fit(Trainer(network(), 2, spec(**options)))
    averaged, averaged_weights = fit(Trainer(network(), 2, spec(ema=0.9, **options)))
    assert_allclose(raw.history["train_loss"], averaged.history["train_loss"], rtol=1e-5)
    assert not np.allclose(raw_weights[0], averaged_weights[0], atol=1e-3)


def test_the_average_is_the_exponential_one():
    """One step an epoch: the average of the raw weights after each step, by hand."""
    options = {
        "batch_size": 128,
        "dropout": 0.0,
        "augmentation": Augmentation(),
        "select": "last",
        "balance": False,
    }
    steps = [fit(Trainer(network(), 2, spec(epochs=n, **options)))[1][0] for n in (1, 2, 3)]
    average = steps[0]
    for raw in steps[1:]:
        average = 0.6 * average + 0.4 * raw
    _, weights = fit(Trainer(network(), 2, spec(epochs=3, ema=0.6, **options)))
    assert_allclose(weights[0], average, atol=1e-5)


# --- batch normalisation -------------------------------------------------------------------------


def named(trainer: Trainer, layer: str) -> list[np.ndarray]:
    return trainer.network.get_layer(layer).get_weights()


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_batch_normalisation_keeps_statistics_and_weights(frozen: bool):
    trainer = Trainer(network(norm=True), 2, spec(epochs=2, freeze_batch_norm=frozen))
    start = network(seed=1, norm=True)
    rng = np.random.default_rng(0)
    start.get_layer("norm").set_weights([rng.uniform(0.5, 1.5, 8) for _ in range(4)])
    fit(trainer, 0, start.get_weights())
    kept = [
        np.array_equal(before, after)
        for before, after in zip(
            start.get_layer("norm").get_weights(), named(trainer, "norm"), strict=True
        )
    ]
    assert kept == [frozen] * 4
    assert not np.array_equal(
        start.get_layer("hidden").get_weights()[0], named(trainer, "hidden")[0]
    )


def test_layers_that_a_file_was_saved_with_as_frozen_are_trained():
    image = keras.Input((SIDE, SIDE, 3))
    inner = network()
    inner.trainable = False
    frozen = keras.Model(image, inner(image))
    start = frozen.get_weights()
    _, weights = fit(Trainer(frozen, 2, spec(epochs=1)), 0, start)
    assert not any(np.array_equal(one, other) for one, other in zip(start, weights, strict=True))


def test_freezing_reaches_nested_networks():
    image = keras.Input((SIDE, SIDE, 3))
    nested = keras.Model(image, network(norm=True)(image))
    trainer = Trainer(nested, 2, spec(epochs=1, freeze_batch_norm=True))
    start = nested.get_weights()
    _, weights = fit(trainer, 0, start)
    norm = [i for i, v in enumerate(nested.weights) if "norm" in v.path]
    assert len(norm) == 4
    assert all(np.array_equal(start[i], weights[i]) for i in norm)


# --- the recipe ----------------------------------------------------------------------------------


def test_weight_decay_is_on_kernels_alone():
    options = {
        "epochs": 1,
        "batch_size": 128,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "dropout": 0.0,
        "augmentation": Augmentation(),
    }
    start = network(norm=True).get_weights()
    # Biases that are not zero, or a decay of them would not show.
    start = [w + 0.3 if w.ndim == 1 else w for w in start]
    _, plain = fit(Trainer(network(norm=True), 2, spec(**options)), 0, start)
    _, decayed = fit(Trainer(network(norm=True), 2, spec(weight_decay=0.5, **options)), 0, start)
    assert_allclose(decayed[0], plain[0] - 0.1 * 0.5 * start[0], atol=1e-6)
    for one, other in zip(plain[1:], decayed[1:], strict=True):
        assert_allclose(one, other, atol=1e-7)


def test_filler_at_the_end_of_an_epoch_changes_nothing():
    options = {
        "epochs": 1,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "dropout": 0.0,
        "balance": False,
        "augmentation": Augmentation(),
    }
    _, exact = fit(Trainer(network(), 2, spec(batch_size=70, **options)))
    _, filled = fit(Trainer(network(), 2, spec(batch_size=128, **options)))
    for one, other in zip(exact, filled, strict=True):
        assert_allclose(one, other, atol=1e-6)


def test_the_history_has_the_schedules_rates():
    trainer = Trainer(network(), 2, spec(schedule="cosine", epochs=3, balance=False))
    done, _ = fit(trainer)
    last_steps = [learning_rate(trainer.spec, 5 * epoch - 1, 5) for epoch in (1, 2, 3)]
    assert_allclose(done.history["learning_rate"], last_steps)  # 70 examples: 5 batches of 16

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_loop import data, network, same, spec

from lesion_transfer.errors import TrainingDivergedError, UserError
from lesion_transfer.protocols import Augmentation
from lesion_transfer.training import checkpoint as checkpoint_module
from lesion_transfer.training.batches import Examples
from lesion_transfer.training.checkpoint import Best, Checkpoint, State
from lesion_transfer.training.loop import Trainer


class KilledError(Exception):
    pass


def killed_after(epoch: int):
    def on_epoch(number: int, metrics: dict[str, float]) -> None:
        if number > epoch:
            raise KilledError

    return on_epoch


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ema": 0.7, "optimizer": "sgd", "momentum": 0.5},
        {"accumulate": 3, "layer_decay": 0.5, "schedule": "cosine"},
        {"probe": True, "ema": 0.7, "precision": "bfloat16", "balance": False},
    ],
)
def test_a_killed_training_goes_on_at_its_last_epoch_and_ends_the_same(tmp_path, options):
    start = network().get_weights()
    whole = Trainer(network(), 2, spec(**options))
    expected = whole.fit(start, *data(), 3)

    path = tmp_path / "training.npz"
    with pytest.raises(KilledError):
        Trainer(network(), 2, spec(**options)).fit(
            start, *data(), 3, killed_after(2), Checkpoint(path, every_seconds=0)
        )
    resumed, epochs = Trainer(network(), 2, spec(**options)), []
    done = resumed.fit(
        start,
        *data(),
        3,
        lambda number, metrics: epochs.append(number),
        Checkpoint(path, every_seconds=0),
    )
    assert epochs == [3, 4]
    assert done.history.equals(expected.history)
    assert done.best_epoch == expected.best_epoch
    assert_array_equal(done.val_probabilities, expected.val_probabilities)
    assert same(resumed.model.get_weights(), whole.model.get_weights())


def test_what_epochs_have_logged_is_safe_before_a_checkpoint_is_written(tmp_path):
    path, moments = tmp_path / "training.npz", []
    checkpoint = Checkpoint(path, 0, before_saving=lambda: moments.append(path.exists()))
    Trainer(network(), 2, spec(epochs=2)).fit(
        network().get_weights(), *data(), 0, checkpoint=checkpoint
    )
    assert moments == [False, True]


def test_short_trainings_write_none_and_remove_is_content_with_that(tmp_path):
    checkpoint = Checkpoint(tmp_path / "sub" / "training.npz", every_seconds=1000)
    Trainer(network(), 2, spec(epochs=1)).fit(
        network().get_weights(), *data(), 0, checkpoint=checkpoint
    )
    assert not list(tmp_path.rglob("*"))
    checkpoint.remove()
    assert checkpoint.load() is None


def test_what_a_killed_process_has_begun_goes_with_the_checkpoint(tmp_path):
    begun, others = tmp_path / "training.123.part", tmp_path / "training2.123.part"
    begun.touch()
    others.touch()
    Checkpoint(tmp_path / "training.npz").remove()
    assert not begun.exists()
    assert others.exists()


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_damaged_checkpoint_is_named(tmp_path, kept: float):
    path = tmp_path / "training.npz"
    Trainer(network(), 2, spec(epochs=1)).fit(
        network().get_weights(), *data(), 0, checkpoint=Checkpoint(path, every_seconds=0)
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(UserError, match=rf"{path.name} cannot be read") as error:
        Checkpoint(path).load()
    assert "delete it" in error.value.next_step


@pytest.mark.parametrize("select", ["best", "last"])
def test_training_stops_when_patience_is_at_an_end(select: str):
    trainer = Trainer(network(), 2, spec(epochs=30, learning_rate=0.2, patience=2, select=select))
    done = trainer.fit(network().get_weights(), *data(noise=120), 0)
    lowest = int(done.history["val_loss"].argmin()) + 1
    assert len(done.history) == lowest + 2 < 30
    assert done.best_epoch == (lowest if select == "best" else lowest + 2)


def test_the_state_is_not_gathered_where_no_checkpoint_is_due(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    def gathered(*given: object) -> None:
        raise AssertionError("gathered")

    trainer = Trainer(network(), 2, spec(epochs=2))
    monkeypatch.setattr(trainer, "_state", gathered)
    checkpoint = Checkpoint(tmp_path / "training.npz", every_seconds=1000)
    trainer.fit(network().get_weights(), *data(), 0, checkpoint=checkpoint)


def test_savings_that_take_long_are_far_apart(tmp_path, monkeypatch: pytest.MonkeyPatch):
    now, saved = [0.0], []
    monkeypatch.setattr(checkpoint_module.time, "monotonic", lambda: now[0])
    checkpoint = Checkpoint(tmp_path / "training.npz", every_seconds=20)
    state = State([], Best(0.0, 1, [], np.zeros((1, 2), np.float32)), [], [])

    def gather() -> State:
        saved.append(now[0])
        now[0] += 2 if len(saved) == 1 else 0.1
        return state

    for moment in (10, 19, 21, 60, 82, 84, 100, 105):
        now[0] = moment
        checkpoint.offer(gather)
    assert saved == [21, 84, 105]


def test_a_diverged_training_leaves_no_checkpoint(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """A resumed one would diverge again; with another learning rate it is another training."""
    path = tmp_path / "training.npz"
    trainer, epoch = Trainer(network(), 2, spec(epochs=3)), Trainer._epoch

    def diverges(self: Trainer, number: int, *given: object) -> dict[str, float]:
        if number == 3:
            assert path.exists()
            self.classifier.set_weights([w * np.nan for w in self.classifier.get_weights()])
        return epoch(self, number, *given)

    monkeypatch.setattr(Trainer, "_epoch", diverges)
    with pytest.raises(TrainingDivergedError):
        trainer.fit(
            network().get_weights(), *data(), 0, checkpoint=Checkpoint(path, every_seconds=0)
        )
    assert not list(tmp_path.iterdir())


def test_a_training_that_was_at_its_end_stays_there(tmp_path):
    """It may be killed after its last epoch, before its network is logged."""
    fits, epochs = [], []
    for _ in range(2):
        trainer = Trainer(network(), 2, spec(epochs=30, learning_rate=0.2, patience=2))
        checkpoint = Checkpoint(tmp_path / "training.npz", every_seconds=0)
        fits.append(
            trainer.fit(
                network().get_weights(),
                *data(noise=120),
                0,
                lambda number, metrics: epochs.append(number),
                checkpoint,
            )
        )
    assert fits[0].history.equals(fits[1].history)
    assert epochs == fits[0].history["epoch"].tolist()


@pytest.mark.parametrize("ema", [None, 0.6])
@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_accumulated_gradients_make_the_step_of_a_larger_batch(
    layer_decay: float, ema: float | None
):
    training, validation = data()
    training = Examples(training.images, training.rows[:64], training.labels[:64])
    weights = []
    for batch_size, accumulate in ((32, 1), (16, 2), (16, 1)):
        given = spec(
            epochs=2,
            batch_size=batch_size,
            accumulate=accumulate,
            layer_decay=layer_decay,
            ema=ema,
            optimizer="sgd",
            learning_rate=0.05,
            momentum=0.5,
            weight_decay=0.1,
            dropout=0.0,
            balance=False,
            augmentation=Augmentation(),
        )
        trainer = Trainer(network(), 2, given)
        trainer.fit(network().get_weights(), training, validation, 0)
        weights.append(trainer.network.get_weights())
    whole, accumulated, smaller = weights
    for one, other in zip(whole, accumulated, strict=True):
        assert_allclose(one, other, atol=2e-6)
    assert np.abs(whole[0] - smaller[0]).max() > 1e-3

"""The training loop, for sources and for folds.

One :class:`Trainer` holds a network and its compiled step, and trains it any number of times from
any initial weights: a study's folds share the compilation, and each fold's result depends only on
the weights, examples and seed it is given.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from lesion_transfer.errors import TrainingDivergedError, UserError
from lesion_transfer.evaluation.metrics import auc, cross_entropy
from lesion_transfer.models.precision import in_precision
from lesion_transfer.protocols import Training
from lesion_transfer.training.augment_device import augmented, device_feed, on_accelerator
from lesion_transfer.training.batches import Examples, Feed, epoch_batches, opencv_feed
from lesion_transfer.training.checkpoint import Best, Checkpoint, State
from lesion_transfer.training.classifier import probe, probed, random_classifier
from lesion_transfer.training.optimizers import learning_rate, optimizer_for
from lesion_transfer.training.predict import predict
from lesion_transfer.training.step import trained_by

Weights = list[npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Fit:
    """What a training gave.

    Attributes
    ----------
    history
        One row per epoch: epoch, train_loss, val_loss, val_auc, learning_rate.
    best_epoch
        The epoch whose weights were kept, from 1.
    val_probabilities
        The kept network's softmax on the validation examples, (n, classes).
    """

    history: pd.DataFrame
    best_epoch: int
    val_probabilities: npt.NDArray[np.float32]


BATCH_NORM_MOMENTUM = 0.9
"""Where it is trained. Keras' 0.99 takes 500 steps to forget that it began with a variance of 1."""

LOSSES_AHEAD = 4
"""Steps that an accelerator may be given before the loss of an earlier one is waited for."""


class Trainer:
    """Trains one network architecture, again and again.

    Parameters
    ----------
    network
        (batch, size, size, 3) RGB 0–255 → (batch, d) features. Its weights are changed by
        :meth:`fit`, and are the result.
    classes
        How many.
    spec
        The hyper-parameters.
    device
        Whether pictures are augmented where the network computes, rather than by the processor;
        None: where that is an accelerator.
    """

    def __init__(
        self, network: keras.Model, classes: int, spec: Training, device: bool | None = None
    ) -> None:
        self.network = network
        self.classes = classes
        self.spec = spec
        for layer in network._flatten_layers():
            layer.trainable = True  # also where a file was saved with it frozen
        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = not spec.freeze_batch_norm
                layer.momentum = min(layer.momentum, BATCH_NORM_MOMENTUM)
        self._computing = in_precision(network, spec.precision)
        features = self._computing.output
        dropped = keras.layers.Dropout(spec.dropout, seed=0, name="dropout")(features)
        self.classifier = keras.layers.Dense(
            classes, activation="softmax", dtype="float32", name="classifier"
        )
        self.model = keras.Model(self._computing.input, self.classifier(dropped), name="classified")
        self.optimizer = optimizer_for(spec, self._computing)
        self._device = on_accelerator() if device is None else device
        whole = augmented(self.model, spec.augmentation) if self._device else self.model
        self._trained = trained_by(self.optimizer, whole, spec.label_smoothing)
        self.optimizer.build(self.model.trainable_variables)
        self._fresh_optimizer = [np.array(v) for v in map(_numpy, self.optimizer.variables)]
        self._fresh_state = [np.array(v) for v in map(_numpy, self.model.non_trainable_variables)]
        self._seeds = [v for v in self.model.variables if "seed_generator" in v.path]

    def fit(
        self,
        initial: Weights,
        training: Examples,
        validation: Examples,
        seed: int,
        on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, metrics: None,
        checkpoint: Checkpoint | None = None,
    ) -> Fit:
        """Train from ``initial`` weights and leave the kept epoch's weights in the model.

        Parameters
        ----------
        initial
            Weights of the network, as its ``get_weights`` gives them.
        training, validation
            Disjoint examples; the validation ones choose the epoch.
        seed
            Decides the classifier's first weights, batches, augmentation and dropout.
        on_epoch
            Called with the number of each epoch, from 1, and its row of the history; not again
            for the epochs that a checkpoint already holds.
        checkpoint
            Where the training stands is saved there; if it is there already, training goes on from
            there and ends with the same numbers.

        Raises
        ------
        TrainingDivergedError
            The loss, or an answer of the network, is no longer a finite number.
        UserError
            There is no validation image to choose the epoch by.
        """
        if len(validation) == 0:
            raise UserError(
                "no image could be held out to choose the epoch by",
                expected="at least two groups (lesions, patients) of a class in a training half",
                next_step="add images, or use a frozen network (finetune=false)",
            )
        self._reset(initial, seed)
        state = checkpoint.load() if checkpoint is not None else None
        if state is not None:
            self._restore(state)
        elif self.spec.probe:
            self._probe(training, seed)
        feed = (device_feed if self._device else opencv_feed)(training, self.spec.augmentation)
        history = list(state.history) if state is not None else []
        best = state.best if state is not None else None
        for epoch in range(len(history) + 1, self.spec.epochs + 1):
            if self.spec.patience is not None and _waited(history) >= self.spec.patience:
                break  # asked before an epoch, for a checkpoint may be of the last one
            try:
                row = self._epoch(epoch, training, seed, feed)
                raw = self._swap_in_average()
                probabilities = predict(self.model, validation.images, validation.rows)
                if not np.isfinite(probabilities).all():  # no step comes after the last to show it
                    raise TrainingDivergedError(
                        f"the network's answers are no longer numbers after epoch {epoch}",
                        next_step="lower the protocol's learning_rate",
                    )
            except TrainingDivergedError:
                if checkpoint is not None:
                    checkpoint.remove()  # going on from there would end the same way
                raise
            row["val_loss"] = cross_entropy(validation.labels, probabilities)
            row["val_auc"] = auc(validation.labels, probabilities)
            history.append(row)
            on_epoch(epoch, row)
            if best is None or self.spec.select == "last" or row["val_loss"] < best.val_loss:
                weights = _copies(self.model.weights)
                best = Best(row["val_loss"], epoch, weights, probabilities)
            if raw is not None:
                self.model.set_weights(raw)
            if checkpoint is not None:
                checkpoint.offer(partial(self._state, history, best))
        if best is None:
            raise ValueError("a training has at least one epoch")
        self.model.set_weights(best.weights)
        if self._computing is not self.network:
            self.network.set_weights(self._computing.get_weights())
        table = pd.DataFrame(history)
        table.insert(0, "epoch", range(1, len(table) + 1))
        return Fit(table, best.epoch, best.val_probabilities)

    def _epoch(self, epoch: int, training: Examples, seed: int, feed: Feed) -> dict[str, float]:
        """Train for one epoch and return its mean loss and last learning rate."""
        steps = math.ceil(self._epoch_length(training) / self.spec.batch_size)
        losses: list[float] = []
        ahead: deque[Any] = deque()
        rate = self.spec.learning_rate

        def look_at_a_loss() -> None:
            losses.append(float(_numpy(ahead.popleft())))
            if not math.isfinite(losses[-1]):
                raise TrainingDivergedError(
                    f"the training loss became {losses[-1]} in epoch {epoch}, step {len(losses)}",
                    next_step="lower the protocol's learning_rate",
                )

        batches = epoch_batches(training, self.classes, self.spec, epoch, seed, feed)
        for step, batch in enumerate(batches):
            rate = learning_rate(self.spec, (epoch - 1) * steps + step, steps)
            self.optimizer.learning_rate.assign(rate)
            self._trained.train_on_batch(batch.inputs, batch.targets, batch.weights)
            ahead.append(self._trained.metrics[0].result())
            if len(ahead) > LOSSES_AHEAD:
                look_at_a_loss()
        while ahead:
            look_at_a_loss()
        return {"train_loss": float(np.mean(losses)), "learning_rate": rate}

    def _state(self, history: list[dict[str, float]], best: Best) -> State:
        # The model's variables are its weights and the states of its dropout's seeds.
        model, optimizer = (
            [np.array(_numpy(variable)) for variable in of.variables]
            for of in (self.model, self.optimizer)
        )
        best = replace(best, weights=[_numpy(weight) for weight in best.weights])
        return State(history, best, model, optimizer)

    def _restore(self, state: State) -> None:
        for variable, value in zip(self.model.variables, state.model, strict=True):
            variable.assign(value)
        for variable, value in zip(self.optimizer.variables, state.optimizer, strict=True):
            variable.assign(value)

    def _reset(self, initial: Weights, seed: int) -> None:
        """Put everything that a training changes back to where it starts."""
        for variable, value in zip(self.optimizer.variables, self._fresh_optimizer, strict=True):
            variable.assign(value)
        for variable, value in zip(
            self.model.non_trainable_variables, self._fresh_state, strict=True
        ):
            variable.assign(value)
        self._computing.set_weights(initial)
        features = self.classifier.kernel.shape[0]
        self._start_at(random_classifier(features, self.classes, seed))
        for number, variable in enumerate(self._seeds):
            variable.assign(np.array([seed, number], dtype="uint32"))

    def _probe(self, training: Examples, seed: int) -> None:
        """Start at a classifier of the features that the network has now."""
        few = probed(training.labels, seed)
        features = predict(self._computing, training.images, training.rows[few])
        alike = self.spec.balance is not False
        counts = np.bincount(training.labels, minlength=self.classes)
        prior = np.ones(self.classes) if alike else counts
        self._start_at(probe(features, training.labels[few], prior, seed))

    def _start_at(self, classifier: tuple[Any, Any]) -> None:
        self.classifier.set_weights(classifier)
        if self.spec.ema is not None:
            for average, variable in self._averages():
                average.assign(np.array(_numpy(variable)))

    def _epoch_length(self, training: Examples) -> int:
        if self.spec.balance is not True:
            return len(training)
        return int(np.bincount(training.labels).max()) * len(np.unique(training.labels))

    def _swap_in_average(self) -> list[Any] | None:
        """Put the averaged weights in place; return the raw ones, or None without averaging."""
        if self.spec.ema is None:
            return None
        raw = _copies(self.model.weights)
        averages, variables = zip(*self._averages(), strict=True)
        for average, variable in zip(_copies(averages), variables, strict=True):
            variable.assign(average)
        return raw

    def _averages(self) -> Iterator[tuple[keras.Variable, keras.Variable]]:
        """Yield each averaged weight and the weight it is the average of.

        One is put into the other by copying: JAX would let both share one buffer, and a step gives
        the buffers of its inputs away.
        """
        averages = self.optimizer._model_variables_moving_average
        yield from zip(averages, self.model.trainable_variables, strict=True)


def _waited(history: list[dict[str, float]]) -> int:
    """Epochs since the one of the lowest validation loss, whichever is kept."""
    losses = [row["val_loss"] for row in history]
    return len(losses) - 1 - int(np.argmin(losses)) if losses else 0


def _copies(variables: Iterable[keras.Variable]) -> list[Any]:
    """Copy values where they are: an accelerator's need not leave it."""
    return [keras.ops.copy(variable) for variable in variables]


def _numpy(variable: Any) -> npt.NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(variable))

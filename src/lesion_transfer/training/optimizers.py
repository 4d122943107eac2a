"""Optimisers: how far each step goes, over time and over the depth of the network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from lesion_transfer.errors import UserError
from lesion_transfer.models.transfer import layers_upwards
from lesion_transfer.protocols import Training


def optimizer_for(spec: Training, network: keras.Model) -> keras.optimizers.Optimizer:
    """Return the optimiser that a protocol names, for ``network`` and what is put on top of it."""
    options: dict[str, Any] = {"weight_decay": spec.weight_decay or None}
    if spec.ema is not None:
        options |= {"use_ema": True, "ema_momentum": spec.ema}
    if spec.accumulate > 1:
        options |= {"gradient_accumulation_steps": spec.accumulate}
    if spec.optimizer == "sgd":
        kind = keras.optimizers.SGD
        options |= {"momentum": spec.momentum, "nesterov": spec.momentum > 0}
    else:
        kind = keras.optimizers.AdamW
        options["weight_decay"] = spec.weight_decay
    if spec.ema is not None and spec.accumulate > 1:
        kind = _averaging_steps(kind)
    if spec.layer_decay < 1:
        kind = _layerwise(kind, network, spec.layer_decay)
    if spec.precision == "bfloat16" and keras.backend.backend() == "tensorflow":
        kind = _fused(kind)
    optimizer = kind(spec.learning_rate, **options)
    if spec.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def learning_rate(spec: Training, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step, counted from 0: warm-up, then constant or cosine."""
    warmup = spec.warmup_epochs * steps_per_epoch
    if step < warmup:
        return spec.learning_rate * (step + 1) / (warmup + 1)
    if spec.schedule == "constant":
        return spec.learning_rate
    done = (step - warmup) / max(1, spec.epochs * steps_per_epoch - warmup)
    return spec.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def layer_rates(network: keras.Model, decay: float) -> list[float]:
    """Return the factor of the learning rate of each of the network's trainable variables.

    A block is the layers between two changes of resolution, dense layers being one of 1×1. The last
    block of the network has ``decay``, the one before it ``decay``², and so on.

    Raises
    ------
    UserError
        A layer is for pictures of any size.
    """
    layers = [layer for layer in layers_upwards(network) if layer.trainable_weights]
    for layer in layers:
        if None in layer.output.shape[1:]:
            raise UserError(
                f"layer_decay: the network's layer {layer.name!r} takes pictures of any size, so "
                "it cannot be told which block it belongs to",
                next_step="save the network for one size of pictures, or set layer_decay: 1 in the "
                "protocol",
            )
    places = np.array([math.prod(layer.output.shape[1:-1]) for layer in layers])
    # Resolution falls on the way up. Where it is lower for a while, in the gates of
    # squeeze-and-excitation, the layer belongs to the block that goes on after it.
    places = np.maximum.accumulate(places[::-1])[::-1]
    heights = np.cumsum(np.diff(places, prepend=places[:1]) < 0)
    rate = {
        id(variable): decay ** int(heights[-1] + 1 - height)
        for layer, height in zip(layers, heights, strict=True)
        for variable in layer.trainable_weights
    }
    return [rate[id(variable)] for variable in network.trainable_variables]


def _averaging_steps(kind: Any) -> Any:
    """Derive an optimiser whose averages of the weights move once a step.

    Keras moves them once a batch, also where a step takes several.
    """

    class AveragingSteps(kind):  # type: ignore[misc]
        ema_momentum: Any

        def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
            whole = self.ema_momentum
            steps = (self._iterations + 1) % self.gradient_accumulation_steps == 0
            self.ema_momentum = ops.where(steps, whole, 1.0)
            super()._update_model_variables_moving_average(trainable_variables)
            self.ema_momentum = whole

    return AveragingSteps


def _layerwise(kind: Any, network: keras.Model, decay: float) -> Any:
    """Derive an optimiser in which each variable of ``network`` has a learning rate of its own.

    It is the update that is scaled, since optimisers such as Adam's do not notice the scale of a
    gradient. Keras hands all variables at once to these two methods, on every backend; they are
    handed on in groups of one rate.
    """
    rates = dict(
        zip(map(id, network.trainable_variables), layer_rates(network, decay), strict=True)
    )

    def groups(variables: Any) -> Iterator[tuple[float, list[int]]]:
        each = [rates.get(id(variable), 1.0) for variable in variables]
        for rate in sorted(set(each)):
            yield rate, [number for number, its in enumerate(each) if its == rate]

    class Layerwise(kind):  # type: ignore[misc]
        weight_decay: float | None

        def _backend_update_step(
            self, grads: Any, trainable_variables: Any, learning_rate: Any
        ) -> None:
            for rate, group in groups(trainable_variables):
                super()._backend_update_step(
                    [grads[number] for number in group],
                    [trainable_variables[number] for number in group],
                    learning_rate * rate,
                )

        def _apply_weight_decay(self, variables: Any) -> None:
            whole = self.weight_decay
            if whole is None:
                return
            for rate, group in groups(variables):
                self.weight_decay = whole * rate
                super()._apply_weight_decay([variables[number] for number in group])
            self.weight_decay = whole

    return Layerwise


def _fused(kind: Any) -> Any:
    """Derive an optimiser whose step TensorFlow compiles to one pass over the weights.

    Operation by operation, a step of momentum and decay reads or writes every weight about twenty
    times: for VGG-M's 100 million a sixth of a step in bfloat16 on a processor. JAX compiles the
    whole step anyway. In float32, the reference, the step stays as Keras has it: compiling changes
    the rounding.
    """
    import tensorflow as tf

    class Fused(kind):  # type: ignore[misc]
        def apply(self, grads: Any, trainable_variables: Any = None) -> None:
            step = super().apply
            tf.function(lambda: step(grads, trainable_variables), jit_compile=True)()

    return Fused

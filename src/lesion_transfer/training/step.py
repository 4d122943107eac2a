"""The training step, as Keras compiles it."""

from __future__ import annotations

from typing import Any

import keras


class _Trained(keras.Model):  # type: ignore[misc]
    """A model that reports no metrics, since to report them is to wait for each step's end.

    The loss is still kept, in the first of ``metrics``.
    """

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Compute none."""
        return {}


def trained_by(
    optimizer: keras.optimizers.Optimizer, model: keras.Model, label_smoothing: float
) -> keras.Model:
    """Return a model of the layers of ``model`` that is compiled for training.

    Its loss is the cross-entropy, the mean weighted by the examples' weights.
    """
    trained = _Trained(model.input, model.output, name="training")
    trained.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(
            label_smoothing=label_smoothing, reduction="mean_with_sample_weight"
        ),
        # XLA on JAX, and on TensorFlow with a GPU; on processors TensorFlow's own graph, which is
        # faster (docs/results.md); on PyTorch its kernels one by one.
        jit_compile="auto",
    )
    return trained

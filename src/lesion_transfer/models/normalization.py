"""The two layers of the networks of 2012–2014 that Keras lacks: response and mean normalisation."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="lesion_transfer")
class LocalResponseNormalization(keras.layers.Layer):  # type: ignore[misc]
    r"""Divide each unit by the activity of its neighbours in other channels.

    Krizhevsky, Sutskever & Hinton 2012, section 3.3:

    .. math:: y_i = x_i \Big/ \Big(k + \alpha \sum_{j=i-\lfloor (n-1)/2 \rfloor}
              ^{i+\lceil (n-1)/2 \rceil} x_j^2\Big)^{\beta}

    The sum runs over channels at one place, and stops at the first and the last channel.

    Three conventions of :math:`\alpha` are about. The formula's, which is MatConvNet's
    (``vl_nnnormalize``) and TensorFlow's (``depth_radius`` = 2 for n = 5), is used here. Caffe and
    PyTorch divide theirs by n, and so write 5e-4 for the same layer.

    Parameters
    ----------
    k, alpha, beta
        As above; ``k`` > 0, so that an inactive neighbourhood divides by no zero.
    n
        Width of the window, channels.

    Notes
    -----
    The sum is a product with a banded matrix of ones: for a step of training on TensorFlow and a
    CPU, about four times as fast as adding shifted slices, and equal to 1e-6. The gradient is
    written out, because the one that backends derive takes longer.
    """

    def __init__(
        self,
        k: float = 2.0,
        n: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not (k > 0 and n >= 1):
            raise ValueError(f"k must be positive and n at least 1, not {k} and {n}")
        self.k, self.n, self.alpha, self.beta = k, n, alpha, beta

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the band for the number of channels."""
        channel = np.arange(int(input_shape[-1] or 0))
        ahead = channel[:, None] - channel  # of the summand j (row) over the unit i (column)
        before, after = (self.n - 1) // 2, self.n // 2
        self._band = ((-before <= ahead) & (ahead <= after)).astype("float32")

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Normalise ``x`` (batch, …, channels); shape and type stay."""
        band = ops.convert_to_tensor(self._band, dtype=x.dtype)
        if not training:  # no gradient of our own, which PyTorch cannot trace for an export
            return x * self._scale(x, band)[0]

        @ops.custom_gradient  # type: ignore[untyped-decorator]
        def normalise(x: Any) -> tuple[Any, Any]:
            scale, size = self._scale(x, band)
            y = x * scale

            def gradient(*given: Any, upstream: Any = None) -> Any:
                (upstream,) = given if upstream is None else (upstream,)
                felt = ops.matmul(upstream * y / size, ops.transpose(band))
                return upstream * scale - (2 * self.alpha * self.beta) * x * felt

            return y, gradient

        return normalise(x)

    def _scale(self, x: Any, band: Any) -> tuple[Any, Any]:
        """Return the factor of each unit, and the sum of which it is a power."""
        size = self.k + self.alpha * ops.matmul(ops.square(x), band)
        if self.beta == 0.75:  # s^-¾ = s^-½ · s^-¼: roots cost a fraction of a power
            root = ops.rsqrt(size)
            return root * ops.sqrt(root), size
        return ops.power(size, -self.beta), size

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what makes this layer again."""
        own = {"k": self.k, "n": self.n, "alpha": self.alpha, "beta": self.beta}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="lesion_transfer")
class SubtractMean(keras.layers.Layer):  # type: ignore[misc]
    """Subtract a mean image, which is a weight of the layer and never trained.

    Being a weight, it travels with the others: into the network's file, and from a source network
    to the next. It starts as ``colour`` everywhere.

    Parameters
    ----------
    colour
        Initial mean of each channel.
    """

    def __init__(self, colour: tuple[float, ...], **options: Any) -> None:
        # The subtraction happens in float32 whatever the layer's precision: bfloat16 has the
        # 256 grey levels, but not a mean between two of them.
        super().__init__(autocast=False, trainable=False, **options)
        self.colour = tuple(colour)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Add the mean image, (height, width, channels)."""

        def plain(shape: tuple[int, ...], dtype: Any = None) -> Any:
            return ops.convert_to_tensor(np.full(shape, self.colour), dtype=dtype)

        self.mean = self.add_weight(
            shape=input_shape[1:],
            initializer=plain,
            trainable=False,
            autocast=False,
            name="mean",
        )

    def call(self, images: Any) -> Any:
        """Subtract from ``images`` (batch, height, width, channels)."""
        return ops.cast(ops.cast(images, "float32") - self.mean, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what makes this layer again."""
        config = super().get_config()
        config.pop("trainable", None)
        return {**config, "colour": self.colour}

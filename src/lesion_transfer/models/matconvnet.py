"""Reading the networks that MatConvNet released, ``imagenet-vgg-m.mat`` and its kin.

A SimpleNN file (Vedaldi & Lenc 2015) is a MATLAB structure with a cell of layers and the mean
image. Both generations of it are read: ``filters`` and ``biases`` with ``normalization`` beside the
layers, and ``weights`` with ``meta.normalization``. Values that a file leaves out are those of
``vl_simplenn_tidy``. SciPy's reader builds arrays and runs nothing from the file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from lesion_transfer.errors import UserError

PRETRAINED = "https://www.vlfeat.org/matconvnet/models/"
"""Where the released files are."""

Array = npt.NDArray[np.float32]

# They compute nothing at inference, or come after the features.
_IGNORED = frozenset({"dropout", "softmax", "softmaxloss"})
_LRN_DEFAULT = (5.0, 1.0, 0.0001 / 5, 0.75)


@dataclass(frozen=True, slots=True)
class ReleasedLayer:
    """A convolution, a pooling or a response normalisation.

    Attributes
    ----------
    name, kind
        As in the file; ``kind`` is ``conv``, ``pool`` or ``normalize``.
    window
        Height and width of what a unit sees of its input; None for ``normalize``.
    stride
        Vertical and horizontal.
    pad
        Rows above and below, columns left and right.
    rectified
        Whether a rectifier follows.
    filters, biases
        Of a convolution, float32: (height, width, inputs, outputs), and (outputs,).
    lrn
        n, k, alpha and beta of a ``normalize``.
    """

    name: str
    kind: str
    window: tuple[int, int] | None = None
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    rectified: bool = False
    filters: Array | None = None
    biases: Array | None = None
    lrn: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class ReleasedNetwork:
    """A chain of layers, and the mean of the pictures it was trained on.

    Attributes
    ----------
    path
        The file.
    mean
        RGB, 0–255, float32: an image (height, width, 3) or a colour (3,).
    """

    path: Path
    layers: tuple[ReleasedLayer, ...]
    mean: Array


def read_matconvnet(path: Path) -> ReleasedNetwork:
    """Read a released SimpleNN network.

    Raises
    ------
    UserError
        The file is no MATLAB file, or holds no such network.
    """
    try:
        content = scipy.io.loadmat(path, struct_as_record=False, appendmat=False)
    except NotImplementedError as error:
        raise _unusable(path, "it is a MATLAB 7.3 file, the released ones are older") from error
    except Exception as error:  # SciPy's parser fails in any way on a damaged file
        raise _unusable(path, str(error)) from error
    try:
        root = _only(content["net"]) if "net" in content else content
        meta = _get(root, "meta")
        normalization = _get(meta, "normalization") or _get(root, "normalization")
        mean = _mean(_get(normalization, "averageImage", raw=True))
        layers = _layers([_only(cell) for cell in _get(root, "layers", raw=True).ravel()])
    except (AttributeError, KeyError, ValueError, TypeError, IndexError) as error:
        raise _unusable(path, f"it is not laid out as a SimpleNN network ({error})") from error
    return ReleasedNetwork(path, layers, mean)


def _layers(cells: list[Any]) -> tuple[ReleasedLayer, ...]:
    layers: list[ReleasedLayer] = []
    for cell in cells:
        kind, name = _text(_get(cell, "type", raw=True)), _text(_get(cell, "name", raw=True))
        match kind:
            case "conv":
                layers.append(_convolution(cell, name))
            case "pool":
                if _text(_get(cell, "method", raw=True), "max") != "max":
                    raise ValueError(f"layer {name!r} pools by another rule than the maximum")
                height, width = _numbers(cell, "pool", (1, 1), 2)
                layers.append(ReleasedLayer(name, kind, (height, width), *_steps(cell)))
            case "normalize" | "lrn":
                param = _get(cell, "param", raw=True)
                lrn = _LRN_DEFAULT if param is None else tuple(map(float, param.ravel()))
                layers.append(ReleasedLayer(name, "normalize", lrn=lrn))
            case "relu":
                layers[-1] = replace(layers[-1], rectified=True)
            case _ if kind not in _IGNORED:
                raise ValueError(f"layer {name!r} is of type {kind!r}")
    return tuple(layers)


def _convolution(cell: Any, name: str) -> ReleasedLayer:
    weights = _get(cell, "weights", raw=True)
    if weights is None:
        weights = [_get(cell, "filters", raw=True), _get(cell, "biases", raw=True)]
    else:
        weights = list(weights.ravel())
    if any(array is None for array in weights):
        raise ValueError(f"layer {name!r} has no weights")
    filters, biases = (np.asarray(array, np.float32) for array in weights)
    shape = (*filters.shape, 1, 1, 1)[:4]  # MATLAB drops the last axes where they are 1
    stride, pad = _steps(cell)
    return ReleasedLayer(
        name,
        "conv",
        window=shape[:2],
        stride=stride,
        pad=pad,
        filters=filters.reshape(shape),
        biases=biases.ravel(),
    )


def _steps(cell: Any) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    stride = _numbers(cell, "stride", (1, 1), 2)
    pad = _numbers(cell, "pad", (0, 0, 0, 0), 4)
    return (stride[0], stride[1]), (pad[0], pad[1], pad[2], pad[3])


def _mean(value: Any) -> Array:
    mean = np.asarray(value, np.float32)
    if mean.size == 3:
        return mean.reshape(3)
    if mean.ndim == 3 and mean.shape[2] == 3:
        return mean
    raise ValueError(f"averageImage has shape {mean.shape}, not (height, width, 3) or (3,)")


# --- MATLAB's nested structures -------------------------------------------------------------------


def _only(value: Any) -> Any:
    """Take a scalar structure or cell out of the 1×1 arrays that SciPy wraps it in."""
    while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.item()
    return value


def _get(holder: Any, field: str, *, raw: bool = False) -> Any:
    """Return a field of a structure, or None; ``raw`` keeps its array."""
    if holder is None:
        return None
    value = holder.get(field) if isinstance(holder, dict) else getattr(holder, field, None)
    return value if raw else _only(value)


def _text(value: Any, default: str = "") -> str:
    return default if value is None or np.size(value) == 0 else str(np.ravel(value)[0])


def _numbers(cell: Any, field: str, default: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return ``count`` whole numbers; the file may give one for all of them."""
    value = _get(cell, field, raw=True)
    if value is None or np.size(value) == 0:
        return default
    given = np.ravel(value)
    return tuple(int(number) for number in (np.repeat(given, count) if given.size == 1 else given))


def _unusable(path: Path, reason: str) -> UserError:
    return UserError(
        f"the weights file {path} cannot be used: {reason}",
        expected="a network that MatConvNet released: imagenet-vgg-m.mat, "
        "imagenet-vgg-verydeep-16.mat or imagenet-vgg-verydeep-19.mat",
        next_step=f"download it again from {PRETRAINED}",
    )

"""Files laid out as MatConvNet's released ones, and what its layers compute, in plain NumPy."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

Layer = dict[str, Any]


def conv(name: str, shape: tuple[int, ...], stride: int = 1, pad: Any = 0) -> Layer:
    """A convolution of random filters (height, width, inputs, outputs) and biases."""
    rng = np.random.default_rng(sum(map(ord, name)))
    spread = np.sqrt(2 / np.prod(shape[:3]))
    filters = rng.normal(0, spread, shape).astype(np.float32)
    biases = rng.normal(0, 0.5, shape[3]).astype(np.float32)
    return {
        "type": "conv",
        "name": name,
        "weights": [filters, biases],
        "stride": [stride, stride],
        "pad": [pad] * 4 if np.isscalar(pad) else pad,
    }


def relu(name: str) -> Layer:
    return {"type": "relu", "name": name}


def pool(name: str, window: int = 3, pad: Any = (0, 0, 0, 0)) -> Layer:
    return {
        "type": "pool",
        "name": name,
        "method": "max",
        "pool": [window, window],
        "stride": [2, 2],
        "pad": list(pad),
    }


def normalize(name: str) -> Layer:
    return {"type": "normalize", "name": name, "param": [5, 2, 1e-4, 0.75]}


def vgg_m(map_side: int, units: int) -> list[Layer]:
    """The layers of imagenet-vgg-m.mat, for images whose last map has this side."""
    return [
        conv("conv1", (7, 7, 3, 96), stride=2),
        relu("relu1"),
        normalize("norm1"),
        pool("pool1"),
        conv("conv2", (5, 5, 96, 256), stride=2, pad=1),
        relu("relu2"),
        normalize("norm2"),
        pool("pool2", pad=(0, 1, 0, 1)),
        conv("conv3", (3, 3, 256, 512), pad=1),
        relu("relu3"),
        conv("conv4", (3, 3, 512, 512), pad=1),
        relu("relu4"),
        conv("conv5", (3, 3, 512, 512), pad=1),
        relu("relu5"),
        pool("pool5"),
        conv("fc6", (map_side, map_side, 512, units)),
        relu("relu6"),
        conv("fc7", (1, 1, units, units)),
        relu("relu7"),
        conv("fc8", (1, 1, units, 10)),
        {"type": "softmax", "name": "prob"},
    ]


def very_deep(blocks: Sequence[int], map_side: int) -> list[Layer]:
    """The layers of imagenet-vgg-verydeep-*.mat; ``blocks`` are the convolutions in each."""
    layers, channels = [], 3
    for number, (count, width) in enumerate(
        zip(blocks, (64, 128, 256, 512, 512), strict=True), start=1
    ):
        for i in range(1, count + 1):
            layers += [
                conv(f"conv{number}_{i}", (3, 3, channels, width), pad=1),
                relu(f"relu{number}_{i}"),
            ]
            channels = width
        layers.append(pool(f"pool{number}", window=2))
    return [
        *layers,
        conv("fc6", (map_side, map_side, 512, 4096)),
        relu("relu6"),
        conv("fc7", (1, 1, 4096, 4096)),
        relu("relu7"),
    ]


# --- files ---------------------------------------------------------------------------------------


def _cell(values: Sequence[Any]) -> np.ndarray:
    cell = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        cell[0, i] = value
    return cell


def write(
    path: Path,
    layers: Sequence[Layer],
    mean: np.ndarray,
    old: bool = False,
    change: Callable[[dict[str, Any]], object] = lambda content: None,
) -> Path:
    """Write a SimpleNN file, of the layout of 2015 and later or of the older one."""
    structures = []
    for layer in layers:
        values = dict(layer)
        if "weights" in values:
            filters, biases = values.pop("weights")
            row = biases[None]  # MATLAB has no vectors: a row
            new = {"weights": _cell([filters, row])}
            values |= {"filters": filters, "biases": row} if old else new
        for name in ("stride", "pad", "pool", "param"):
            if name in values:
                values[name] = np.array(values[name], float)[None]
        structures.append(values)
    normalization = {
        "imageSize": np.array([[224.0, 224, 3]]),
        "averageImage": mean.astype(np.float32),
        "interpolation": "bicubic",
    }
    classes = {"name": _cell(["n01440764"]), "description": _cell(["tench"])}
    content: dict[str, Any] = {"layers": _cell(structures)}
    if old:
        content |= {"normalization": normalization, "classes": classes}
    else:
        content["meta"] = {"normalization": normalization, "classes": classes}
    change(content)
    scipy.io.savemat(path, content)
    return path


# --- what the layers compute ---------------------------------------------------------------------


def forward(layers: Sequence[Layer], images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs (batch, height, width, channels) of each layer, in float64, by its name."""
    outputs, x = {}, images.astype(np.float64)
    for layer in layers:
        match layer["type"]:
            case "conv":
                filters, biases = layer["weights"]
                seen = _windows(x, filters.shape[:2], layer["stride"], layer["pad"], 0)
                x = np.einsum("bijchw,hwco->bijo", seen, filters, optimize=True) + biases
            case "pool":
                x = _windows(x, layer["pool"], layer["stride"], layer["pad"], -np.inf)
                x = x.max(axis=(4, 5))
            case "relu":
                x = np.maximum(x, 0)
            case "normalize":
                n, k, alpha, beta = layer["param"]
                reach = n // 2
                squares = np.pad(x**2, ((0, 0), (0, 0), (0, 0), (reach, reach)))
                sums = np.lib.stride_tricks.sliding_window_view(squares, n, axis=3).sum(axis=-1)
                x = x / (k + alpha * sums) ** beta
        outputs[layer["name"]] = x
    return outputs


def _windows(x: np.ndarray, window: Any, stride: Any, pad: Any, filler: float) -> np.ndarray:
    top, bottom, left, right = pad
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=filler)
    seen = np.lib.stride_tricks.sliding_window_view(padded, tuple(window), axis=(1, 2))
    return seen[:, :: stride[0], :: stride[1]]

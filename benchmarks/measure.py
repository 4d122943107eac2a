"""What the benchmarks of networks share: noise, a run to log to, medians, the machine's peak."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lesion_transfer.tracking import Kind, Run, Tracker, Unit


class Clock:
    """A function, and the seconds that its calls took."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.seconds = 0.0

    def __call__(self, *given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return self.function(*given, **named)
        finally:
            self.seconds += time.perf_counter() - began


@contextmanager
def tracked_fold() -> Iterator[tuple[Path, Run]]:
    """Yield a temporary folder and an open run of a tracking database in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tracker = Tracker({"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"})
        with tracker.open(Unit(Kind.FOLD, "benchmark", "fold", "Trained for its time.")) as run:
            yield folder, run


def noise(count: int, side: int) -> np.ndarray:
    """Random pixels, (count, side, side, 3) uint8: as hard to move as any."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def alternately(contestants: dict[str, Callable[[], int]], repeats: int) -> dict[str, float]:
    """Median images per second of each, run in turns so that all meet the same machine.

    Each contestant runs once before, for compilation, and returns how many images it handled.
    """
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, run in contestants.items():
            began = time.perf_counter()
            images = run()
            if turn:
                speeds[name].append(images / (time.perf_counter() - began))
    return {name: float(np.median(values)) for name, values in speeds.items()}


def forward_flops(network: keras.Model) -> float:
    """Floating-point operations of one image's forward pass, in convolutions and dense layers."""
    total = 0.0
    for layer in network.layers:
        if isinstance(layer, keras.Model):  # on its own it may take images of any size
            image = keras.Input(network.input_shape[1:])
            total += forward_flops(keras.models.clone_model(layer, input_tensors=image))
            continue
        kernel = getattr(layer, "kernel", None)
        if kernel is None or isinstance(layer, keras.layers.InputLayer):
            continue
        places = 1
        if len(layer.output.shape) == 4:
            places = layer.output.shape[1] * layer.output.shape[2]
        total += 2.0 * places * float(np.prod(kernel.shape))
    return total


def matrix_peak(size: int = 3072) -> float:
    """Floating-point operations per second of a float32 matrix product on this backend."""
    a = keras.ops.convert_to_tensor(np.random.default_rng(0).random((size, size), np.float32))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        np.asarray(keras.ops.convert_to_numpy(keras.ops.matmul(a, a)[0, 0]))
        times.append(time.perf_counter() - began)
    return 2.0 * size**3 / min(times)


def report(speeds: dict[str, float], reference: str, flops: float, peak: float) -> None:
    """Print each speed, its ratio to the reference's, and its share of the peak."""
    print(f"{'':34} images/s  ratio  share of the matrix product's peak")
    for name, speed in speeds.items():
        print(
            f"{name:34} {speed:8.1f}  {speed / speeds[reference]:5.2f}  {speed * flops / peak:.0%}"
        )


def device_memory() -> str:
    """Return the peak memory in use on the accelerator so far, in words."""
    match keras.backend.backend():
        case "torch":
            import torch

            peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
        case "jax":
            import jax

            peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        case _:
            import tensorflow as tf

            gpus = tf.config.list_logical_devices("GPU")
            peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] if gpus else None
    return "no accelerator" if peak is None else f"{peak / 2**30:.2f} GiB"

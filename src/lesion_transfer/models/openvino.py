"""OpenVINO: a faster way to a network's outputs on a processor, where the package is installed."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from lesion_transfer.errors import UserError
from lesion_transfer.models.precision import Precision


class OpenVinoNetwork:
    """A Keras network, of TensorFlow or PyTorch, that OpenVINO computes on the processor.

    Parameters
    ----------
    network
        (batch, size, size, 3) RGB 0–255 → (batch, d). Later changes of its weights change nothing
        here.
    precision
        Of the computation; features are float32 in either.
    batch_size
        Of every batch that is to come: it is compiled for that size.

    Raises
    ------
    UserError
        The package is missing, Keras runs on JAX, or bfloat16 is asked of a processor that has
        none.
    """

    def __init__(self, network: keras.Model, precision: Precision, batch_size: int) -> None:
        openvino = check_openvino(precision)
        core = openvino.Core()
        pictures = keras.InputSpec(shape=(batch_size, *network.input_shape[1:]), dtype="float32")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "network.xml")
            network.export(str(path), format="openvino", verbose=False, input_signature=[pictures])
            bytes_in = openvino.preprocess.PrePostProcessor(core.read_model(path))
            bytes_in.input().tensor().set_element_type(openvino.Type.u8)
            hint = "bf16" if precision == "bfloat16" else "f32"
            self._compiled = core.compile_model(
                bytes_in.build(), "CPU", {"INFERENCE_PRECISION_HINT": hint}
            )

    def predict_on_batch(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the outputs (batch, d) for pictures (batch, size, size, 3)."""
        found: npt.NDArray[np.float32] = self._compiled(images)[0].copy()  # its next answer's place
        return found


def check_openvino(precision: Precision) -> Any:
    """Return the package, after a look at whether it can do what is asked of it here.

    Raises
    ------
    UserError
        As for :class:`OpenVinoNetwork`.
    """
    if keras.backend.backend() == "jax":
        raise UserError(
            "extraction.runtime=openvino: OpenVINO cannot read what JAX has traced",
            expected="KERAS_BACKEND=tensorflow or torch",
            next_step="set one of these, or extraction.runtime: keras in the protocol",
        )
    # Imported, OpenVINO reports to its makers unless this package of theirs is out of reach.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
        import openvino.preprocess
    except ImportError as error:
        raise UserError(
            f"extraction.runtime=openvino: the package openvino cannot be imported ({error})",
            next_step="pip install -e '.[openvino]', or set extraction.runtime: keras in the "
            "protocol",
        ) from error
    known = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and "BF16" not in known:
        raise UserError(
            "extraction.runtime=openvino: this processor does not compute in bfloat16",
            expected="AVX-512 BF16, AMX or Arm's BF16; it offers " + ", ".join(known),
            next_step="set extraction.precision: float32 in the protocol",
        )
    return openvino

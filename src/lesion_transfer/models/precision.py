"""The same network with another arithmetic: float32 weights, bfloat16 computation."""

from __future__ import annotations

from typing import Any, Literal

import keras

from lesion_transfer.models.transfer import set_weights

Precision = Literal["float32", "bfloat16"]


def in_precision(network: keras.Model, precision: Precision) -> keras.Model:
    """Return ``network``, or a copy that computes in bfloat16 and keeps its weights in float32.

    The copy has variables of its own, in the same order, with the same values. Inputs stay as they
    are: whole numbers up to 256 are exact in bfloat16.
    """
    if precision == "float32":
        return network
    copy = network.__class__.from_config(_mixed(network.get_config()))
    set_weights(copy, network.get_weights())
    return copy


def _mixed(config: Any) -> Any:
    """Replace the float32 policy of every layer in a configuration."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            policy = {"name": "mixed_bfloat16"}
            return {**config, "config": {**config["config"], **policy}}
        return {name: _mixed(value) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_mixed(value) for value in config)
    return config

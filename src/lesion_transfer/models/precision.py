"""The same network with another arithmetic: float32 weights, bfloat16 computation."""

from __future__ import annotations

from typing import Any, Literal

import keras

from lesion_transfer.models.transfer import set_weights

Precision = Literal["float32", "bfloat16"]


POLICIES: dict[Precision, str] = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
"""Keras' name of each."""

_FLOATING = frozenset({"float32", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"})


def in_precision(network: keras.Model, precision: Precision) -> keras.Model:
    """Return ``network``, if it computes so already, or a copy that does; weights are float32.

    The copy has variables of its own, in the same order, with the same values. Inputs stay as they
    are: whole numbers up to 256 are exact in bfloat16.
    """
    policy = POLICIES[precision]
    found = {layer.dtype_policy.name for layer in network._flatten_layers()} & _FLOATING
    if found <= {policy}:
        return network
    copy = network.__class__.from_config(_replaced(network.get_config(), policy))
    set_weights(copy, network.get_weights())
    return copy


def _replaced(config: Any, policy: str) -> Any:
    """Replace the floating-point policy of every layer in a configuration."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and config["config"]["name"] in _FLOATING:
            return {**config, "config": {**config["config"], "name": policy}}
        return {name: _replaced(value, policy) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_replaced(value, policy) for value in config)
    return config

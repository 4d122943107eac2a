"""Model files from anywhere: read without trusting them, and known by their content."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import keras

# Registered when imported: a file may hold these layers.
import lesion_transfer.models.normalization
import lesion_transfer.models.scaling  # noqa: F401
from lesion_transfer.errors import UserError

LONGEST = 1000
"""Characters of Keras' reason that fit on one screen with the rest of the message."""


def load_network(path: Path) -> keras.Model:
    """Read a Keras model file, without its optimiser and without running code from it.

    Raises
    ------
    UserError
        The file is missing, unreadable, or its weights do not fit its layers.
    """
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged archive makes its readers fail in any way
        raise UserError(
            f"the model file {path} cannot be used: {reason(error)}",
            expected="a Keras 3 model file (.keras) whose weights fit its layers",
            next_step="save it again with model.save('….keras'), or give another file",
        ) from error


def reason(error: Exception) -> str:
    """Return what Keras said of weights that do not fit, without the weights' own values."""
    said = re.sub(r", value=.*?\]>", ">", str(error), flags=re.DOTALL)
    said = re.sub(r"torch\.Size\(\[(.*?)\]\)", r"(\1)", said)
    return said if len(said) <= LONGEST else f"{said[:LONGEST]} …"


def file_digest(path: Path, parameter: str, expected: str) -> str:
    """SHA-256 (64 hexadecimal digits) of a file's content.

    Parameters
    ----------
    path
        The file.
    parameter, expected
        What the user gave it as, and what it should have been: words of the error.

    Raises
    ------
    UserError
        There is no such file, or it cannot be read.
    """
    if not path.is_file():
        raise UserError(f"{parameter}={path}: there is no such file", expected=expected)
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{parameter}={path} cannot be read: {error}", expected=expected) from error

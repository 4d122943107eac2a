"""Model and weights files, from wherever a parameter names them."""

from __future__ import annotations

from pathlib import Path

from lesion_transfer.data.s3 import fetch_s3
from lesion_transfer.data.web import fetch_web
from lesion_transfer.errors import UserError
from lesion_transfer.stages.workspace import Workspace
from lesion_transfer.study import is_stored


def model_file(ws: Workspace, name: str, parameter: str) -> Path:
    """Return the local copy of a file.

    Parameters
    ----------
    ws
        Its cache keeps what is fetched, its tracker knows the registry.
    name
        A path, ``https://…`` (which may end in ``#sha256=<hex>``), ``s3://bucket/key``, or
        ``models:/…`` and ``runs:/…``, which name a Keras model or the folder of one.
    parameter
        Which of the user's parameters it is, for the message of an error.

    Raises
    ------
    UserError
        It cannot be fetched, or holds no single Keras model. A path is not looked at.
    """
    if is_stored(name):
        path = ws.tracker.download(name)
        files = [path] if path.is_file() else sorted(path.rglob("*.keras"))
        if len(files) != 1:
            raise UserError(
                f"{parameter}={name} holds {len(files)} Keras model files",
                expected="exactly one; for a run, runs:/<run id>/<path of the .keras file>",
            )
        return files[0]
    if name.startswith("s3://"):
        return fetch_s3(name, ws.cache / "files")
    if name.startswith(("https://", "http://")):
        return fetch_web(name, ws.cache / "files")
    if "://" in name:
        raise UserError(
            f"{parameter}={name} cannot be fetched from there",
            expected="a path, https://…, s3://bucket/key, models:/<name>@<alias> or "
            "runs:/<run id>/<file>",
            next_step="download the file and give its path",
        )
    return Path(name).expanduser()

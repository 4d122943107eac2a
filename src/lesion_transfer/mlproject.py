"""Write the files that repeat what the code already says: run ``make mlproject``.

``MLproject`` and ``docs/parameters.md`` follow from the request models, ``conda.yaml`` from
``requirements.lock``. With ``--check`` nothing is written and a stale file is an error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

from lesion_transfer.entry import mlflow_command
from lesion_transfer.parameters import Group, Parameter, groups, parameters
from lesion_transfer.stages.request import Request
from lesion_transfer.stages.requests import ENTRY_POINTS


def generated(root: Path) -> dict[Path, str]:
    """Return each generated file of the repository at ``root``, and what it should hold."""
    lock = (root / "requirements.lock").read_bytes()
    return {
        root / "MLproject": mlproject_text(),
        root / "conda.yaml": conda_text(lock),
        root / "docs" / "parameters.md": parameters_text(),
    }


# --- MLproject -----------------------------------------------------------------------------------


def mlproject_text() -> str:
    """Return the MLflow project file: every entry point with all its parameters."""
    entries = "\n".join(_entry_point(name, kind) for name, kind in ENTRY_POINTS.items())
    return (
        "# Made from src/lesion_transfer/stages/requests.py by `make mlproject`; do not edit.\n"
        f"name: lesion_transfer\n\nconda_env: conda.yaml\n\nentry_points:\n{entries}"
    )


def _entry_point(name: str, request_type: type[Request]) -> str:
    known = parameters(request_type)
    declarations = "".join(f"      {_declaration(parameter)}\n" for parameter in known)
    # MLflow quotes the values for the shell; --name=value lets a value begin with a dash.
    options = "".join(f"      --{parameter.name}={{{parameter.name}}}\n" for parameter in known)
    return (
        f"  # {request_type.summary}\n"
        f"  {name}:\n    parameters:\n{declarations}"
        f"    command: >-\n      PYTHONPATH=src python entry_points/{name}.py\n{options}"
    )


def _declaration(parameter: Parameter) -> str:
    # MLflow's `path` type demands that the path exists, which an output folder need not.
    kind = "float" if parameter.numeric else "string"
    default = json.dumps(parameter.default, ensure_ascii=False)
    return f"{parameter.name}: {{type: {kind}, default: {default}}}"


# --- conda.yaml ----------------------------------------------------------------------------------


def conda_text(lock: bytes) -> str:
    """Return the Conda environment: Python, and the locked requirements.

    MLflow names an environment by a digest of this file alone, so the file carries the lock's own
    digest: a changed lock makes a new environment instead of reusing a stale one.
    """
    return (
        "# Made from requirements.lock by `make mlproject`; do not edit.\n"
        f"# requirements.lock sha256 {hashlib.sha256(lock).hexdigest()}\n"
        "channels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n"
        "  - pip:\n      - -r requirements.lock\n"
    )


# --- docs/parameters.md --------------------------------------------------------------------------


def parameters_text() -> str:
    """Return the reference of all parameters: the entry points, then every group once."""
    uses = Counter(group for kind in ENTRY_POINTS.values() for group in groups(kind))
    sections = [
        "<!-- Made from stages/requests.py by `make mlproject`; do not edit. -->",
        "# Parameters",
        "Give them as `-P name=value` to `mlflow run .`, or as `--name value` to "
        "`python -m lesion_transfer ENTRY_POINT`. An empty value means: not given.",
        *(_entry_section(name, kind) for name, kind in ENTRY_POINTS.items()),
        # What one entry point alone takes first, what all of them take last.
        *(_group_section(group) for group in sorted(uses, key=lambda group: uses[group])),
    ]
    return "\n\n".join(sections) + "\n"


def _entry_section(name: str, request_type: type[Request]) -> str:
    links = "\n".join(
        f"- [{group.title}](#{_anchor(group.title)})" for group in groups(request_type)
    )
    return (
        f"## `{name}`\n\n{request_type.summary}\n\n"
        f"```\n{mlflow_command(name)}\n```\n\nParameters:\n\n{links}"
    )


def _group_section(group: Group) -> str:
    rows = "\n".join(_row(parameter) for parameter in group.parameters)
    return f"## {group.title}\n\n| parameter | default | meaning |\n|---|---|---|\n{rows}"


def _row(parameter: Parameter) -> str:
    default = f"`{parameter.default}`" if parameter.default else "not given"
    choices = "".join(f", `{choice}`" for choice in parameter.choices)
    meaning = parameter.description + (f"; one of {choices[2:]}" if choices else "")
    return f"| `{parameter.name}` | {default} | {meaning} |".replace("\n", " ")


def _anchor(title: str) -> str:
    """Return the anchor that Markdown viewers make of a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


# --- command -------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Write the files that are stale, or only name them; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail when stale")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: here)")
    options = parser.parse_args(argv)
    stale = {
        path: text
        for path, text in generated(options.root).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    }
    for path, text in stale.items():
        if options.check:
            print(f"{path} is stale; run: make mlproject", file=sys.stderr)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())

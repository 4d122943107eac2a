import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from lesion_transfer.cli import parse
from lesion_transfer.mlproject import conda_text, generated, main, mlproject_text
from lesion_transfer.parameters import parameters
from lesion_transfer.stages.compare_request import CompareRequest
from lesion_transfer.stages.requests import ENTRY_POINTS

ROOT = Path(__file__).resolve().parents[1]

AWKWARD = ["a b", "", "it's", '"q"', "$HOME", "`id`", "a;b", "-x", "*", "{0}", "a\\b", "é ü"]


@pytest.fixture(scope="module")
def project():
    from mlflow.projects._project_spec import load_project

    return load_project(str(ROOT))


@pytest.mark.parametrize("path", generated(ROOT), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path):
    assert path.read_text(encoding="utf-8") == generated(ROOT)[path], "run: make mlproject"


def test_check_names_what_is_stale(tmp_path, capsys):
    (tmp_path / "requirements.lock").write_text("numpy==2.0.0\n")
    assert main(["--root", str(tmp_path), "--check"]) == 1
    assert "MLproject is stale; run: make mlproject" in capsys.readouterr().err
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--root", str(tmp_path), "--check"]) == 0
    (tmp_path / "requirements.lock").write_text("numpy==2.0.1\n")
    assert main(["--root", str(tmp_path), "--check"]) == 1


def test_every_entry_point_has_its_file_and_all_parameters(project):
    assert project.name == "lesion_transfer"
    for name, request_type in ENTRY_POINTS.items():
        entry = project.get_entry_point(name)
        assert (ROOT / "entry_points" / f"{name}.py").is_file()
        assert list(entry.parameters) == [known.name for known in parameters(request_type)]


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_the_command_without_values_is_the_default_request(project, name):
    line = project.get_entry_point(name).compute_command({}, None)
    assignment, python, script, *arguments = shlex.split(line)
    assert (assignment, python, script) == ("PYTHONPATH=src", "python", f"entry_points/{name}.py")
    assert parse(ENTRY_POINTS[name], arguments) == parse(ENTRY_POINTS[name], [])


@pytest.mark.parametrize("value", AWKWARD)
def test_values_survive_the_quoting(project, value):
    line = project.get_entry_point("compare").compute_command({"dataset": value}, None)
    assert parse(CompareRequest, shlex.split(line)[3:]).dataset == (value or None)


@pytest.mark.slow
def test_values_survive_mlflow_run(tmp_path, monkeypatch):
    import mlflow

    (tmp_path / "MLproject").write_text(mlproject_text(), encoding="utf-8")
    (tmp_path / "conda.yaml").write_text(conda_text(b""), encoding="utf-8")
    shutil.copytree(ROOT / "src" / "lesion_transfer", tmp_path / "src" / "lesion_transfer")
    (tmp_path / "entry_points").mkdir()
    (tmp_path / "entry_points" / "compare.py").write_text(
        "import json, pathlib, sys\n"
        "from lesion_transfer.cli import parse\n"
        "from lesion_transfer.stages.compare_request import CompareRequest\n"
        "request = parse(CompareRequest, sys.argv[1:])\n"
        "pathlib.Path('got.json').write_text(request.model_dump_json())\n"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    values = {"dataset": 'it\'s "a b" $HOME', "models": "", "backbone": "-x", "out": "my table"}
    mlflow.projects.run(
        str(tmp_path), entry_point="compare", parameters=values, env_manager="local"
    )
    got = json.loads((tmp_path / "got.json").read_text())
    assert {name: got[name] for name in values} == values | {"models": None}


def test_conda_installs_the_lock_and_nothing_else():
    environment = yaml.safe_load((ROOT / "conda.yaml").read_text())
    assert environment["dependencies"] == ["python=3.11", "pip", {"pip": ["-r requirements.lock"]}]


def test_a_new_lock_makes_a_new_conda_environment():
    assert conda_text(b"a") != conda_text(b"b")


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_hold_hashes_and_no_address(lock):
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "find-links" not in text
    requirements = [line for line in text.splitlines() if "==" in line]
    assert requirements
    assert all(line.endswith("\\") for line in requirements), "a requirement without a hash"

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, get_type_hints

import pytest
from pydantic import Field
from rich.text import Text

from lesion_transfer.cli import main, parse
from lesion_transfer.entry import EXAMPLES, STAGES, mlflow_command, stage
from lesion_transfer.errors import UserError
from lesion_transfer.outcome import show
from lesion_transfer.parameters import groups, parameters
from lesion_transfer.stages.compare_request import CompareRequest
from lesion_transfer.stages.request import Request
from lesion_transfer.stages.requests import ENTRY_POINTS, FinetuneRequest

ROOT = Path(__file__).resolve().parents[1]


def command(*arguments, **options):
    environment = os.environ | {"PYTHONPATH": "src", "COLUMNS": "80"} | options.pop("env", {})
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a b",
        "'q'",
        '"q"',
        "[1,2]",
        '{"a":1}',
        "null",
        "None",
        "1,2",
        "-x",
        "$HOME",
        "a=b",
        "é",
        "\\",
    ],
)
def test_text_arrives_as_typed(text):
    assert parse(CompareRequest, [f"--dataset={text}"]).dataset == text


def test_an_empty_value_is_not_given():
    arguments = [f"--{parameter.name}=" for parameter in parameters(FinetuneRequest)]
    assert parse(FinetuneRequest, arguments) == parse(FinetuneRequest, [])


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("True", True)])
def test_booleans_take_a_value(text, value):
    assert parse(CompareRequest, ["--force", text]).force is value


def test_the_environment_takes_no_part(monkeypatch):
    for name in ("dataset", "DATASET", "models", "MODELS"):
        monkeypatch.setenv(name, "stray")
    request = parse(CompareRequest, [])
    assert (request.dataset, request.models) == (None, None)


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_example_is_right(name):
    arguments = [f"--{pair}" for pair in EXAMPLES[name].split()]
    assert isinstance(parse(ENTRY_POINTS[name], arguments), ENTRY_POINTS[name])
    assert mlflow_command(name).startswith("mlflow run .")


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sourc", "imagenet"], ["parameter sourc", "source", "--help"]),
        (["--image-size=64"], ["image_size"]),
        (["--zzzz", "1"], ["no such parameter", "design", "debug"]),
        (["--designs"], ["no such parameter", "design"]),
        (["--design"], ["--design", "expected one argument"]),
        (["stray"], ["unexpected argument 'stray'", "--name value"]),
        (["--design", "x"], ["parameter design", "got 'x'", "melanoma_vs_benign"]),
        (["--image_size", "7"], ["image_size", "got '7'", "greater than or equal to 8"]),
        (["--epochs", "many"], ["epochs", "got 'many'", "expected a valid integer"]),
        (["--force", "maybe"], ["force", "got 'maybe'", "true or false"]),
        (["--source", "none+imagenet"], ["parameter source", "imagenet+retinopathy"]),
        (["--target", "isic"], ["parameter target", "'isic' is no data set", "isic2017"]),
    ],
)
def test_a_wrong_parameter_is_named(arguments, words, capsys):
    code = main(FinetuneRequest, lambda request: None, arguments, command="here")
    out, error = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert "Traceback" not in error
    assert "Next step: here --help" in error
    assert all(word in error for word in words), error


def test_all_wrong_parameters_are_named_at_once():
    with pytest.raises(UserError) as caught:
        parse(FinetuneRequest, ["--epochs=x", "--image_size=y"])
    assert "epochs" in str(caught.value)
    assert "image_size" in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (None, 0, ""),
        (UserError("a", expected="b", next_step="c"), 2, "error: a\nExpected: b\nNext step: c\n"),
        (KeyboardInterrupt(), 130, "the same command continues where it stopped"),
        (
            OSError("disk [full]\nmore"),
            1,
            "OSError: disk [full]\nNext step: run again with --debug",
        ),
        (RuntimeError(), 1, "RuntimeError: no further detail"),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_exit_codes(raised, code, words, debug, capsys):
    def run(request):
        if raised is not None:
            raise raised

    assert main(CompareRequest, run, [f"--debug={debug}"]) == code
    error = capsys.readouterr().err
    assert words.partition("\nNext step: run")[0] in error
    assert ("Traceback" in error) == (debug and raised is not None)
    assert ("--debug true" in error) == (code == 1 and not debug)


# --- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_help_reads_well(name, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as exit_:
        parse(ENTRY_POINTS[name], ["--help"], command="x", examples=["mlflow run ."])
    lines = capsys.readouterr().out.splitlines()
    assert exit_.value.code == 0
    assert lines[0].strip() == ENTRY_POINTS[name].summary
    assert "Example: mlflow run ." in lines
    assert max(map(len, lines)) <= columns
    assert not any(line.endswith("…") and "…" in line[-2:-1] for line in lines)
    shown = [line.split()[0] for line in lines if line.startswith("  --")]
    assert shown == [f"--{parameter.name}" for parameter in parameters(ENTRY_POINTS[name])]


class Small(Request):
    """First line. Not the second."""

    summary: ClassVar[str] = "Do little."
    size: int = Field(3, ge=1, description="100% of it")


def test_a_group_is_headed_by_its_class():
    assert [group.title for group in groups(Small)] == [
        "First line. Not the second",
        "What every stage accepts",
    ]


def test_percent_signs_are_harmless(capsys):
    with pytest.raises(SystemExit):
        parse(Small, ["--help"])
    assert "100% of it (default: 3)" in capsys.readouterr().out


# --- the processes -------------------------------------------------------------------------------


HEAVY = ("mlflow", "keras", "tensorflow", "sklearn", "pandas", "matplotlib")
"""Importing any of these takes seconds."""


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """An environment in which nothing heavy can be imported."""
    folder = tmp_path_factory.mktemp("light")
    for name in HEAVY:
        (folder / f"{name}.py").write_text("raise AssertionError(f'{__name__} is imported')")
    return {"PYTHONPATH": os.pathsep.join([str(folder), "src"])}


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_help_and_wrong_parameters_answer_at_once(name, light):
    helped = command(f"entry_points/{name}.py", "--help", env=light)
    refused = command("-m", "lesion_transfer", name, "--nothing", "1", env=light)
    assert (helped.returncode, refused.returncode) == (0, 2), helped.stderr + refused.stderr
    assert ENTRY_POINTS[name].summary.split()[0] in helped.stdout
    assert helped.stderr == refused.stdout == ""


def test_what_is_heavy_would_be_noticed(light):
    assert "keras is imported" in command("-c", "import keras", env=light).stderr


def test_the_package_lists_its_entry_points():
    done = command("-m", "lesion_transfer")
    assert done.returncode == 0
    for name in ENTRY_POINTS:
        assert f"  {name}" in done.stdout


def test_a_misspelt_entry_point_is_refused():
    done = command("-m", "lesion_transfer", "fintune")
    assert done.returncode == 2
    assert "Expected: finetune" in done.stderr


@pytest.mark.slow
def test_libraries_start_silently(tmp_path):
    script = (
        "from lesion_transfer.quiet import quiet_start\n"
        "quiet_start()\n"
        "import importlib.resources, mlflow, keras, tensorflow\n"
        f"mlflow.set_tracking_uri('sqlite:///{tmp_path}/mlflow.db')\n"
        "mlflow.set_experiment('quiet')\n"
        "assert importlib.resources.files('tensorflow').joinpath('__init__.py').is_file()\n"
    )
    done = command("-c", script, env={"KERAS_BACKEND": "tensorflow"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_failing_tensorflow_still_says_why(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'I0000 noise\\nreal trouble\\n')\nraise ImportError('broken')\n"
    )
    script = "from lesion_transfer.quiet import quiet_start; quiet_start(); import tensorflow"
    done = command("-c", script, env={"PYTHONPATH": f"{tmp_path}{os.pathsep}src"})
    assert done.returncode == 1
    assert "real trouble" in done.stderr
    assert "ImportError: broken" in done.stderr
    assert "noise" not in done.stderr


# --- the stages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_the_stage_takes_the_request_and_gives_an_outcome(name):
    hints = get_type_hints(stage(name))
    result = hints.pop("return")
    (accepted,) = hints.values()
    assert issubclass(ENTRY_POINTS[name], accepted)
    assert {"done", "where", "next_step"} <= set(dir(result))


def test_every_entry_point_has_its_stage_and_example():
    assert list(STAGES) == list(EXAMPLES) == list(ENTRY_POINTS)


@pytest.mark.parametrize("done", ["Logged [10] folds.", Text("Logged [10] folds.")])
def test_the_end_says_what_where_and_what_next(done, capsys):
    long = "/runs/[x]/" + 30 * "folder/"
    show(SimpleNamespace(done=done, where=long, next_step="go on"))
    assert capsys.readouterr().out == f"Logged [10] folds.\nWhere: {long}\nNext:  go on\n"


def test_nothing_is_said_of_an_end_without_place(capsys):
    show(SimpleNamespace(done="Done.", where="", next_step=""))
    assert capsys.readouterr().out == "Done.\n"

"""Model files that cannot be used: damaged, of nonsense, or out to do harm."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import keras
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from keras import layers
from networks import SIZE, same_weights, small_network

from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import load_network


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: b"this is no model",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-30],
        lambda content: content[len(content) // 2 :],
    ],
    ids=["empty", "text", "first half", "end cut off", "second half"],
)
def test_a_damaged_file_is_refused_by_name(file: Path, tmp_path: Path, spoil):
    path = tmp_path / "damaged.keras"
    path.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(UserError, match=r"damaged\.keras cannot be used") as raised:
        load_network(path)
    assert raised.value.next_step


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@example(place=0.9964202767757971, flip=1)  # the compression method of the last member
def test_a_flipped_byte_is_a_user_error_or_harmless(
    file: Path, model: keras.Model, tmp_path: Path, place: float, flip: int
):
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= flip
    path = tmp_path / "flipped.keras"
    path.write_bytes(content)
    try:
        loaded = load_network(path)
    except UserError as error:
        assert "flipped.keras cannot be used" in error.problem  # noqa: PT017
    else:
        assert same_weights(loaded, model)


def rewritten(file: Path, path: Path, **members: bytes) -> Path:
    """Copy a model file with members replaced, or left out where they are empty."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = members.get(name.partition(".")[0], old.read(name))
            if content:
                new.writestr(name, content)
    return path


@pytest.mark.parametrize("member", ["config", "model"])
def test_a_file_that_lacks_a_member_is_refused(file: Path, tmp_path: Path, member: str):
    path = rewritten(file, tmp_path / "lacking.keras", **{member: b""})
    with pytest.raises(UserError, match=r"lacking\.keras cannot be used"):
        load_network(path)


@pytest.mark.parametrize(
    "config", [b"{", b"[]", b"{}", b'{"module": "os", "class_name": "system"}']
)
def test_a_file_whose_architecture_is_nonsense_is_refused(
    file: Path, tmp_path: Path, config: bytes
):
    path = rewritten(file, tmp_path / "odd.keras", config=config)
    with pytest.raises(UserError, match=r"odd\.keras cannot be used"):
        load_network(path)


def test_weights_that_do_not_fit_are_refused_with_the_layer_and_both_shapes(
    file: Path, tmp_path: Path
):
    other = tmp_path / "other.keras"
    small_network(units=9).save(other)
    with zipfile.ZipFile(other) as archive:
        weights = archive.read("model.weights.h5")
    path = rewritten(file, tmp_path / "misfit.keras", model=weights)
    with pytest.raises(UserError, match=r"misfit\.keras cannot be used") as raised:
        load_network(path)
    for words in ("hidden", "(4, 6)", "(4, 9)"):
        assert words in raised.value.problem
    assert "0." not in raised.value.problem  # Keras adds the weights' values: screens of them


def test_no_weight_is_ever_missing_unnoticed(file: Path, model: keras.Model, tmp_path: Path):
    """Whatever the weights lack, the file is refused, or none of the network's were lacking."""
    with zipfile.ZipFile(file) as archive:
        content = archive.read("model.weights.h5")
    names: list[str] = []
    with h5py.File(io.BytesIO(content)) as weights:
        weights.visit(names.append)
    refused = 0
    for name in names:
        spoilt = io.BytesIO(content)
        with h5py.File(spoilt, "r+") as weights:
            del weights[name]
        path = rewritten(file, tmp_path / "bare.keras", model=spoilt.getvalue())
        try:
            assert same_weights(load_network(path), model), name
        except UserError:
            refused += 1
    assert refused >= len(model.weights)


def test_a_file_cannot_run_code(tmp_path: Path):
    image = keras.Input((SIZE, SIZE, 3))
    path = tmp_path / "lambda.keras"
    keras.Model(image, layers.Lambda(lambda x: x * 2, output_shape=(SIZE, SIZE, 3))(image)).save(
        path
    )
    with pytest.raises(UserError, match=r"lambda\.keras cannot be used.*[Ll]ambda"):
        load_network(path)


def test_a_class_from_anywhere_is_not_imported(file: Path, tmp_path: Path):
    with zipfile.ZipFile(file) as archive:
        config = json.loads(archive.read("config.json"))
    config["config"]["layers"][1] |= {
        "module": "subprocess",
        "class_name": "Popen",
        "registered_name": None,
        "config": {"args": ["touch", str(tmp_path / "witness")]},
    }
    path = rewritten(file, tmp_path / "evil.keras", config=json.dumps(config).encode())
    with pytest.raises(UserError, match=r"evil\.keras cannot be used"):
        load_network(path)
    assert not (tmp_path / "witness").exists()

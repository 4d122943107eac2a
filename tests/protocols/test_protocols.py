from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from lesion_transfer.errors import UserError
from lesion_transfer.protocols import PROTOCOL_FOLDER, Protocol, load_protocol

BUILT_IN = sorted(path.stem for path in PROTOCOL_FOLDER.glob("*.yaml"))


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A copy of the demo protocol, for spoiling."""
    path = tmp_path / "mine.yaml"
    path.write_text((PROTOCOL_FOLDER / "demo.yaml").read_text())
    return path


def spoilt(path: Path, change) -> str:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_the_promised_protocols_are_there():
    assert {"demo", "reimplementation", "paper", "modern"} <= set(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_protocol_loads_under_its_own_name(name: str):
    protocol = load_protocol(name)
    assert protocol.name == name
    assert protocol.repeats == 5
    assert Protocol.model_validate(protocol.model_dump()) == protocol


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_protocol_says_how_it_is_run(name: str):
    header = (PROTOCOL_FOLDER / f"{name}.yaml").read_text().split("\npreparation:")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert "mlflow run . " in header


def test_paper_is_as_published():
    paper = load_protocol("paper")
    training = paper.finetune
    assert paper.preparation.size == 224
    assert [step.step for step in paper.preparation.lesion] == ["trim_border", "centre_crop"]
    assert [step.step for step in paper.preparation.retina] == ["circle"]
    assert (training.optimizer, training.learning_rate, training.momentum) == ("sgd", 1e-3, 0.1)
    assert training.weight_decay == 2 * 5e-3  # the slope of an L2 of 5e-3 in the loss
    assert (training.batch_size, training.dropout, training.epochs) == (48, 0.5, 80)
    assert (training.balance, training.validation_share, training.select) == (True, 0.1, "best")
    change = training.augmentation
    assert (change.zoom, change.rotation, change.shear, change.flip) == (1.3, 360, 30, True)
    assert change.translation * 224 == pytest.approx(30, abs=0.1)
    assert tuple(10.0**k for k in range(-3, 5)) == paper.svm.C
    assert (paper.svm.shuffles, paper.svm.validation_share) == (10, 0.1)


def test_reimplementation_is_the_paper_with_60_epochs():
    theirs, paper = load_protocol("reimplementation"), load_protocol("paper")
    assert theirs.finetune.epochs == theirs.pretrain.epochs == 60
    update = {"epochs": paper.finetune.epochs}
    assert (
        theirs.model_copy(
            update={
                "name": "paper",
                "finetune": theirs.finetune.model_copy(update=update),
                "pretrain": theirs.pretrain.model_copy(update=update),
            }
        )
        == paper
    )


# --- overrides -----------------------------------------------------------------------------------


def test_none_changes_nothing():
    nothing = {"seed": None, "preparation": {"size": None}, "backbone": {"name": None}, "svm": {}}
    assert load_protocol("demo", nothing) == load_protocol("demo")


def test_overrides_replace_their_values_alone():
    demo = load_protocol("demo")
    changed = load_protocol("demo", {"seed": 7, "finetune": {"epochs": 3}, "svm": {"shuffles": 2}})
    assert (changed.seed, changed.finetune.epochs, changed.svm.shuffles) == (7, 3, 2)
    assert changed.pretrain == demo.pretrain
    assert changed.finetune.model_copy(update={"epochs": demo.finetune.epochs}) == demo.finetune
    assert changed.svm.C == demo.svm.C


def test_falsy_overrides_count(demo: Path):
    path = spoilt(demo, lambda content: content.update(seed=5))
    assert load_protocol(path).seed == 5
    assert load_protocol(path, {"seed": 0}).seed == 0


@pytest.mark.parametrize(
    ("overrides", "path"),
    [
        ({"sede": 1}, "sede"),
        ({"finetune": {"epoch": 3}}, "finetune.epoch"),
        ({"finetune": {"augmentation": {"rotate": 3}}}, "finetune.augmentation.rotate"),
    ],
)
def test_an_unknown_override_is_refused_with_its_path(overrides: dict, path: str):
    with pytest.raises(UserError, match=rf"  {path}: Extra inputs are not permitted"):
        load_protocol("demo", overrides)


# --- files ---------------------------------------------------------------------------------------


def test_a_file_is_named_after_itself_unless_it_says_otherwise(demo: Path):
    assert load_protocol(str(demo)).name == "mine"
    assert load_protocol(spoilt(demo, lambda content: content.update(name="x"))).name == "x"


def test_an_unknown_key_is_refused_with_its_path_and_the_file(demo: Path):
    path = spoilt(demo, lambda content: content["finetune"].update(learning_rat=1))
    with pytest.raises(UserError, match=r"finetune\.learning_rat: Extra inputs") as raised:
        load_protocol(path)
    assert path in raised.value.problem
    assert "demo.yaml" in raised.value.next_step


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("preparation", "size", 7),
        ("preparation", "lesion", [{"step": "centre_crop", "keep": 0}]),
        ("preparation", "retina", [{"step": "trim"}]),
        ("finetune", "epochs", 0),
        ("finetune", "learning_rate", -1),
        ("finetune", "optimizer", "adam"),
        ("finetune", "dropout", 1),
        ("finetune", "validation_share", 0.5),
        ("finetune", "ema", 1),
        ("finetune", "balance", "weight"),
        ("finetune", "layer_decay", 0),
        ("finetune", "layer_decay", 1.1),
        ("extraction", "views", 3),
        ("svm", "C", []),
        ("svm", "C", [0]),
        ("svm", "shuffles", 0),
    ],
)
def test_values_out_of_range_are_refused_with_their_path(
    demo: Path, section: str, key: str, value: object
):
    path = spoilt(demo, lambda content: content.setdefault(section, {}).update({key: value}))
    with pytest.raises(UserError, match=rf"{section}\.{key}.*\(got"):
        load_protocol(path)


def test_a_missing_section_is_named(demo: Path):
    with pytest.raises(UserError, match="backbone: Field required"):
        load_protocol(spoilt(demo, lambda content: content.pop("backbone")))


def test_a_missing_file_lists_the_protocols():
    with pytest.raises(UserError, match=r"protocol=nowhere\.yaml: no such protocol") as raised:
        load_protocol("nowhere.yaml")
    assert all(name in raised.value.expected for name in BUILT_IN)


def test_a_folder_is_no_protocol(tmp_path: Path):
    with pytest.raises(UserError, match="no file that can be read"):
        load_protocol(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "is not YAML"),
        ("a: b: c", "is not YAML"),
        ("- 1\n- 2", "holds no mapping"),
        ("", "holds no mapping"),
        ("just text", "holds no mapping"),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, words: str):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        load_protocol(str(path))


def test_what_is_no_text_is_refused(tmp_path: Path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match="no file that can be read"):
        load_protocol(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:pathlib.Path.touch [{path}]",
        "name: !!python/object/apply:os.system ['touch {path}']",
        "name: !!python/object/new:os.system ['touch {path}']",
        "!!python/object:lesion_transfer.protocols.Protocol {{}}",
    ],
)
def test_a_file_cannot_run_code(tmp_path: Path, text: str):
    witness, path = tmp_path / "witness", tmp_path / "evil.yaml"
    path.write_text(text.format(path=witness))
    with pytest.raises(UserError, match="is not YAML"):
        load_protocol(str(path))
    assert not witness.exists()


def test_a_section_that_is_no_mapping_is_refused(demo: Path):
    path = spoilt(demo, lambda content: content.update(preparation=32))
    with pytest.raises(UserError, match="preparation: "):
        load_protocol(path)


def test_overriding_a_section_that_is_no_mapping_is_refused(demo: Path):
    path = spoilt(demo, lambda content: content.update(preparation=32))
    with pytest.raises(UserError, match="preparation"):
        load_protocol(path, {"preparation": {"size": None}})


# --- values --------------------------------------------------------------------------------------


def test_a_protocol_is_frozen_all_the_way_down():
    protocol = load_protocol("demo")
    with pytest.raises(ValidationError, match="frozen"):
        protocol.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        protocol.finetune.augmentation.zoom = 2.0
    assert isinstance(protocol.svm.C, tuple)
    assert isinstance(hash(protocol), int)


def test_every_value_is_in_the_digest():
    demo = load_protocol("demo")
    changed = [
        {"seed": 1},
        {"finetune": {"augmentation": {"zoom": 1.2}}},
        {"svm": {"C": [1.0]}},
        {"backbone": {"feature_layer": "x"}},
    ]
    assert len({demo.digest(), *(load_protocol("demo", each).digest() for each in changed)}) == 5


def test_what_came_later_changes_no_key_while_it_is_not_used():
    """Or results from before it existed would be computed again."""
    demo = load_protocol("demo")
    values = {
        "finetune": {"layer_decay": 0.5, "augmentation": {"blur": 0.1, "mixup": 0.2}},
        "extraction": {"views": 8},
    }
    changed = load_protocol("demo", values)
    assert not {"layer_decay", "blur", "mixup", "views"} & set(words(demo.model_dump()))
    assert {"layer_decay", "blur", "mixup", "views"} <= set(words(changed.model_dump()))
    assert Protocol.model_validate(changed.model_dump()) == changed


def words(values: dict) -> list[str]:
    """Return the keys of a nested mapping, at any depth."""
    inner = [word for value in values.values() if isinstance(value, dict) for word in words(value)]
    return [*values, *inner]


@pytest.mark.parametrize(("written", "read"), [(True, True), (False, False), ("weights",) * 2])
def test_balance_is_by_resampling_by_weights_or_not_at_all(demo: Path, written, read):
    path = spoilt(demo, lambda content: content["finetune"].update(balance=written))
    assert load_protocol(path).finetune.balance == read

"""Protocols: every hyper-parameter of an experiment in one validated, immutable object.

A protocol is a YAML file; the ones beside this module are named by their stem. Read
:class:`Protocol` for what a file may say; unknown keys are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from lesion_transfer.errors import UserError
from lesion_transfer.protocols.preparation import (
    CentreCrop,
    Circle,
    Preparation,
    Shows,
    Step,
    TrimBorder,
)
from lesion_transfer.protocols.training import (
    Augmentation,
    Positive,
    Training,
    later,
    starting_from,
)
from lesion_transfer.study import Frozen

__all__ = [
    "PROTOCOL_FOLDER",
    "SVM",
    "Augmentation",
    "Backbone",
    "CentreCrop",
    "Circle",
    "Extraction",
    "Preparation",
    "Protocol",
    "Shows",
    "Step",
    "Training",
    "TrimBorder",
    "load_protocol",
    "starting_from",
]

PROTOCOL_FOLDER = Path(__file__).parent


class Backbone(Frozen):
    """The network that turns a picture into features."""

    name: str = Field(
        description="small_vgg, vgg_m, a keras.applications name, or a path or URI of a Keras "
        "model file"
    )
    weights: str | None = Field(
        None,
        description="path or URI of the file that holds the ImageNet weights of vgg_m, VGG16 or "
        "VGG19 (MatConvNet's .mat) or of a keras.applications name (.h5); None: as Keras has them",
    )
    feature_layer: str | None = Field(
        None, description="layer whose output is the feature vector; None: the network's output"
    )
    input_scaling: str | None = Field(
        None,
        description="what a model file expects of 0–255 RGB: none, unit (x/255), symmetric "
        "(x/127.5 − 1), caffe or torch (their ImageNet means); None: none. Networks known by name "
        "scale their input themselves",
    )


class Extraction(Frozen):
    """How features are taken from a network, for the SVM and for the fold model alike."""

    views: Literal[1, 2, 4, 8] = later(
        1,
        description="mirror images and quarter turns of a picture over which its features are "
        "averaged, before they are normalised",
    )
    precision: Literal["float32", "bfloat16"] = later(
        "float32", description="of their computation; the fold model's is float32"
    )
    features: Literal["float32", "float16"] = later(
        "float32", description="in which features are kept; float16 takes half the space"
    )
    runtime: Literal["keras", "openvino"] = later(
        "keras",
        description="what computes them: Keras' backend, or OpenVINO on the processor, a package "
        "of its own (pip install -e '.[openvino]') that is faster, above all in "
        "bfloat16",
    )

    @property
    def exact(self) -> bool:
        """Whether these are the features that the fold model computes itself."""
        return self.precision == self.features == "float32" and self.runtime == "keras"


class SVM(Frozen):
    """The linear classifier of features (paper, section 3.2)."""

    head: Literal["svm", "logistic", "softmax"] = Field(
        "svm",
        description="on L2-normalised features the paper's support vector machine or logistic "
        "regression; or the softmax that a fine-tuned network was trained under, which has no C "
        "(frozen networks, which have none, then have the svm)",
    )
    C: tuple[Positive, ...] = Field((1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4), min_length=1)
    shuffles: int = Field(10, ge=1, description="stratified shuffles that choose C by AUC")
    validation_share: float = Field(0.1, gt=0, lt=1, description="held out in each shuffle")

    def after(self, *, finetune: bool) -> SVM:
        """Return the classifier of a network that was or was not fine-tuned.

        A frozen one was not trained on the target, and has no softmax for its classes.
        """
        frozen = self.head == "softmax" and not finetune
        return self.model_copy(update={"head": "svm"}) if frozen else self

    @property
    def title(self) -> str:
        """The classifier in words, to follow a network and a comma."""
        return {
            "svm": "a linear SVM on its L2-normalised features",
            "logistic": "logistic regression on its L2-normalised features",
            "softmax": "the softmax it was trained under",
        }[self.head]


class Protocol(Frozen):
    """All that decides an experiment's numbers, except the data."""

    name: str
    preparation: Preparation
    backbone: Backbone
    pretrain: Training
    finetune: Training
    extraction: Extraction = Extraction()
    svm: SVM = SVM()
    repeats: int = Field(5, ge=1, description="of two-fold cross-validation")
    seed: int = Field(0, ge=0)


def load_protocol(
    name: str, overrides: dict[str, Any] | None = None, name_suffix: str = ""
) -> Protocol:
    """Return the protocol called ``name``, or the one in the YAML file at that path.

    Parameters
    ----------
    name
        ``demo``, ``reimplementation``, ``paper``, ``modern``, or the path of a YAML file.
    overrides
        Values that replace the file's; nested as the file is, None meaning "as in the file". A
        backbone of another name replaces the file's whole.
    name_suffix
        Added to the protocol's name.

    Raises
    ------
    UserError
        There is no such protocol, or the file is not one.
    """
    known = sorted(path.stem for path in PROTOCOL_FOLDER.glob("*.yaml"))
    path = PROTOCOL_FOLDER / f"{name}.yaml" if name in known else Path(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"protocol={name}: no such protocol, and no file that can be read ({error})",
            expected=f"one of {', '.join(known)}, or the path of a YAML file",
        ) from error
    except yaml.YAMLError as error:
        raise UserError(f"protocol={name}: {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(
            f"protocol={name}: {path} holds no mapping",
            expected="keys such as preparation, backbone, pretrain, finetune, svm",
            next_step=f"start from a copy of {PROTOCOL_FOLDER / 'demo.yaml'}",
        )
    overrides = overrides or {}
    if overrides.get("backbone", {}).get("name") is not None:
        # Its feature layer, scaling and weights belong to the network that is not used.
        content = {**content, "backbone": {}}
    content = {**content, "name": f"{content.get('name', path.stem)}{name_suffix}"}
    try:
        return Protocol.model_validate(_merged(content, overrides))
    except ValidationError as error:
        wrong = "\n".join(
            f"  {'.'.join(map(str, item['loc']))}: {item['msg']} (got {item['input']!r})"
            for item in error.errors()[:10]
        )
        raise UserError(
            f"protocol={name}: {path} is no valid protocol:\n{wrong}",
            next_step=f"compare it with {PROTOCOL_FOLDER / 'demo.yaml'}",
        ) from error


def _merged(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overrides.items():
        if isinstance(value, dict) and isinstance(merged.get(key, {}), dict):
            merged[key] = _merged(merged.get(key, {}), value)
        elif value is not None and not isinstance(value, dict):
            merged[key] = value
    return merged

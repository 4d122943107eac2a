"""Protocols: every hyper-parameter of an experiment in one validated, immutable object.

A protocol is a YAML file; the ones beside this module are named by their stem. Read
:class:`Protocol` for what a file may say; unknown keys are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

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

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]

PROTOCOL_FOLDER = Path(__file__).parent


def _later(default: Any, **about: Any) -> Any:
    """Return a field that came after others: at its default it is not part of any key.

    What was computed before the field existed is so found again.
    """
    return Field(default, exclude_if=lambda value: value == default, **about)


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


class Augmentation(Frozen):
    """Random changes to a training picture; the affine ones are composed into one warp."""

    zoom: float = Field(1.0, ge=1, description="each axis scaled by 1/zoom to zoom, log-uniform")
    rotation: float = Field(0.0, ge=0, le=360, description="degrees, uniform in 0 to this")
    shear: float = Field(0.0, ge=0, lt=90, description="degrees, uniform in ± this")
    translation: float = Field(
        0.0, ge=0, description="uniform in ± this, as a share of the image side"
    )
    flip: bool = Field(False, description="mirrored left to right half of the time")
    brightness: Share = Field(0.0, description="added, uniform in ± this share of 255")
    contrast: Share = Field(0.0, description="multiplied around the mean, 1 ± this")
    colour: Share = Field(0.0, description="each channel multiplied by 1 ± this")
    cutout: Share = Field(0.0, description="side of an erased square, as a share of the image side")
    blur: Share = _later(
        0.0,
        description="half of the pictures are blurred by a Gaussian, its standard deviation "
        "uniform in 0 to this share of the image side",
    )
    mixup: float = _later(
        0.0,
        ge=0,
        description="α of the Beta distribution of how much of each picture, and of its label, is "
        "kept when another of the batch is mixed in (Zhang et al. 2018); 0: none",
    )


class Training(Frozen):
    """How a network is trained, for a source or for a fold."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    optimizer: Literal["sgd", "adamw"]
    learning_rate: Positive
    momentum: Share = Field(0.0, description="sgd only; Nesterov's")
    weight_decay: float = Field(0.0, ge=0, description="on kernels; not on biases or norms")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="cosine falls to zero over all epochs"
    )
    warmup_epochs: float = Field(0.0, ge=0, description="linear rise of the learning rate")
    dropout: Share = Field(0.0, description="between features and classifier")
    label_smoothing: Share = 0.0
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of an average of the weights, used in their place"
    )
    freeze_batch_norm: bool = Field(
        False,
        description="batch normalisation keeps its statistics and weights; not where training "
        "starts from random weights, which have no statistics yet",
    )
    balance: bool | Literal["weights"] = Field(
        True,
        description="true: every epoch, each class is resampled to the size of the largest, which "
        "is seen once; weights: every picture is seen once, and classes weigh alike in the loss; "
        "false: every picture is seen once and weighs the same",
    )
    validation_share: float = Field(
        0.1, gt=0, lt=0.5, description="stratified and grouped share of the training half"
    )
    select: Literal["best", "last"] = Field(
        "best", description="the epoch kept: that of the lowest validation loss, or the last"
    )
    patience: int | None = Field(
        None, ge=1, description="epochs without a lower validation loss before training stops"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of the computation; weights stay float32. bfloat16 is faster on "
        "processors that have it, for networks of wide convolutions",
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="batches whose gradients are averaged for one step, when memory is short",
    )
    layer_decay: float = _later(
        1.0,
        gt=0,
        le=1,
        description="the learning rate is multiplied by this once for each block of the network, "
        "from the classifier, which has the whole of it, downwards; a block is the layers between "
        "two changes of resolution",
    )
    augmentation: Augmentation = Augmentation()


def starting_from(training: Training, *, random: bool) -> Training:
    """Return the training as it is done from these initial weights.

    Batch normalisation cannot be frozen over random weights: without statistics of its own it
    passes on next to nothing, and the network does not learn.
    """
    return training.model_copy(update={"freeze_batch_norm": False}) if random else training


class Extraction(Frozen):
    """How features are taken from a network, for the SVM and for the fold model alike."""

    views: Literal[1, 2, 4, 8] = _later(
        1,
        description="mirror images and quarter turns of a picture over which its features are "
        "averaged, before they are normalised",
    )
    precision: Literal["float32", "bfloat16"] = _later(
        "float32", description="of their computation; the fold model's is float32"
    )
    features: Literal["float32", "float16"] = _later(
        "float32", description="in which features are kept; float16 takes half the space"
    )
    runtime: Literal["keras", "openvino"] = _later(
        "keras",
        description="what computes them: Keras' backend, or OpenVINO on the processor, a package "
        "of its own (pip install -e '.[openvino]') that is faster, above all in "
        "bfloat16",
    )

    @property
    def exact(self) -> bool:
        """Whether these are, up to rounding, the features that the fold model computes."""
        return self.precision == self.features == "float32"


class SVM(Frozen):
    """The linear classifier of features (paper, section 3.2)."""

    head: Literal["svm", "logistic", "softmax"] = Field(
        "svm",
        description="on L2-normalised features the paper's support vector machine or logistic "
        "regression; or the softmax that a fine-tuned network was trained under, which has no C",
    )
    C: tuple[Positive, ...] = Field((1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4), min_length=1)
    shuffles: int = Field(10, ge=1, description="stratified shuffles that choose C by AUC")
    validation_share: float = Field(0.1, gt=0, lt=1, description="held out in each shuffle")

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

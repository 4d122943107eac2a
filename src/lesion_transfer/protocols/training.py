"""How a network is trained, and how its pictures are changed meanwhile."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from lesion_transfer.study import Frozen

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


def later(default: Any, **about: Any) -> Any:
    """Return a field that came after others: at its default it is not part of any key.

    What was computed before the field existed is so found again.
    """
    return Field(default, exclude_if=lambda value: value == default, **about)


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
    blur: Share = later(
        0.0,
        description="half of the pictures are blurred by a Gaussian, its standard deviation "
        "uniform in 0 to this share of the image side",
    )
    mixup: float = later(
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
    layer_decay: float = later(
        1.0,
        gt=0,
        le=1,
        description="the learning rate is multiplied by this once for each block of the network, "
        "from the classifier, which has the whole of it, downwards; a block is the layers between "
        "two changes of resolution",
    )
    probe: bool = later(
        False,
        description="the classifier starts as a logistic regression on the source's features of "
        "the training pictures, not at random: the first steps then do not spoil the features "
        "(Kumar et al. 2022); not where training starts from random weights",
    )
    augmentation: Augmentation = Augmentation()


def starting_from(training: Training, *, random: bool) -> Training:
    """Return the training as it is done from these initial weights.

    Batch normalisation cannot be frozen over random weights: without statistics of its own it
    passes on next to nothing, and the network does not learn. Nor are there features for a
    classifier to start on, or for lower learning rates to preserve.
    """
    if not random:
        return training
    return training.model_copy(
        update={"freeze_batch_norm": False, "probe": False, "layer_decay": 1.0}
    )

"""One model per stage: the single description of its parameters.

The command line, ``MLproject`` and the README's tables are made from these classes; nothing else
lists a parameter. A value left empty means "not given": MLflow projects hand over every parameter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from lesion_transfer.errors import UserError
from lesion_transfer.protocols import Protocol, load_protocol
from lesion_transfer.stages.compare_request import CompareRequest
from lesion_transfer.stages.request import Request, comma_list
from lesion_transfer.study import LESION_DESIGNS, MODELS, Design, Model, Source

SYNTHETIC = "synthetic"

FOLDS = "all, or some (1x1,1x2,3x1); or a file of published folds (file.yml, file.yml:1x1,1x2)"
LOOKING = (
    "test images of each fold, half of them its surest errors, for which a figure shows where the "
    "model looks, some 50 passes of the network each; not given: 8, for synthetic data none"
)
ORIGINAL_LOOP = "with published folds: the original scripts' ten fits, which visit 3 partitions"


class DataRequest(Request):
    """Which images, prepared how."""

    target: str = Field(
        SYNTHETIC,
        description="data set: synthetic, atlas, isic2016 to isic2020, ham10000, ph2, eyepacs, "
        "aptos2019, folder or csv",
    )
    data_root: str | None = Field(
        None,
        description="folder (or CSV file) of the data set, s3://bucket/prefix, or the https:// "
        "address of an archive; synthetic needs none",
    )
    protocol: str | None = Field(
        None,
        description="demo, reimplementation, paper, modern, or the path of a YAML file; not given: "
        "demo for synthetic data, else modern",
    )
    image_size: int | None = Field(
        None, ge=8, le=2048, description="side of the images in pixels; not given: the protocol's"
    )
    max_rejected: float = Field(
        0.01, ge=0, le=1, description="share of unreadable images above which nothing is trained"
    )
    store_uri: str | None = Field(
        None,
        description="s3://bucket/prefix of shared image stores: looked up there before building, "
        "pushed there after",
    )
    verify: bool = Field(
        False, description="read the whole image store and compare it with its checksums"
    )
    seed: int | None = Field(
        None, ge=0, description="of splits, weights and batches; not given: the protocol's"
    )

    @field_validator("target")
    @classmethod
    def _known_target(cls, target: str) -> str:
        from lesion_transfer.data.adapters import ADAPTERS

        if target not in ADAPTERS:
            raise ValueError(f"{target!r} is no data set; expected one of {', '.join(ADAPTERS)}")
        return target

    def overrides(self) -> dict[str, Any]:
        """Return what replaces the protocol's values, nested as the protocol is."""
        return {"preparation": {"size": self.image_size}, "seed": self.seed}

    def load_protocol(self) -> Protocol:
        """Return the protocol with this request's overrides.

        Raises
        ------
        UserError
            There is no such protocol, or it is not valid.
        """
        default = "demo" if self.target == SYNTHETIC else "modern"
        return load_protocol(self.protocol or default, self.overrides(), self.name_suffix)

    @property
    def name_suffix(self) -> str:
        """What sets the protocol's name apart where this request changes what it trains."""
        return ""


class NetworkRequest(DataRequest):
    """Which network, from which source."""

    backbone: str | None = Field(
        None,
        description="small_vgg, vgg_m, a keras.applications name, or a Keras model file (path, "
        "https://, s3://, models:/ or runs:/); not given: the protocol's",
    )
    weights: str | None = Field(
        None,
        description="file of the ImageNet weights (path, https:// or s3://): MatConvNet's .mat for "
        "vgg_m, VGG16 or VGG19, Keras' .h5 for other names; not given: the protocol's",
    )
    feature_layer: str | None = Field(
        None, description="layer that gives the features; not given: the protocol's"
    )
    input_scaling: str | None = Field(
        None,
        description="what a model file expects of 0-255 RGB: none, unit, symmetric, caffe or "
        "torch; not given: the protocol's",
    )
    epochs: int | None = Field(
        None,
        ge=1,
        description="of fine-tuning, in pretrain of each link's training; not given: the "
        "protocol's. Folds look for a source of the protocol's epochs: give them one of others as "
        "source=runs:/… or models:/…",
    )
    source_data: str | None = Field(
        None,
        description="data set that the source's retinopathy link trains on; not given: "
        "synthetic_retinas for synthetic data, else eyepacs",
    )
    source_root: str | None = Field(
        None,
        description="folder or address of source_data, as for data_root; where a chain trains on "
        "several data sets, what holds each of them under its name",
    )

    def overrides(self) -> dict[str, Any]:
        """See :meth:`DataRequest.overrides`."""
        return super().overrides() | {
            "backbone": {
                "name": self.backbone,
                "weights": self.weights,
                "feature_layer": self.feature_layer,
                "input_scaling": self.input_scaling,
            },
            "finetune": {"epochs": self.epochs},
        }

    @property
    def name_suffix(self) -> str:
        """See :attr:`DataRequest.name_suffix`."""
        return f"+epochs={self.epochs}" if self.epochs else ""


def _source(text: str) -> str:
    """Check a source chain; pydantic turns the ValueError into its own report."""
    try:
        return str(Source.parse(text))
    except UserError as error:
        raise ValueError(str(error)) from error


class PretrainRequest(NetworkRequest):
    """Train the source network of a chain, or fetch it when it is there."""

    summary = "Train a source network (for example on retina images) and log it."

    source: str = Field("retinopathy", description="chain such as imagenet or imagenet+retinopathy")

    _check_source = field_validator("source")(_source)

    def overrides(self) -> dict[str, Any]:
        """See :meth:`DataRequest.overrides`."""
        return super().overrides() | {"finetune": {}, "pretrain": {"epochs": self.epochs}}


class ArmRequest(NetworkRequest):
    """One arm: a design and a model, over some or all folds."""

    design: Design = Field(Design.MELANOMA_VS_BENIGN, description="which diagnoses against which")
    source: str = Field(
        "imagenet", description="where the weights come from: none, retinopathy, imagenet, …"
    )
    finetune: bool = Field(True, description="train on the target; false: frozen features")
    folds: str = Field("all", description=FOLDS)
    reproduce_original_loop: bool = Field(False, description=ORIGINAL_LOOP)
    looking: int | None = Field(None, ge=0, le=32, description=LOOKING)

    _check_source = field_validator("source")(_source)

    @property
    def pair(self) -> Model:
        """The (source, fine-tune?) pair."""
        return Model(source=Source.parse(self.source), finetune=self.finetune)

    @property
    def images_looked_at(self) -> int:
        """Test images of each fold in the figure of where the model looks."""
        if self.looking is None:
            return 0 if self.target == SYNTHETIC else 8
        return self.looking


class PreprocessRequest(DataRequest):
    """Read a data set into an image store."""

    summary = "Read a data set, check every image, and build its image store."


class FinetuneRequest(ArmRequest):
    """Fine-tune one network a fold."""

    summary = "Fine-tune the source network on each fold's training half and log it."


class ExtractRequest(ArmRequest):
    """Log the features of every fold."""

    summary = "Extract the features of every image, fine-tuning first where that is missing."


class EvaluateRequest(ArmRequest):
    """Score one arm."""

    summary = "Train and score the SVM of every fold, or score a model on another data set."

    model: str | None = Field(
        None,
        description="a fold's model to score on all of the target instead: models:/<name>@<alias>, "
        "models:/<name>/<version> or runs:/<run id>; what is trained is then ignored",
    )


class StudyRequest(NetworkRequest):
    """Every design × model × fold, and the table."""

    summary = "Run a whole study: every design, model and fold, then print the results table."

    designs: str | None = Field(
        None,
        description="comma-separated designs; not given: each lesion design whose classes the "
        "data set has",
    )
    models: str = Field(",".join(MODELS), description="comma-separated letters of the models A–F")
    folds: str = Field("all", description=FOLDS)
    reproduce_original_loop: bool = Field(False, description=ORIGINAL_LOOP)
    looking: int | None = Field(None, ge=0, le=32, description=LOOKING)
    out: Path = Field(Path("comparison"), description="folder the table and figures are written to")

    @field_validator("designs")
    @classmethod
    def _known_designs(cls, text: str | None) -> str | None:
        return text and comma_list(tuple(design.value for design in Design), text)

    @field_validator("models")
    @classmethod
    def _known_models(cls, text: str) -> str:
        return comma_list(tuple(MODELS), text)

    def arms(self) -> list[ArmRequest]:
        """Return the study's arms, designs outermost."""
        shared = self.model_dump(
            include=set(ArmRequest.model_fields) & set(type(self).model_fields)
        )
        designs = self.designs.split(",") if self.designs else LESION_DESIGNS
        return [
            EvaluateRequest(
                **shared,
                design=Design(design),
                source=str(MODELS[letter].source),
                finetune=MODELS[letter].finetune,
            )
            for design in designs
            for letter in self.models.split(",")
        ]


ENTRY_POINTS: dict[str, type[Request]] = {
    "main": StudyRequest,
    "preprocess": PreprocessRequest,
    "pretrain": PretrainRequest,
    "finetune": FinetuneRequest,
    "extract": ExtractRequest,
    "evaluate": EvaluateRequest,
    "compare": CompareRequest,
}

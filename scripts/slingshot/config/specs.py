"""What each step receives: exactly the part of the study that it uses."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from slingshot.config.arms import Arm
from slingshot.config.base import (
    AnswerForm,
    Dtype,
    EnsembleWeights,
    LabelOrder,
    LabelSystem,
    Level,
    ModelType,
    Quantization,
    SelectBy,
    Spec,
    TrainingStatus,
)
from slingshot.config.data import Data
from slingshot.config.endpoints import ApiModel, TokenPrices
from slingshot.config.faults import complaints
from slingshot.config.models import ModelSource
from slingshot.config.recipe import FewShot, Finetune, Generation
from slingshot.config.reporting import Cost, Report, Statistics
from slingshot.config.rivals import PredictionColumns, Recipe
from slingshot.core.errors import StudyError
from slingshot.core.hashing import digest_of_text


class StepSpec(Spec):
    """All that a step's result depends on, besides its input files."""

    code: str = Field("", description="digest of what the step's program means (core.code_digest)")

    @property
    def digest(self) -> str:
        """Of all of it, as hex."""
        return digest_of_text(self.model_dump_json())


class PrepareDataSpec(StepSpec):
    data: Data
    source_digest: str | None = Field(description="digest of the local files' content; null for the hub")
    test_set_digests: dict[str, str] = Field({}, description="likewise, of each further test set of local files")


class DataPageSpec(StepSpec):
    """Its result depends on prepare_data's alone."""


class FetchModelSpec(StepSpec):
    source: ModelSource
    source_digest: str | None = Field(description="digest of a local folder's or file's content; else null")
    layers: int | None


class AnswerSet(Spec):
    """How a set of labels is answered, where samples have several: a list, a label per line."""

    order: LabelOrder
    empty: bool = Field(description="samples may have no label at all")


class PromptText(Spec):
    """A prompt file's content, so that the spec changes with it."""

    system: str
    user: str
    answer: AnswerForm
    max_tokens: int
    names: Literal["code", "label"] = Field("code", description="what an answer is called: plain labels are no codes")
    candidates: int = Field(0, description="how many labels {{ candidates }} shows; 0: the prompt has none")
    several: AnswerSet | None = Field(None, description="an answer is a set of labels; null: one label")


class PromptChoice(Spec):
    """One of the prompts that an arm's own is chosen from."""

    prompt: PromptText
    k: int


class FinetuneSpec(StepSpec):
    quantization: Quantization
    unquantized_without_gpu: bool
    dtype: Dtype
    prompt: PromptText
    finetune: Finetune
    max_new_tokens: int | None = Field(description="for selection by exact match; null where selection is by loss")
    labels: LabelSystem | None = Field(None, description="how answers are read, for selection by exact match")
    level: Level | None = Field(None, description="likewise")
    train_size: int | None = Field(None, description="finetune on N of the train samples; null: all")
    hold_steps: bool = Field(False, description="take as many optimizer steps as on all train samples")
    seed: int


class ChooseSpec(StepSpec):
    candidates: list[str] = Field(min_length=1, description="paths of the candidate arms")
    select_by: SelectBy


class ChoosePromptSpec(StepSpec):
    candidates: list[str] = Field(min_length=1, description="paths of the arms with a prompt each, the first at a tie")


class PredictSpec(StepSpec):
    quantization: Quantization
    unquantized_without_gpu: bool
    dtype: Dtype
    prompt: PromptText
    generation: Generation
    few_shot: FewShot
    labels: LabelSystem
    level: Level
    head: Literal["write", "classify"] = "write"
    choices: dict[str, PromptChoice] = Field({}, description="arms with a prompt each, of which one is chosen")


class AskSpec(StepSpec):
    source: ApiModel
    prompt: PromptText
    generation: Generation
    few_shot: FewShot
    labels: LabelSystem
    level: Level
    choices: dict[str, PromptChoice] = Field({}, description="arms with a prompt each, of which one is chosen")


class GatherSpec(StepSpec):
    shards: int


class FitSpec(StepSpec):
    """An arm that writes nothing: `recipe.rival` is the module in rivals/ that fits it."""

    recipe: Recipe
    seed: int
    several: bool = Field(False, description="samples have sets of labels")


class PredictFittedSpec(StepSpec):
    rival: str
    candidates: int = Field(description="the N likeliest labels of each sample are kept")
    several: bool = Field(False, description="samples have sets of labels")


class ImportPredictionsSpec(StepSpec):
    file: str
    file_digest: str
    columns: PredictionColumns
    allow_missing: bool
    labels: LabelSystem
    level: Level
    several: bool = Field(False, description="samples have sets of labels")


class ScoreSpec(StepSpec):
    arm: str
    model_type: ModelType
    model_name: str
    model_size: str | None
    training_status: TrainingStatus
    labels: LabelSystem
    level: Level
    statistics: Statistics
    several: bool = Field(False, description="samples have sets of labels")


class CompareSpec(StepSpec):
    arms: list[Arm]
    result_keys: dict[str, str] = Field(description="arm path to its key in results.json")
    ensemble_weights: EnsembleWeights
    validated: list[str] = Field(default=[], description="paths of the arms that answered validation, too")
    statistics: Statistics
    cost: Cost
    token_prices: dict[str, TokenPrices] = Field(default={}, description="path of an arm to its endpoint's prices")
    several: bool = Field(False, description="samples have sets of labels")


class CompareTestSetsSpec(StepSpec):
    test_sets: list[str]
    arms: dict[str, list[str]] = Field(description="test set to the paths of the arms that answer it")
    statistics: Statistics
    several: bool = Field(False, description="samples have sets of labels")


class ReportSpec(StepSpec):
    report: Report
    statistics: Statistics
    cost: Cost
    arms: list[Arm]
    config: dict[str, Any] = Field(description="the study as written, for the provenance section")
    several: bool = Field(False, description="samples have sets of labels")


SpecT = TypeVar("SpecT", bound=Spec)


def parse_spec(model: type[SpecT], text: str) -> SpecT:
    """Read a step's spec from JSON.

    Raises:
        StudyError: names each faulty key.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise StudyError("\n".join(complaints(error, "--spec", model))) from None

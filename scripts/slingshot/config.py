"""The study as typed specs: what config.yaml may say, with every default filled in.

A step gets exactly the part of the study that it uses, as one of the `*Spec` models here, so that a changed
key reruns the steps that it concerns and no other. Nothing in this module touches a model or a data set.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from slingshot.errors import StudyError

Share = Annotated[float, Field(ge=0, le=1)]
LabelSystem = Literal["icd10cm", "plain"]
Level = Literal["code", "category", "block", "chapter"]
AnswerForm = Literal["code", "code description", "description code"]
Quantization = Literal["none", "int8", "nf4"]
Dtype = Literal["bfloat16", "float16", "float32"]
EnsembleWeights = Literal["equal", "validation"]
ModelType = Literal["LLM", "SLM", "BASELINE"]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Spec(BaseModel):
    """Frozen, and refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _key_present(*keys: str) -> Discriminator:
    """Tell a union's members apart by the key that only they have."""

    def tag(value: Any) -> str | None:
        present = value if isinstance(value, dict) else getattr(value, "__dict__", {})
        return next((key for key in keys if key in present), None)

    return Discriminator(
        tag,
        custom_error_type="source",
        custom_error_message=f"needs one of {', '.join(keys)}",
    )


# ---------------------------------------------------------------- data


class HubData(Spec):
    """A data set of the Hugging Face hub."""

    hub: str = Field(description="data set id, e.g. Ahmad0067/MedSynth")
    revision: str = Field("main", description="commit, tag or branch; the commit is recorded in dataset.json")
    split: str | None = Field(None, description="the hub's split to read; null: all of them")


class FileData(Spec):
    """A file, or a folder of shards, relative to the study: .csv, .tsv, .jsonl, .parquet."""

    path: str = Field(description="file or folder, relative to the study's folder")


DataSource = Annotated[Annotated[HubData, Tag("hub")] | Annotated[FileData, Tag("path")], _key_present("hub", "path")]


class Columns(Spec):
    """Which column holds what."""

    text: str | list[str] = Field("text", description="the dialogue; several columns are joined by a blank line")
    label: str = Field("label", description="the code or label")
    description: str | None = Field(None, description="the label's description")
    group: str | None = Field(None, description="what must not stand in two splits, e.g. a patient or a document")


class Split(Spec):
    """How samples are dealt to train, validation and test."""

    train: Share = 0.70
    validation: Share = 0.15
    test: Share = 0.15
    seed: int = 42
    method: Literal["stratified", "hash"] = Field(
        "stratified",
        description="stratified: label shares are kept as far as the groups allow; "
        "hash: a group's split depends on its own text alone, so rows added elsewhere move nothing",
    )
    near_duplicate_similarity: Share | None = Field(
        0.8, description="texts whose word 5-grams share this Jaccard similarity form one group; null: off"
    )

    @model_validator(mode="after")
    def _whole(self) -> Split:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            total = self.train + self.validation + self.test
            raise ValueError(f"train, validation and test must add up to 1, not {total:g}")
        return self


class MaxSamples(Spec):
    """At most so many samples a split; a larger number extends the smaller one's sample."""

    train: int | None = Field(None, ge=1)
    validation: int | None = Field(None, ge=1)
    test: int | None = Field(None, ge=1)


class Data(Spec):
    """Where the dialogues come from and what a label is."""

    source: DataSource
    columns: Columns = Columns()
    labels: LabelSystem = Field("icd10cm", description="icd10cm: checked against the code set; plain: any")
    level: Level = Field("code", description="the target's level in the code tree")
    split: Split = Split()
    max_samples: MaxSamples = MaxSamples()
    mask_label_mentions: bool = Field(False, description="blank a sample's own code where its text prints it")
    max_dropped_share: Share = Field(0.05, description="more dropped rows than this is an error")

    @model_validator(mode="after")
    def _plain_labels_have_no_tree(self) -> Data:
        if self.labels == "plain" and self.level != "code":
            raise ValueError(f"level must be code with plain labels, not {self.level}: only ICD-10-CM has a tree")
        return self


# ---------------------------------------------------------------- what an arm does


class Prompt(Spec):
    """How a dialogue is put to a model, and what its answer looks like."""

    file: str = Field("prompts/icd10cm.yaml", description="`system` and `user` texts, relative to the study's folder")
    answer: AnswerForm = Field("code", description="the form of an answer, in training and in the instruction")
    max_tokens: int = Field(2048, ge=32, description="a longer prompt loses the middle of its dialogue")


class Generation(Spec):
    """How an answer is decoded. Always greedy."""

    max_new_tokens: int = Field(32, ge=1)
    constrained: bool = Field(False, description="also decode with only known labels allowed; both are scored")
    vocabulary: Literal["study", "code_set"] = Field(
        "study", description="what constrained decoding may say: the study's labels, or all of ICD-10-CM"
    )
    candidates: int = Field(0, ge=0, le=20, description="so many best labels, ranked with their log-probabilities")


class FewShot(Spec):
    """Worked examples from train, put before the dialogue."""

    k: int = Field(0, ge=0, description="how many")
    selection: Literal["random", "nearest"] = Field("random", description="seeded, or nearest by TF-IDF")
    seed: int = 42


class Lora(Spec):
    """Low-rank adaptation (Hu et al. 2021)."""

    r: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        64, description="rank; auto: 16 below 1 billion parameters, 32 below 2 billion, else 64"
    )
    alpha: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(128, description="auto: twice the rank")
    dropout: float = Field(0.1, ge=0, lt=1)
    targets: Literal["all-linear", "attention"] | list[str] = Field(
        "all-linear", description="all-linear: every linear layer of the network but its head; attention: q, k, v and o"
    )


class Finetune(Spec):
    """The training recipe. `batch_size` is the effective batch in samples, whatever memory allows at once."""

    epochs: float = Field(3, gt=0)
    max_steps: int | None = Field(None, ge=1, description="stop after so many optimizer steps")
    learning_rate: float = Field(2e-4, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: Share = Field(0.05, description="share of all steps over which the rate rises from 0")
    batch_size: int = Field(32, ge=1)
    weight_decay: float = Field(0.01, ge=0)
    max_gradient_norm: float = Field(1.0, gt=0)
    max_tokens: int = Field(2048, ge=32, description="a longer sample loses the middle of its dialogue")
    lora: Lora = Lora()
    evaluate_every: int = Field(50, ge=1, description="optimizer steps between evaluations on validation")
    patience: int | None = Field(3, ge=1, description="stop after so many evaluations without gain; null: never")
    validation_samples: int | None = Field(
        256, ge=1, description="of them an evaluation uses so many, always the same; null: all"
    )
    select_by: Literal["validation_loss", "validation_exact_match"] = "validation_loss"
    deterministic: bool = Field(False, description="the same bytes from the same seed on the same device; slower")


class Evaluation(Spec):
    """How the splits are answered."""

    shards: int = Field(
        1, ge=1, le=10_000, description="jobs over which an arm's predictions are spread; changes no result"
    )
    ensemble_weights: EnsembleWeights = Field(
        "equal", description="validation: the study's own arms answer that split too, and weights are fitted on it"
    )


class Hardware(Spec):
    """Where a step runs and what it may take. Never part of a step's spec: results do not depend on it."""

    device: Literal["cuda", "cpu"] = "cuda"
    gpus: int = Field(1, ge=1, description="GPUs that one finetune takes; more than one trains data-parallel")
    token_budget: int | None = Field(None, ge=64, description="tokens a micro-batch; null: from free memory")
    memory_gb: float | None = Field(
        None,
        gt=0,
        description="tensors take no more of the device's memory than this; CUDA itself takes 1 to 2 GB besides",
    )
    mem_mb: int = Field(32_000, ge=500, description="main memory asked of a cluster for a model step")
    runtime_minutes: int = Field(480, ge=1, description="time asked of a cluster for a model step")
    checkpoint_minutes: float = Field(10, gt=0, description="at most so much training is lost by a kill")
    checkpoint_steps: int | None = Field(None, ge=1, description="also write a checkpoint every so many steps")
    tensorboard: bool = Field(False, description="a finetune also writes TensorBoard files, results/ARM/tensorboard")


# ---------------------------------------------------------------- models


class HubModel(Spec):
    """A model of the Hugging Face hub."""

    hub: str = Field(description="model id, e.g. Qwen/Qwen2.5-3B-Instruct")
    revision: str = Field("main", description="commit, tag or branch; the commit is recorded in models/{model}.json")


class FolderModel(Spec):
    """A local folder as `save_pretrained` leaves it."""

    folder: str = Field(description="relative to the study's folder")


class GgufModel(Spec):
    """A GGUF file: dequantized to plain safetensors once."""

    gguf: str = Field(description="relative to the study's folder")


class WheelModel(Spec):
    """A GGUF file inside a wheel of the Python package registry: downloaded as an archive, never installed."""

    wheel: str = Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$", description="package==version")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="digest of the wheel")
    gguf: str = Field(description="path of the GGUF inside the wheel")


ModelSource = Annotated[
    Annotated[HubModel, Tag("hub")]
    | Annotated[FolderModel, Tag("folder")]
    | Annotated[WheelModel, Tag("wheel")]
    | Annotated[GgufModel, Tag("gguf")],
    _key_present("hub", "folder", "wheel", "gguf"),
]


class Model(Spec):
    """One model of the study and what is peculiar to it. Unset keys come from the study's own sections."""

    source: ModelSource
    name: str | None = Field(None, description="the name in results.json; null: from the source")
    size: str = Field(pattern=r"^\d+(\.\d+)?[KMB]$", description="parameters as people say it: 8B, 135M")
    layers: int | None = Field(None, ge=1, description="keep so many of the network's layers (depth pruning)")
    quantization: Quantization = Field("none", description="nf4: 4-bit NormalFloat; needs a GPU")
    unquantized_without_gpu: bool = Field(False, description="where there is no GPU, run unquantized rather than stop")
    dtype: Dtype = "bfloat16"
    prompt: Prompt = Prompt()
    generation: Generation = Generation()
    few_shot: FewShot = FewShot()
    finetune: Finetune = Finetune()
    hardware: Hardware = Hardware()

    @property
    def display_name(self) -> str:
        """The last part of where the model comes from, unless the config names it."""
        if self.name:
            return self.name
        source = self.source
        if isinstance(source, HubModel):
            return source.hub.split("/")[-1]
        return Path(source.folder if isinstance(source, FolderModel) else source.gguf).stem


# ---------------------------------------------------------------- what follows the predictions


class Statistics(Spec):
    """How sure the answer is."""

    confidence: float = Field(0.95, gt=0, lt=1, description="of every interval")
    resamples: int = Field(10_000, ge=100, description="bootstrap resamples")
    seed: int = 42


class Cost(Spec):
    """Prices that turn GPU seconds into money."""

    gpu_hour_price: float | None = Field(None, ge=0, description="null: money is left out")
    kwh_price: float | None = Field(None, ge=0, description="null: energy is not priced")
    currency: str = "USD"


class Report(Spec):
    """What the report shows."""

    title: str = "Can specialization beat size?"
    note: str | None = Field(None, description="shown under the verdict, e.g. that the data are synthetic")
    error_browser: bool = Field(True, description="false where the texts are confidential")


class Baseline(Spec):
    """TF-IDF with a linear classifier: what needs no language model."""

    tfidf: bool = True


def _all_different(values: list[Any]) -> list[Any]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"names {value} more than once")
    return values


Different = AfterValidator(_all_different)


class LearningCurve(Spec):
    """Finetunes on nested, stratified subsets of train: `results/slm/{model}/train300/`."""

    models: Annotated[list[Key], Different] = Field(min_length=1)
    train_sizes: Annotated[list[Annotated[int, Field(ge=1)]], Different] = Field(
        min_length=1, description="besides all of train"
    )
    hold: Literal["epochs", "steps"] = Field(
        "epochs",
        description="what is the same for every size: the epochs, or the optimizer steps that all of train takes",
    )


class Seeds(Spec):
    """Finetunes repeated with other seeds: `results/slm/{model}/seed1/`."""

    models: Annotated[list[Key], Different] = Field(min_length=1)
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Different] = Field(
        min_length=1, description="besides the study's own seed"
    )


class FewShotLadder(Spec):
    """More examples in the prompt of an untrained model: `results/llm/{model}/shots5/`.

    A prompt with k examples may be 1 + k times as long as prompt.max_tokens says.
    """

    models: Annotated[list[Key], Different] = Field(min_length=1)
    k: Annotated[list[Annotated[int, Field(ge=0)]], Different] = Field(
        min_length=1, description="besides the model's own few_shot.k"
    )


class Sweep(Spec):
    """A grid over finetune keys. The best on validation becomes the arm `results/slm/{model}/best/`."""

    models: Annotated[list[Key], Different] = Field(min_length=1)
    grid: dict[str, Annotated[list[Any], Field(min_length=1), Different]] = Field(
        min_length=1, description="finetune keys, dotted where nested, to their values, e.g. {lora.r: [8, 64]}"
    )


class Designs(Spec):
    """Further arms, to ask how much specialization it takes."""

    crossed: Annotated[list[Key], Different] = Field(
        default=[],
        description="models that also get the other treatment: a small one untrained (`untrained/`), "
        "a large one finetuned (`finetuned/`; with nf4 weights that is QLoRA)",
    )
    learning_curve: LearningCurve | None = None
    seeds: Seeds | None = None
    few_shot: FewShotLadder | None = None
    sweep: Sweep | None = None


class Study(Spec):
    """config.yaml."""

    data: Data
    prompt: Prompt = Prompt()
    generation: Generation = Generation()
    few_shot: FewShot = FewShot()
    finetune: Finetune = Finetune()
    hardware: Hardware = Hardware()
    seed: int = Field(42, description="of training: adapter weights, dropout, the order of samples")
    llm: dict[Key, Model] = Field(description="large models, evaluated untrained")
    slm: dict[Key, Model] = Field(description="small models, finetuned first")
    baseline: Baseline = Baseline()
    evaluation: Evaluation = Evaluation()
    designs: Designs = Designs()
    statistics: Statistics = Statistics()
    cost: Cost = Cost()
    report: Report = Report()

    @model_validator(mode="after")
    def _has_models_of_distinct_keys(self) -> Study:
        if not self.llm and not self.slm:
            raise ValueError("llm and slm are both empty: name at least one model")
        twice = sorted(set(self.llm) & set(self.slm))
        if twice:
            raise ValueError(f"{', '.join(twice)} stands under llm and under slm: give each model a key of its own")
        return self

    @model_validator(mode="after")
    def _designs_name_models_and_keys(self) -> Study:
        for name, models in _models_by_design(self.designs).items():
            for model in models:
                if model not in self.models:
                    raise ValueError(f"designs.{name} names {model}, but the models are {', '.join(self.models)}")
        for name in ("learning_curve", "seeds", "sweep"):
            for model in _models_by_design(self.designs)[name]:
                if model in self.llm and model not in self.designs.crossed:
                    raise ValueError(f"designs.{name} finetunes {model}, a large model: name it in designs.crossed too")
        for model, setting in candidates_of(self):
            try:
                overridden(self.models[model].finetune, setting)
            except ValidationError as error:
                fault = error.errors(include_url=False)[0]
                key = ".".join(map(str, fault["loc"]))
                raise ValueError(f"designs.sweep.grid: finetune.{key} {_fault(fault, key)}") from None
        return self

    @property
    def models(self) -> dict[str, Model]:
        return {**self.llm, **self.slm}


# Sections of the study that a model may override key by key.
INHERITED = ("prompt", "generation", "few_shot", "finetune", "hardware")


# ---------------------------------------------------------------- arms


class Arm(Spec):
    """A model under one treatment. `path` is its folder under results/ and its name everywhere."""

    kind: Literal["llm", "slm", "baseline"]
    model: str
    variant: str | None = None
    finetuned: bool
    design: Literal["crossed", "learning_curve", "seeds", "few_shot", "sweep"] | None = Field(
        None, description="the design that added the arm; null: the study itself"
    )
    train_size: int | None = Field(None, description="null: all of train")
    seed: int | None = Field(None, description="null: the study's")
    shots: int | None = Field(None, description="null: the model's few_shot.k")
    setting: dict[str, Any] = Field(default={}, description="finetune keys that a sweep sets, dotted")
    candidate: bool = Field(False, description="of a sweep: finetuned, judged on validation, never read on test")
    best_of: list[str] = Field(default=[], description="paths of the arms that it is chosen from, on validation")

    @property
    def path(self) -> str:
        return "/".join(part for part in (self.kind, self.model, self.variant) if part)


def arms_of(study: Study) -> list[Arm]:
    """Every arm of the study: large models, small models, the baseline, then what the designs add."""
    arms = [Arm(kind="llm", model=model, finetuned=False) for model in study.llm]
    arms += [Arm(kind="slm", model=model, finetuned=True) for model in study.slm]
    if study.baseline.tfidf:
        arms.append(Arm(kind="baseline", model="tfidf", finetuned=True))
    return arms + [arm for arm in _design_arms(study) if arm.path not in {plain.path for plain in arms}]


def candidates_of(study: Study) -> list[tuple[str, dict[str, Any]]]:
    """Each model of the sweep with each setting of its grid."""
    sweep = study.designs.sweep
    if sweep is None:
        return []
    settings = [dict(zip(sweep.grid, values, strict=True)) for values in product(*sweep.grid.values())]
    return [(model, setting) for model in sweep.models for setting in settings]


def overridden(finetune: Finetune, setting: dict[str, Any]) -> Finetune:
    """A recipe with some of its keys, dotted where nested, set anew.

    Raises:
        ValidationError: a key is none of the recipe's, or its value is not allowed.
    """
    changed = finetune.model_dump()
    for key, value in setting.items():
        section = changed
        *parents, last = key.split(".")
        for parent in parents:
            if not isinstance(section.get(parent), dict):
                section[parent] = {}
            section = section[parent]
        section[last] = value
    return Finetune.model_validate(changed)


def longest_prompt(model: Model, arm: Arm) -> int:
    """Tokens that a prompt may have: each example of a few-shot ladder adds room for a dialogue of full length."""
    return model.prompt.max_tokens * (1 + (arm.shots or 0))


def _models_by_design(designs: Designs) -> dict[str, list[str]]:
    parts = {name: getattr(designs, name) for name in ("learning_curve", "seeds", "few_shot", "sweep")}
    return {"crossed": designs.crossed, **{name: part.models if part else [] for name, part in parts.items()}}


def _design_arms(study: Study) -> Iterator[Arm]:
    designs = study.designs
    for model in designs.crossed:
        finetuned = model in study.llm
        yield _variant(study, model, "finetuned" if finetuned else "untrained", "crossed", finetuned)
    if curve := designs.learning_curve:
        for model, size in product(curve.models, curve.train_sizes):
            yield _variant(study, model, f"train{size}", "learning_curve", True, train_size=size)
    if repeats := designs.seeds:
        for model, seed in product(repeats.models, repeats.seeds):
            if seed != study.seed:
                yield _variant(study, model, f"seed{seed}", "seeds", True, seed=seed)
    if ladder := designs.few_shot:
        for model, k in product(ladder.models, ladder.k):
            if k != study.models[model].few_shot.k:
                yield _variant(study, model, f"shots{k}", "few_shot", False, shots=k)
    yield from _sweep_arms(study)


def _sweep_arms(study: Study) -> Iterator[Arm]:
    """The candidates of each model, then the arm that the best of them becomes.

    A setting that is the model's own recipe needs no candidate: the arm that is there already competes.
    """
    by_model: dict[str, list[str]] = {}
    for model, setting in candidates_of(study):
        recipe = study.models[model].finetune
        if overridden(recipe, setting) == recipe:
            path = f"llm/{model}/finetuned" if model in study.llm else f"slm/{model}"
        else:
            name = "_".join(f"{key.rpartition('.')[2]}-{value}" for key, value in setting.items())
            arm = _variant(study, model, f"sweep-{name}", "sweep", True, setting=setting, candidate=True)
            path = arm.path
            yield arm
        by_model.setdefault(model, []).append(path)
    for model, candidates in by_model.items():
        yield _variant(study, model, "best", "sweep", True, best_of=candidates)


def _variant(study: Study, model: str, variant: str, design: Any, finetuned: bool, **treatment: Any) -> Arm:
    kind: Literal["llm", "slm"] = "llm" if model in study.llm else "slm"
    return Arm(kind=kind, model=model, variant=variant, design=design, finetuned=finetuned, **treatment)


def result_key(study: Study, arm: Arm) -> str:
    """The arm's key in results.json, as the earlier pipeline wrote it: `SLM_Llama-3_2-3B-Instruct_finetuned`."""
    name = study.models[arm.model].display_name if arm.kind != "baseline" else arm.model
    status = "finetuned" if arm.finetuned else "untrained"
    variant = arm.variant if arm.variant != status else None
    return "_".join(part for part in (arm.kind.upper(), name.replace(".", "_"), status, variant) if part)


# ---------------------------------------------------------------- what each step is told


class StepSpec(Spec):
    """All that a step's result depends on, besides its input files."""

    code: str = Field("", description="digest of what the step's program means (provenance.code_digest)")


class PrepareDataSpec(StepSpec):
    data: Data
    source_digest: str | None = Field(description="digest of the local files' content; null for the hub")


class FetchModelSpec(StepSpec):
    source: ModelSource
    source_digest: str | None = Field(description="digest of a local folder's or file's content; else null")
    layers: int | None


class PromptText(Spec):
    """A prompt file's content, so that the spec changes with it."""

    system: str
    user: str
    answer: AnswerForm
    max_tokens: int


class FinetuneSpec(StepSpec):
    quantization: Quantization
    unquantized_without_gpu: bool
    dtype: Dtype
    prompt: PromptText
    finetune: Finetune
    max_new_tokens: int | None = Field(description="for selection by exact match; null where selection is by loss")
    labels: LabelSystem | None = Field(None, description="how answers are read, for selection by exact match")
    level: Level | None = Field(None, description="likewise")
    train_size: int | None = Field(None, description="finetune on so many of the train samples; null: all")
    hold_steps: bool = Field(False, description="take as many optimizer steps as on all train samples")
    seed: int


class ChooseSpec(StepSpec):
    candidates: list[str] = Field(min_length=1, description="paths of the candidate arms")
    select_by: Literal["validation_loss", "validation_exact_match"]


class PredictSpec(StepSpec):
    quantization: Quantization
    unquantized_without_gpu: bool
    dtype: Dtype
    prompt: PromptText
    generation: Generation
    few_shot: FewShot
    labels: LabelSystem
    level: Level


class BaselineSpec(StepSpec):
    candidates: int
    seed: int


class ScoreSpec(StepSpec):
    arm: str
    model_type: ModelType
    model_name: str
    model_size: str | None
    training_status: Literal["untrained", "finetuned"]
    labels: LabelSystem
    level: Level
    statistics: Statistics


class CompareSpec(StepSpec):
    arms: list[Arm]
    result_keys: dict[str, str] = Field(description="arm path to its key in results.json")
    ensemble_weights: EnsembleWeights
    statistics: Statistics
    cost: Cost


class ReportSpec(StepSpec):
    report: Report
    statistics: Statistics
    cost: Cost
    arms: list[Arm]
    config: dict[str, Any] = Field(description="the study as written, for the provenance section")


# ---------------------------------------------------------------- reading and complaining


def load_study(path: Path | str) -> Study:
    """Read and validate a config.yaml.

    Raises:
        StudyError: the file is missing, is not YAML, or breaks the schema; every fault is named.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path} is missing: a study is a folder with a config.yaml") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not YAML: {error}") from None
    return parse_study(raw, path.name)


def parse_study(raw: Any, name: str = "config.yaml") -> Study:
    """Validate a config that is already a dict, e.g. Snakemake's.

    Raises:
        StudyError: names each faulty key, its value and what is allowed.
    """
    if not isinstance(raw, dict):
        raise StudyError(f"{name} must hold keys and values, not {type(raw).__name__}")
    try:
        Study.model_validate(raw)  # the sections themselves first: a fault there is not each model's fault
        return Study.model_validate(_inherited(raw))
    except ValidationError as error:
        raise StudyError("\n".join(_complaints(error, name))) from None


SpecT = TypeVar("SpecT", bound=Spec)


def parse_spec(model: type[SpecT], text: str) -> SpecT:
    """Read a step's spec from JSON.

    Raises:
        StudyError: names each faulty key.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise StudyError("\n".join(_complaints(error, "--spec"))) from None


def _inherited(raw: dict[str, Any]) -> dict[str, Any]:
    """The config with the study's own sections put under each model's overrides."""
    merged = deepcopy(raw)
    for kind in ("llm", "slm"):
        for model in (merged.get(kind) or {}).values():
            for section in INHERITED:
                model[section] = _overlaid(raw.get(section) or {}, model.get(section) or {})
    return merged


def _overlaid(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = deepcopy(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            value = _overlaid(result[key], value)
        result[key] = value
    return result


_ALLOWED = {
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be more than {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be less than {lt:g}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must match {pattern}",
}


def _complaints(error: ValidationError, name: str) -> list[str]:
    """One line a faulty key: what is allowed, and the value that was found."""
    union_tags = {"hub", "path", "folder", "wheel", "gguf"}
    faults: dict[str, list[str]] = {}
    for fault in error.errors(include_url=False):
        where = list(fault["loc"])
        if "source" in where and len(where) > (at := where.index("source") + 1) and where[at] in union_tags:
            del where[at]
        where = [part for part in where if not (isinstance(part, str) and ("[" in part or part in _SHAPES))]
        key = ".".join(str(part) for part in where if part != "[key]")
        faults.setdefault(key or "the study", []).append(_fault(fault, key))
    return [f"{name}: {key} {' or '.join(dict.fromkeys(options))}" for key, options in faults.items()]


# What pydantic adds to the path of a key that may hold values of several types.
_SHAPES = {"str", "int", "constrained-int", "float", "bool", "literal"}


def _fault(fault: ErrorDetails, key: str) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        known = sorted({field for model in _models_of(Study) for field in model.model_fields})
        near = difflib.get_close_matches(key.split(".")[-1], known, n=1)
        return f"is not a key of a study{f'; did you mean {near[0]}?' if near else ''}"
    if kind == "value_error":
        return f"is wrong: {context['error']}"
    if kind in _ALLOWED:
        return f"{_ALLOWED[kind].format(**context)}, not {fault['input']!r}"
    return f"{fault['msg'][:1].lower()}{fault['msg'][1:]}, not {fault['input']!r}"


def _models_of(model: type[BaseModel]) -> set[type[BaseModel]]:
    """The model and every model that its fields are made of."""
    found: set[type[BaseModel]] = set()
    waiting: list[Any] = [model]
    while waiting:
        current = waiting.pop()
        if isinstance(current, type) and issubclass(current, BaseModel):
            if current not in found:
                found.add(current)
                waiting += [field.annotation for field in current.model_fields.values()]
        else:
            waiting += get_args(current)
    return found

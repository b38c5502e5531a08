"""Every path under results/, in one place: what a study leaves, and what each arm does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slingshot.config.arms import Arm

# peft's names of an adapter's files, inside the adapter's folder.
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_SETTINGS = "adapter_config.json"

ADAPTER_BASE = "base_weights.json"  # what weights it was trained on, which peft has no key for

PIPELINE = "pipeline.json"  # of a rival's files, which rival wrote them


@dataclass(frozen=True)
class ArmFiles:
    """The files of one arm, in its folder results/ARM. A shard and the validation answers are laid out alike."""

    folder: Path

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions.jsonl"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.json"

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    @property
    def adapter_weights(self) -> Path:
        return self.adapter / ADAPTER_WEIGHTS

    @property
    def adapter_settings(self) -> Path:
        return self.adapter / ADAPTER_SETTINGS

    @property
    def adapter_base(self) -> Path:
        """How the weights were quantized that the adapter was trained on."""
        return self.adapter / ADAPTER_BASE

    @property
    def fitted(self) -> Path:
        """A fitted pipeline: all that answering takes, in files that hold no code."""
        return self.folder / "fitted"

    @property
    def pipeline(self) -> Path:
        """Says which rival wrote `fitted`, with its labels and settings."""
        return self.fitted / PIPELINE

    @property
    def export(self) -> Path:
        """A folder that other tools load."""
        return self.folder / "export"

    @property
    def choice(self) -> Path:
        """Which prompt was chosen on validation, and how each did."""
        return self.folder / "choice.json"

    @property
    def training(self) -> Path:
        return self.folder / "training.json"

    @property
    def training_log(self) -> Path:
        return self.folder / "training_log.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.folder / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def shards(self) -> Path:
        return self.folder / "shards"

    @property
    def validation(self) -> ArmFiles:
        """The arm's answers to the validation split."""
        return ArmFiles(self.folder / "validation")

    def test_set(self, name: str) -> ArmFiles:
        """The arm's answers to a further test set."""
        return ArmFiles(self.folder / "test_sets" / name)

    def record(self, step: str) -> Path:
        """What a step (finetune, predict) says of itself."""
        return self.folder / f"{step}.json"

    def process(self, step: str) -> Path:
        """What the launcher saw of a step's process."""
        return self.folder / f"{step}.process.json"

    def shard(self, number: int | str, count: int) -> ArmFiles:
        """Shard `number` of `count` of the arm's predictions, counted from 1."""
        return ArmFiles(self.shards / f"{number}-of-{count}")


@dataclass(frozen=True)
class DataFiles:
    """What prepare_data writes."""

    folder: Path

    def split(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"

    @property
    def train(self) -> Path:
        return self.split("train")

    @property
    def validation(self) -> Path:
        return self.split("validation")

    @property
    def test(self) -> Path:
        return self.split("test")

    @property
    def labels(self) -> Path:
        return self.folder / "labels.json"

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset.json"

    @property
    def examples(self) -> Path:
        """Texts for the data page: what was dropped or changed, near-duplicates side by side."""
        return self.folder / "examples.json"

    @property
    def page(self) -> Path:
        return self.folder / "data.html"

    def test_set(self, name: str) -> Path:
        """A further test set; of the same form as a split."""
        return self.folder / "test_sets" / f"{name}.parquet"


@dataclass(frozen=True)
class ResultFiles:
    """A study's folder results/."""

    folder: Path

    @property
    def data(self) -> DataFiles:
        return DataFiles(self.folder / "data")

    def arm(self, path: str) -> ArmFiles:
        return ArmFiles(self.folder / path)

    @property
    def models(self) -> Path:
        return self.folder / "models"

    def model_card(self, model: str) -> Path:
        return self.models / f"{model}.json"

    @property
    def comparison(self) -> Path:
        return self.folder / "comparison.json"

    @property
    def test_sets(self) -> Path:
        """The arms on the further test sets."""
        return self.folder / "test_sets.json"

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    @property
    def archive(self) -> Path:
        return self.folder / "archive.tar.gz"

    @property
    def manifest(self) -> Path:
        """Digests of what an archive held; only in a study that was unpacked from one."""
        return self.folder / "manifest.json"

    @property
    def available(self) -> Path:
        """A folder of its own for the report of the arms that are there."""
        return self.folder / "available"

    @property
    def caches(self) -> Path:
        return self.folder / "cache"

    def cache(self, model: str, shard: str | None = None) -> Path:
        """Kept answers of a model; shards that run on several machines share none."""
        return self.caches / (f"{model}.{shard}.sqlite" if shard else f"{model}.sqlite")

    @property
    def measured(self) -> Path:
        """What computing the kept answers took."""
        return measured_beside(self.caches)

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def benchmark(self, name: str) -> Path:
        return self.folder / "benchmarks" / f"{name}.tsv"


def measured_beside(caches: Path) -> Path:
    """The folder of measurements in a folder of kept answers."""
    return caches / "measured"


def files_of_arm(arm: Arm, files: ArmFiles, validated: bool) -> list[Path]:
    """What the steps of an arm leave for compare and report, as far as its treatment makes it."""
    found = [files.metrics, files.predictions]
    for record in arm.steps:
        found += [files.record(record), files.process(record)]
    if "finetune" in arm.steps:
        found.append(files.training_log)
    return [*found, files.validation.predictions] if validated else found


def files_of_candidate(files: ArmFiles) -> list[Path]:
    """What a candidate of a sweep leaves for the choice."""
    return [
        files.adapter_weights,
        files.adapter_settings,
        files.training,
        files.training_log,
        files.record("finetune"),
        files.process("finetune"),
    ]

"""Faults that a dry run can find before anything has run: in data, windows of prompts, devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from slingshot.artifacts.layout import ResultFiles
from slingshot.config.arms import Arm, arms_of, longest_prompt
from slingshot.config.base import LabelSystem
from slingshot.config.contradictions import recipes
from slingshot.config.data import Columns, Data, FileData
from slingshot.config.study import Study
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.data.cells import is_null, plain_value
from slingshot.data.decimals import has_decimals
from slingshot.data.labels import target_of
from slingshot.data.lines import LabelColumn
from slingshot.data.readers import naming, read_file, refuse_unused_settings, source_files, wanted_columns
from slingshot.data.tables import Batch
from slingshot.study.estimate import instruction_words
from slingshot.study.steps import step_spec


def find_faults(study: Study, folder: Path, results: Path) -> list[str]:
    """One sentence per step that is known to fail; empty where none is.

    Args:
        folder: the study's, which paths in the config start from
    """
    return [
        *data_faults(study.data, folder),
        *([] if arms_of(study) else ["the study has no arm: name a model, or leave out baseline.tfidf: false"]),
        *window_faults(study, folder, results),
        *quantization_faults(study),
        *fp8_faults(study),
    ]


def data_faults(data: Data, folder: Path) -> list[str]:
    """Columns that local files lack, and labels that are not of the study's system, by each file's first rows."""
    sources: list[tuple[str, Any, Columns | None, LabelSystem]] = [("data", data.source, data.columns, data.labels)]
    sources += [
        (f"data.test_sets.{name}", one.source, one.columns, one.labels or data.labels)
        for name, one in data.test_sets.items()
    ]
    faults = []
    for key, source, own, system in sources:
        columns, named = (data.columns, "data.columns") if own is None else (own, f"{key}.columns")
        if not isinstance(source, FileData):
            continue
        try:
            for batch in naming(named, first_batches(source, f"{key}.source", columns, folder), f"{key}.source"):
                faults += label_faults(key, batch, columns.label.strip(), system, data)
        except StudyError as error:
            faults.append(str(error))
    return faults


def file_faults(study: Study, folder: Path) -> list[str]:
    """Files of prompts, models and answers that are missing: a step's spec cannot be made without them."""
    by_prompt = {(arm.prompt or study.models[arm.model].prompt.file): arm for arm in arms_of(study) if arm.generates}
    steps = [(arm.steps["predict"], arm.path) for arm in by_prompt.values()]
    steps += [("fetch_model", model) for model in study.fetched]
    for name, system in study.predictions.items():
        steps += [
            ("import_predictions", f"predictions/{name}{at}") for at in ("", *(f"@{s}" for s in system.test_sets))
        ]
    faults = []
    for step, target in steps:
        try:
            step_spec(study, folder, step, target)
        except StudyError as error:
            faults.append(str(error))
    return list(dict.fromkeys(faults))


def first_batches(source: FileData, key: str, columns: Columns, folder: Path) -> Iterator[Batch]:
    """The first rows of each file of a source, or of the first shard of each folder; `key` is the source's."""
    paths = [source.path] if isinstance(source.path, str) else list(source.path.values())
    for path in paths:
        files = source_files(folder / path, path)
        refuse_unused_settings(source, key, files)
        file = files[0]
        first = next(read_file(file, wanted_columns(columns), source, LabelColumn(columns.label.strip())), None)
        if first is not None:
            yield first


def label_faults(key: str, batch: Batch, column: str, system: LabelSystem, data: Data) -> list[str]:
    """Whether too many of the first labels are not of the system: of all rows, that is an error of prepare_data."""
    if system == "plain" or data.several is not None:
        return []
    cells = batch.columns[column]
    as_written = any(has_decimals(str(cell)) for cell in cells)
    labels = [text for cell in cells if (text := _label(cell, data.nulls, as_written)) is not None]
    wrong = [label for label in labels if target_of(label, system, data.level)[0] is None]
    if not labels or len(wrong) <= data.max_dropped_share * len(labels):
        return []
    shown = system if isinstance(system, str) else "a code tree"
    return [
        f"{key}.labels is {shown}, but {len(wrong):,} of the first {len(labels):,} labels in {batch.where} are none of "
        f"its, e.g. {wrong[0]!r}: data.labels: plain takes any label"
    ]


def _label(cell: Any, nulls: Sequence[str], as_written: bool) -> str | None:
    try:
        text, _ = plain_value(cell, nulls, as_written)
    except ValueError:
        return None
    return None if text is None or is_null(text, nulls) else text


def window_faults(study: Study, folder: Path, results: Path) -> list[str]:
    """Arms whose instruction and examples alone fill the prompt's window: a word is a token at least."""
    labels, least = _known_of_data(results)
    faults = []
    for arm in (arm for arm in arms_of(study) if arm.generates):
        model = study.models[arm.model]
        shots = 0 if arm.finetuned else model.few_shot.k if arm.shots is None else arm.shots
        window = longest_prompt(model, arm)
        words = instruction_words(study, folder, arm.model, labels)
        if words + shots * least >= window:
            examples = f" and {shots} examples of at least {least:,} words" if shots and least else ""
            faults.append(
                f"{arm.path}: its instruction of {words:,} words{examples} leaves no token of the prompt's window of "
                f"{window:,} for a text: raise prompt.max_tokens{' or lower few_shot.k' if shots else ''}"
            )
    return faults


def _known_of_data(results: Path) -> tuple[list[str], int]:
    """The labels and the words of the shortest train text, as far as the data are prepared."""
    try:
        train = read_json(ResultFiles(results).data.dataset)["splits"]["train"]
        return list(train.get("label_counts", {})), int(train.get("words", {}).get("min", 0))
    except (StudyError, OSError, ValueError, KeyError, TypeError):
        return [], 0


def quantization_faults(study: Study) -> list[str]:
    """Models whose quantized weights only a GPU multiplies, where hardware.device is cpu."""
    return [
        f"{name}: quantization: {model.quantization} needs a GPU, and its hardware.device is {model.hardware.device}; "
        "leave quantization out, or set unquantized_without_gpu: true"
        for name, model in study.models.items()
        if model.quantization != "none" and model.hardware.device != "cuda"
        if not (model.unquantized_without_gpu or model.is_asked)
    ]


def fp8_faults(study: Study) -> list[str]:
    """Finetunes whose frozen weights are to be multiplied in fp8, where they cannot be."""
    found = {name: study.models[name] for name, _, recipe in recipes(study) if recipe.fp8}
    return [
        f"{name}: finetune.fp8 needs unquantized weights on a GPU, and it has quantization: {model.quantization} and "
        f"hardware.device: {model.hardware.device}; set finetune.fp8: false"
        for name, model in found.items()
        if model.quantization not in ("none", "fp8") or model.hardware.device != "cuda"
    ]


def describe_devices(study: Study, arms: Sequence[str], has_gpu: bool) -> str:
    """A note on arms that are to run on a GPU where this machine shows none; empty where there are no such arms."""
    wanting = [] if has_gpu else [arm for arm in arms_of(study) if arm.path in arms and _wants_gpu(study, arm)]
    if not wanting:
        return ""
    names = ", ".join(arm.path for arm in wanting)
    return (
        f"No GPU is seen here, and {names} would run on one (hardware.device: cuda): run this where there is one, or "
        "set hardware.device: cpu."
    )


def _wants_gpu(study: Study, arm: Arm) -> bool:
    return arm.has_weights and study.networks[arm.model].hardware.device == "cuda"

"""A finished arm as a folder that any tool loads: weights, tokenizer, prompt, settings, and a card of its scores."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.model_card import ModelCard, read_model_card
from slingshot.artifacts.predictions import read_predictions
from slingshot.artifacts.records import StepRecord
from slingshot.config.arms import Arm
from slingshot.config.specs import PredictSpec
from slingshot.config.study import load_study
from slingshot.core.errors import StudyError
from slingshot.core.files import write_json, write_text
from slingshot.deployment.answer import read_arm_record
from slingshot.deployment.card import card_of_export, use_of_classifier, use_of_writer
from slingshot.deployment.gguf_file import write_gguf
from slingshot.deployment.pipelines import write_pipeline
from slingshot.deployment.plain import choose_plainly, label_lists, samples_of, write_plainly
from slingshot.generation.cached_answers import ran_unquantized
from slingshot.generation.predict import examples_of
from slingshot.prompting.chat_template import ChatTemplate
from slingshot.prompting.prompter import Prompter
from slingshot.study.steps import arm_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportJob:
    """What to export where. `merge`: also where the adapter was trained on quantized weights."""

    study: Path
    arm: str
    folder: Path
    merge: bool = False
    check: int = 10
    gguf: bool = False


@dataclass
class Exported:
    """An arm on its way into a folder; `notes` are what its card says of it."""

    arm: Arm
    card: ModelCard
    files: ArmFiles
    results: ResultFiles
    spec: PredictSpec
    dtype: str  # of the answers that the study scored
    trained: str  # how the weights were quantized that the adapter was trained on; none, too, without an adapter
    answered: str  # how those were quantized that the study's answers came from
    merged: bool
    notes: list[str] = field(default_factory=list)

    @property
    def classifies(self) -> bool:
        return self.spec.head == "classify"

    @property
    def is_exact(self) -> bool:
        """Whether other tools have to give the same answers: 16 bits differ by rounding, other weights by more."""
        return self.dtype == "float32" and self.trained == self.answered == "none"


def export(job: ExportJob) -> None:
    """Write the folder, whole or not at all, and compare its answers with the study's.

    Raises:
        StudyError: the arm has no results or no weights of its own, or the exported model answers differently.
    """
    study = load_study(job.study / "config.yaml")
    arm = arm_of(study, job.arm)
    results = ResultFiles(job.study / "results")
    files = results.arm(arm.path)
    record = read_arm_record(results, arm)
    target = job.folder.with_name(job.folder.name + ".unfinished")
    shutil.rmtree(target, ignore_errors=True)
    if not arm.generates or not arm.has_weights:
        notes = write_pipeline(target, arm, files, results, job.check)
    else:
        notes = _write_model_folder(target, _exported(arm, files, results, record, job.merge), job)
    shutil.rmtree(job.folder, ignore_errors=True)
    target.rename(job.folder)
    log.info("%s: exported to %s; %s", arm.path, job.folder, "; ".join(notes) or "nothing compared")


def _exported(arm: Arm, files: ArmFiles, results: ResultFiles, record: StepRecord, merge: bool) -> Exported:
    from slingshot.nn.adapter_files import trained_on

    spec = PredictSpec.model_validate(record.spec)
    trained = (trained_on(files.adapter) if arm.finetuned else None) or "none"
    return Exported(
        arm=arm,
        card=read_model_card(results.model_card(arm.model)),
        files=files,
        results=results,
        spec=spec,
        dtype=record.dtype or "float32",
        trained=trained,
        answered="none" if ran_unquantized(record.notes) else spec.quantization,
        merged=trained == "none" or merge,
    )


def _write_model_folder(target: Path, exported: Exported, job: ExportJob) -> list[str]:
    """Everything of a language model's folder; returns the notes of its card.

    Raises:
        StudyError: an answer of transformers differs where none may; the folder is kept.
    """
    target.mkdir(parents=True)
    notes = exported.notes
    _write_weights(target, exported)
    prompter = _write_tokenizer(target, exported)
    _write_settings(target, exported, prompter)
    if exported.merged and job.check:
        _compare_answers(target, exported, job.check)
    if job.gguf:
        if not exported.merged or exported.classifies:
            raise StudyError("--gguf needs merged weights of a model that writes its answers")
        write_gguf(target, target / "model.gguf")
    use = use_of_classifier(exported.spec) if exported.classifies else use_of_writer(exported.spec, exported.merged)
    card = card_of_export(exported.arm, exported.card, exported.files, exported.results, use, notes)
    write_text(target / "README.md", card)
    return notes


def _write_weights(target: Path, exported: Exported) -> None:
    """Merged weights, or the adapter alone, which names its base model and revision."""
    if not exported.merged:
        shutil.copytree(exported.files.adapter, target, dirs_exist_ok=True)
        exported.notes.append(
            f"the adapter was trained on {exported.trained} weights and is kept apart: merge it with --merge"
        )
        return
    import torch

    from slingshot.models.loading import load_model
    from slingshot.nn.adapter_files import merge_adapter

    model = load_model(exported.card, "none", exported.dtype, "cpu")  # type: ignore[arg-type]
    if exported.arm.finetuned:
        merge_adapter(model, exported.files.adapter)
    if exported.classifies:
        from slingshot.nn.class_head import as_classifier

        model = as_classifier(model, exported.files.adapter)
    _write_model(model, target)
    del model
    torch.compiler.reset()
    if exported.trained != "none":
        note = f"the adapter was trained on {exported.trained} weights and merged into unquantized ones"
        log.warning("%s: %s; its answers may differ from those that the study scored", exported.arm.path, note)
        exported.notes.append(note)
    elif exported.answered != "none":
        exported.notes.append(f"the study's answers came from {exported.answered} weights; these are unquantized")


def _write_model(model: PreTrainedModel, target: Path) -> None:
    if model.can_generate():
        model.generation_config = type(model.generation_config)()
    model.save_pretrained(target, safe_serialization=True)


def _write_tokenizer(target: Path, exported: Exported) -> Prompter:
    """The tokenizer, its template with the arguments fixed that the study used."""
    from slingshot.models.loading import generation_end_ids, load_tokenizer

    spec = exported.spec
    tokenizer = load_tokenizer(exported.card)
    lists = label_lists(spec, exported.results)
    prompter = Prompter(tokenizer, spec.prompt, lists, spec.generation.thinking, generation_end_ids(exported.card))
    if tokenizer.chat_template:
        tokenizer.chat_template = ChatTemplate(tokenizer, spec.generation.thinking).fixed_source
    tokenizer.save_pretrained(target)
    return prompter


def _write_settings(target: Path, exported: Exported, prompter: Prompter) -> None:
    """The prompt as a file and, for a model that writes, greedy decoding and a Modelfile for Ollama."""
    spec = exported.spec
    prompt: dict[str, Any] = {
        "system": spec.prompt.system,
        "user": spec.prompt.user,
        "answer": spec.prompt.answer,
        "max_tokens": spec.prompt.max_tokens,
    }
    if spec.prompt.several is not None:
        prompt["several"] = spec.prompt.several.model_dump()
    if spec.few_shot.k and spec.few_shot.selection == "random":
        lists = label_lists(spec, exported.results)
        examples = examples_of([""], spec, exported.results.data.train, lists)[0]
        prompt["examples"] = [{"text": each.text, "answer": each.answer} for each in examples]
        exported.notes.append("prompt.yaml holds train texts as worked examples: it is as confidential as these are")
    elif spec.few_shot.k:
        exported.notes.append("the worked examples are train texts near each new one: only scripts/answer.py has them")
    write_text(target / "prompt.yaml", yaml.safe_dump(prompt, sort_keys=False, allow_unicode=True))
    if exported.classifies:
        return
    new_tokens = spec.generation.max_new_tokens
    if spec.generation.thinking:
        new_tokens += spec.generation.thinking_tokens
    write_json(
        target / "generation_config.json",
        {"do_sample": False, "max_new_tokens": new_tokens, "eos_token_id": prompter.end_ids},
    )
    if exported.merged:
        write_text(target / "Modelfile", modelfile(spec, new_tokens))


def modelfile(spec: PredictSpec, new_tokens: int) -> str:
    """What `ollama create` reads: weights, greedy decoding, window and system prompt."""
    system = spec.prompt.system.strip().replace('"""', '"')
    lines = [
        "# ollama create NAME -f Modelfile",
        "FROM .",
        "PARAMETER temperature 0",
        f"PARAMETER num_predict {new_tokens}",
        f"PARAMETER num_ctx {spec.prompt.max_tokens + new_tokens}",
        f'SYSTEM """{system}"""',
    ]
    return "\n".join(lines) + "\n"


def _compare_answers(folder: Path, exported: Exported, count: int) -> None:
    """Answer test samples by plain transformers on the exported folder, and note how many answers are the study's.

    Raises:
        StudyError: one differs, though neither rounding nor other weights explain it.
    """
    if exported.spec.generation.thinking:
        exported.notes.append(
            "not compared: the study closes a thought after its tokens, which plain generate does not"
        )
        return
    samples = samples_of(exported.results.data.test, exported.spec)[:count]
    expected = {each.sample_id: each.raw for each in read_predictions(exported.files.predictions)}
    answer = choose_plainly if exported.classifies else write_plainly
    found = answer(folder, samples, exported.spec, exported.results, exported.dtype)
    unlike = sum(text != expected[sample["sample_id"]] for sample, text in zip(samples, found, strict=True))
    exported.notes.append(
        f"{len(samples) - unlike} of {len(samples)} test samples answered by plain transformers as in the study"
    )
    if unlike and exported.is_exact:
        raise StudyError(
            f"{unlike} of {len(samples)} answers of the exported model differ from {exported.files.predictions}: "
            f"{folder} is kept to be looked at"
        )

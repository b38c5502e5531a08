"""A finished arm as a folder that any tool loads: weights, tokenizer, prompt, settings, and a card of its scores."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.layout import ADAPTER_SETTINGS, ArmFiles, ResultFiles
from slingshot.artifacts.model_card import ModelCard, read_model_card
from slingshot.artifacts.predictions import read_predictions
from slingshot.artifacts.records import StepRecord
from slingshot.artifacts.splits import columns_of_samples, read_samples
from slingshot.config.arms import Arm
from slingshot.config.specs import PredictSpec
from slingshot.config.study import load_study
from slingshot.core.errors import StudyError
from slingshot.core.files import write_json, write_text
from slingshot.deployment.answer import recorded
from slingshot.deployment.card import card_of_export
from slingshot.generation.predict import make_prompts
from slingshot.prompting.chat_template import ChatTemplate
from slingshot.prompting.label_lists import LabelLists
from slingshot.prompting.prompter import Prompter
from slingshot.study.steps import arm_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

CONVERTER = "convert_hf_to_gguf.py"


@dataclass(frozen=True)
class ExportJob:
    """What to export where. `merge`: also where the adapter was trained on quantized weights."""

    study: Path
    arm: str
    folder: Path
    merge: bool = False
    check: int = 10
    gguf: bool = False


def export(job: ExportJob) -> None:
    """Write the folder, whole or not at all, and compare its answers with the study's.

    Raises:
        StudyError: the arm has no results or no weights of its own, or the exported model answers differently.
    """
    study = load_study(job.study / "config.yaml")
    arm = arm_of(study, job.arm)
    results = ResultFiles(job.study / "results")
    files = results.arm(arm.path)
    record = recorded(files, arm)
    if not arm.generates or not arm.has_weights:
        _export_pipeline(job, files, arm, results, record)
        return
    spec = PredictSpec.model_validate(record.spec)
    if spec.head == "classify":
        raise StudyError(
            f"{arm.path} has a classification head, which no other tool loads: answer new texts with scripts/answer.py"
        )
    card = read_model_card(results.model_card(arm.model))
    target = job.folder.with_name(job.folder.name + ".unfinished")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    merged = not arm.finetuned or spec.quantization == "none" or job.merge
    notes = _write_weights(target, card, files, arm, spec, merged)
    prompter = _write_tokenizer(target, card, spec, results)
    _write_settings(target, spec, prompter)
    differing = _compare_answers(target, results, files, spec, job.check) if merged and job.check else None
    if differing is not None:
        checked, unlike = differing
        notes.append(f"{checked - unlike} of {checked} test samples answered by plain transformers as in the study")
        if unlike and not notes_explain(spec, arm):
            raise StudyError(
                f"{unlike} of {checked} answers of the exported model differ from {files.predictions}: "
                f"{target} is kept to be looked at"
            )
    write_text(target / "README.md", card_of_export(arm, card, files, results, spec, merged, notes))
    shutil.rmtree(job.folder, ignore_errors=True)
    target.rename(job.folder)
    if job.gguf:
        _convert(job.folder)
    log.info("%s: exported to %s; %s", arm.path, job.folder, "; ".join(notes) or "nothing compared")


def notes_explain(spec: PredictSpec, arm: Arm) -> bool:
    """Whether answers may differ: in 16 bits by rounding, and where quantized weights became unquantized ones."""
    return spec.dtype != "float32" or spec.quantization != "none"


def _write_weights(
    target: Path, card: ModelCard, files: ArmFiles, arm: Arm, spec: PredictSpec, merged: bool
) -> list[str]:
    """Merged weights, or the adapter alone with the base model's name and revision; returns what to know about it."""
    if not merged:
        shutil.copytree(files.adapter, target, dirs_exist_ok=True)
        _name_base(target, card)
        return [f"the adapter was trained on {spec.quantization} weights and is kept apart: merge it with --merge"]
    import torch

    from slingshot.models.loading import load_model
    from slingshot.nn.adapter_files import merge_adapter

    dtype = spec.dtype if spec.dtype != "auto" else "bfloat16"
    model = load_model(card, "none", dtype, "cpu")
    if arm.finetuned:
        merge_adapter(model, files.adapter)
    _write_model(model, target)
    del model
    torch.compiler.reset()
    if arm.finetuned and spec.quantization != "none":
        note = f"the adapter was trained on {spec.quantization} weights and merged into unquantized ones"
        log.warning("%s: %s; its answers differ from those that the study scored", arm.path, note)
        return [note]
    return []


def _write_model(model: PreTrainedModel, target: Path) -> None:
    model.generation_config = type(model.generation_config)()
    model.save_pretrained(target, safe_serialization=True)


def _name_base(target: Path, card: ModelCard) -> None:
    """Say in adapter_config.json which model of which revision the adapter belongs to."""
    path = target / ADAPTER_SETTINGS
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings |= {"base_model_name_or_path": card.source.get("hub", card.name), "revision": card.revision}
    write_json(path, settings)


def _write_tokenizer(target: Path, card: ModelCard, spec: PredictSpec, results: ResultFiles) -> Prompter:
    """The tokenizer, its template with the arguments fixed that the study used."""
    from slingshot.models.loading import generation_end_ids, load_tokenizer

    tokenizer = load_tokenizer(card)
    prompter = Prompter(
        tokenizer, spec.prompt, _lists(spec, results), spec.generation.thinking, generation_end_ids(card)
    )
    if tokenizer.chat_template:
        tokenizer.chat_template = ChatTemplate(tokenizer, spec.generation.thinking).fixed_source
    tokenizer.save_pretrained(target)
    return prompter


def _lists(spec: PredictSpec, results: ResultFiles) -> LabelLists:
    labels = read_labels(results.data.labels)
    return LabelLists(
        spec.prompt,
        labels,
        lambda: read_samples(results.data.train, columns_of_samples(spec.prompt.several is not None)),
    )


def _write_settings(target: Path, spec: PredictSpec, prompter: Prompter) -> None:
    """Greedy decoding, the prompt as a file, and a Modelfile for Ollama."""
    write_json(
        target / "generation_config.json",
        {"do_sample": False, "max_new_tokens": spec.generation.max_new_tokens, "eos_token_id": prompter.end_ids},
    )
    prompt = {
        "system": spec.prompt.system,
        "user": spec.prompt.user,
        "answer": spec.prompt.answer,
        "max_tokens": spec.prompt.max_tokens,
    }
    write_text(target / "prompt.yaml", yaml.safe_dump(prompt, sort_keys=False, allow_unicode=True))
    system = spec.prompt.system.strip().replace('"""', '"')
    lines = [
        "# ollama create NAME -f Modelfile",
        "FROM .",
        "PARAMETER temperature 0",
        f"PARAMETER num_predict {spec.generation.max_new_tokens}",
        f"PARAMETER num_ctx {spec.prompt.max_tokens + spec.generation.max_new_tokens}",
        f'SYSTEM """{system}"""',
    ]
    write_text(target / "Modelfile", "\n".join(lines) + "\n")


def _compare_answers(
    folder: Path, results: ResultFiles, files: ArmFiles, spec: PredictSpec, count: int
) -> tuple[int, int]:
    """Answer test samples by plain transformers on the exported folder; returns how many, and how many differ."""
    samples = read_samples(results.data.test, columns_of_samples(spec.prompt.several is not None))[:count]
    expected = {prediction.sample_id: prediction for prediction in read_predictions(files.predictions)}
    found = answer_plainly(folder, samples, spec, results)
    return len(samples), sum(
        text != expected[sample["sample_id"]].raw for sample, text in zip(samples, found, strict=True)
    )


def answer_plainly(
    folder: Path, samples: Sequence[dict[str, Any]], spec: PredictSpec, results: ResultFiles
) -> list[str]:
    """The raw answers of transformers' own `generate`, one prompt at a time, with nothing of ours but the prompt."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = spec.dtype if spec.dtype != "auto" else "bfloat16"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), use_safetensors=True).eval()
    lists = _lists(spec, results)
    prompter = Prompter(tokenizer, spec.prompt, lists, spec.generation.thinking)
    prompts = make_prompts(prompter, list(samples), spec, results.data.train, lists)
    answers = []
    with torch.inference_mode():
        for prompt in prompts:
            ids = torch.tensor([prompt.ids])
            out = model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0)
            answers.append(str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)))
    return answers


def _export_pipeline(job: ExportJob, files: ArmFiles, arm: Arm, results: ResultFiles, record: StepRecord) -> None:
    """A fitted pipeline is a folder of files already: it gets a card beside it."""
    if not files.fitted.is_dir():
        raise StudyError(f"{arm.path} has no weights and no fitted pipeline of its own: there is nothing to export")
    shutil.rmtree(job.folder, ignore_errors=True)
    shutil.copytree(files.fitted, job.folder)
    write_text(job.folder / "README.md", card_of_export(arm, None, files, results, record.spec, True, []))
    log.info("%s: exported to %s", arm.path, job.folder)


def _convert(folder: Path) -> None:
    """A GGUF beside the weights, by llama.cpp's own converter where it is installed."""
    found = shutil.which(CONVERTER)
    if found is None:
        raise StudyError(f"--gguf needs llama.cpp's {CONVERTER} on the PATH; the folder {folder} itself is complete")
    subprocess.run([found, str(folder), "--outfile", str(folder / "model.gguf")], check=True)

"""A finished arm as a folder that any tool loads: weights, tokenizer, prompt, settings, and a card of its scores."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.model_card import ModelCard, read_model_card
from slingshot.artifacts.predictions import read_predictions
from slingshot.artifacts.records import StepRecord
from slingshot.artifacts.splits import columns_of_samples, read_samples
from slingshot.config.arms import Arm
from slingshot.config.specs import PredictSpec
from slingshot.config.study import load_study
from slingshot.core.errors import StudyError
from slingshot.core.files import let_others_read, write_json, write_text
from slingshot.core.terminal import show
from slingshot.deployment.answer import read_arm_record
from slingshot.deployment.card import (
    MODEL_LICENCE,
    ORIGIN,
    FolderOrigin,
    card_of_export,
    use_of_classifier,
    use_of_writer,
)
from slingshot.deployment.compared_answers import ComparedAnswers, reason_of
from slingshot.deployment.gguf_file import write_gguf
from slingshot.deployment.pipelines import write_pipeline
from slingshot.deployment.plain import choose_plainly, plain_prompts, write_plainly
from slingshot.deployment.prompt_files import ExportedPrompt, check_exportable, fill_prompt, modelfile
from slingshot.generation.cached_answers import ran_unquantized
from slingshot.generation.predict import examples_of, make_prompts, prompter_of
from slingshot.prompting.answering_job import longest_answer
from slingshot.prompting.chat_template import ChatTemplate
from slingshot.prompting.label_lists import LabelLists
from slingshot.prompting.prompter import Prompter
from slingshot.study.steps import arm_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

# What an export holds, and what Snakemake leaves in a folder that it made.
EXPORTED = (
    *("README.md", "Modelfile", "prompt.yaml", "network", "merges.txt", "vocab.txt", ".snakemake_timestamp"),
    *("*.json", "*.jinja", "*.safetensors", "*.gguf", "*.skops", "*.model"),
)

MOST_PROMPTS = 100  # test samples whose prompts are made again by transformers alone


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
    record: StepRecord
    notes: list[str] = field(default_factory=list)
    doubt: str | None = None  # of the scores on its card
    prompts: list[tuple[str, list[int]]] = field(default_factory=list)  # of test samples by their ids

    @property
    def new_tokens(self) -> int:
        """Tokens of an answer at most, with the thought before it."""
        return longest_answer(self.spec.generation)

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
    folder = job.folder.resolve()  # `.`, or a link
    refuse_other_folder(folder)
    study = load_study(job.study / "config.yaml")
    arm = arm_of(study, job.arm)
    if "predict" not in arm.steps:
        raise StudyError(f"{arm.path} is a file of predictions: there is nothing to export")
    results = ResultFiles(job.study / "results")
    files = results.arm(arm.path)
    record = read_arm_record(results, arm)
    target = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(target, ignore_errors=True)
    if not arm.generates or not arm.has_weights:
        if job.merge or job.gguf:
            raise StudyError(f"{arm.path} is no language model with weights here: leave --merge and --gguf out")
        notes, doubt = write_pipeline(target, arm, files, results, job.check)
    else:
        notes, doubt = _write_model_folder(target, _exported(arm, files, results, record, job.merge), job)
    let_others_read(target)
    shutil.rmtree(folder, ignore_errors=True)
    target.rename(folder)
    log.info("%s: exported to %s; %s", arm.path, job.folder, "; ".join(notes) or "nothing compared")
    if doubt:
        log.warning("warning: %s", doubt)
        show(f"warning: {doubt}")


def refuse_other_folder(folder: Path) -> None:
    """Stop before an export takes the place of anything but an earlier export, which its card tells.

    Raises:
        StudyError: names the folder.
    """
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder} is a file: name a folder")
    card = folder / "README.md"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    is_export = card.is_file() and ORIGIN in card.read_text(encoding="utf-8", errors="replace")
    if names and not (is_export and all(any(fnmatch(name, form) for form in EXPORTED) for name in names)):
        raise StudyError(f"{folder} holds other files than an export, which would be lost: name a new folder")


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
        record=record,
    )


def _write_model_folder(target: Path, exported: Exported, job: ExportJob) -> tuple[list[str], str | None]:
    """Everything of a language model's folder; returns the notes of its card, and what puts its scores in doubt.

    Raises:
        StudyError: a prompt or an answer of transformers differs where none may; the folder is kept.
    """
    check_exportable(exported.arm.path, exported.spec)
    target.mkdir(parents=True)
    _write_weights(target, exported)
    _write_tokenizer(target, exported)
    prompt = _write_settings(target, exported)
    if exported.merged and job.check:
        _compare_answers(target, exported, job.check)
    if job.gguf:
        if not exported.merged or exported.classifies:
            raise StudyError("--gguf needs merged weights of a model that writes its answers")
        write_gguf(target, target / "model.gguf")
    tokens = (prompt.max_tokens, exported.new_tokens)
    use = use_of_classifier(tokens[0]) if exported.classifies else use_of_writer(*tokens, exported.merged)
    loader = "transformers" if exported.merged else "peft"
    origin = FolderOrigin(exported.card, loader, MODEL_LICENCE)
    card = card_of_export(exported.arm, origin, exported.files, exported.results, use, exported.notes, exported.doubt)
    write_text(target / "README.md", card)
    return exported.notes, exported.doubt


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


def _write_tokenizer(target: Path, exported: Exported) -> None:
    """The tokenizer, its template with the arguments fixed that the study used."""
    from slingshot.models.loading import load_tokenizer

    tokenizer = load_tokenizer(exported.card)
    if tokenizer.chat_template:
        tokenizer.chat_template = ChatTemplate(tokenizer, exported.spec.generation.thinking).fixed_source
    tokenizer.save_pretrained(target)


def _study_prompter(exported: Exported, lists: LabelLists) -> Prompter:
    """What built the study's prompts, its window within the model's context."""
    from slingshot.models.loading import load_tokenizer

    card = exported.card
    return prompter_of(load_tokenizer(card), exported.spec, card, lists, exported.record.notes)[0]


def _write_settings(target: Path, exported: Exported) -> ExportedPrompt:
    """The prompt as a file and, for a model that writes, greedy decoding and a Modelfile for Ollama.

    Raises:
        StudyError: transformers makes other prompts of the folder than the study's.
    """
    spec, train = exported.spec, exported.results.data.train
    lists = LabelLists(spec.prompt, read_labels(exported.results.data.labels), list)  # ranks no candidates
    prompter = _study_prompter(exported, lists)
    examples = examples_of([""], spec, train, lists)[0] if spec.few_shot.k else []
    if examples:
        exported.notes.append(
            "the prompt's files hold train texts as worked examples: they are as confidential as these are"
        )
    prompt = fill_prompt(spec, prompter.template, prompter.window, lists.of([""])[0], examples)
    prompt.write(target)
    exported.prompts = _same_prompts(target, exported, prompter, lists)
    if exported.classifies:
        return prompt
    end_ids = prompter.end_ids
    write_json(
        target / "generation_config.json",
        {"do_sample": False, "max_new_tokens": exported.new_tokens, "eos_token_id": end_ids},
    )
    if exported.merged:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(target, trust_remote_code=False)
        write_text(target / "Modelfile", modelfile(tokenizer, prompt, exported.new_tokens, end_ids))
    return prompt


def _same_prompts(
    target: Path, exported: Exported, prompter: Prompter, lists: LabelLists
) -> list[tuple[str, list[int]]]:
    """Test samples with their prompts: first those that transformers makes of the folder as the study made them.

    Behind them stand, as the study made them, those whose text it had to change: to cut its middle, or to break up
    control tokens.

    Raises:
        StudyError: another prompt differs.
    """
    spec, data = exported.spec, exported.results.data
    samples = read_samples(data.test, columns_of_samples(spec.prompt.several is not None))[:MOST_PROMPTS]
    pairs = list(zip(samples, make_prompts(prompter, samples, spec, data.train, lists), strict=True))
    whole = [
        (sample, prompt)
        for sample, prompt in pairs
        if not prompt.truncated and prompter.template.as_text(sample["text"]) == sample["text"]
    ]
    changed = [pair for pair in pairs if pair not in whole]
    if changed:
        exported.notes.append(
            f"the study cut the text of {len(changed)} of {len(pairs)} test samples, or broke up control tokens in it, "
            "which a reader of this folder has to do, too"
        )
    plain = plain_prompts(target, [sample["text"] for sample, _ in whole])
    unlike = sum(prompt.ids != found for (_, prompt), found in zip(whole, plain, strict=True))
    if unlike:
        raise StudyError(
            f"{exported.arm.path} cannot be exported: transformers makes another prompt of its prompt file and chat "
            f"template than the study had ({unlike} of {len(whole)} test samples), as where a prompt has a condition "
            "or a filter on {{ text }}, or a template rewrites worked examples; answer with scripts/answer.py"
        )
    return [(sample["sample_id"], prompt.ids) for sample, prompt in [*whole, *changed]]


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
    prompts = exported.prompts[:count]
    expected = {each.sample_id: each.raw for each in read_predictions(exported.files.predictions)}
    answer = choose_plainly if exported.classifies else write_plainly
    found = answer(folder, [ids for _, ids in prompts], exported.dtype)
    alike = sum(text == expected[sample] for (sample, _), text in zip(prompts, found, strict=True))
    reason = reason_of(exported.dtype, exported.trained, exported.answered)
    compared = ComparedAnswers(alike, len(prompts), "plain transformers", reason)
    exported.notes.append(compared.note)
    exported.doubt = compared.doubt
    if compared.unlike and exported.is_exact:
        raise StudyError(
            f"{compared.unlike} of {len(prompts)} answers of the exported model differ from "
            f"{exported.files.predictions}: {folder} is kept to be looked at"
        )

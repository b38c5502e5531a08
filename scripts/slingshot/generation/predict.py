"""Answer every sample of a split with one arm, from the cache where an answer is kept there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.layout import measured_beside
from slingshot.artifacts.measurements import find_earlier
from slingshot.artifacts.model_card import ModelCard, read_model_card
from slingshot.artifacts.predictions import Prediction, write_predictions
from slingshot.artifacts.records import StepRecord, timed
from slingshot.artifacts.splits import columns_of_samples, read_samples
from slingshot.artifacts.training import digest_of_adapter
from slingshot.config.specs import PredictSpec
from slingshot.core.code_digest import code_digest
from slingshot.core.environment import device_name, processor_name, versions
from slingshot.core.errors import StudyError
from slingshot.core.hashing import digest_of_file, digest_of_text
from slingshot.generation.cache import PredictionCache, prompt_key
from slingshot.generation.cached_answers import answer_all, fallback_note, falls_back, settings_of_parts, weights_of
from slingshot.generation.finished_runs import keep_run, recall_run, run_key
from slingshot.generation.read_answers import read_answers
from slingshot.models.lean_imports import prepare_imports, without_compiler
from slingshot.models.loading import context_length, generation_end_ids, load_tokenizer, warn_of_missing_template
from slingshot.models.number_types import number_type
from slingshot.prompting.answering_job import AnsweringJob
from slingshot.prompting.answers import AnswerReader
from slingshot.prompting.choices import with_choice
from slingshot.prompting.examples import choose_examples
from slingshot.prompting.label_lists import LabelLists
from slingshot.prompting.messages import Example
from slingshot.prompting.prompter import Prompter, Tokens
from slingshot.prompting.right_answers import AnswerWriter

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from slingshot.generation.answer_trie import AnswerTrie
    from slingshot.generation.types import Answer, GenerationStats, Memory

log = logging.getLogger(__name__)

PROGRAM = Path(__file__).parents[2] / "predict.py"

CLASSIFIED = 5  # candidates that a head over labels gives at least: they cost nothing


@dataclass(frozen=True, kw_only=True)
class PredictJob(AnsweringJob):
    """What to answer with which model, where the outputs go, and what it may take of the machine."""

    spec: PredictSpec
    model: Path
    adapter: Path | None = None
    shard: tuple[int, int] = (1, 1)
    device: str = "cuda"
    token_budget: int | None = None
    memory_gb: float | None = None
    attempt: int = 1


def predict(job: PredictJob) -> None:
    """Answer every sample and write predictions.jsonl and the step's record."""
    spec, notes = with_choice(job.spec, job.choice)
    job = replace(job, spec=spec)
    card = read_model_card(job.model)
    record = begin_record(job, card)
    record.notes += notes
    key = run_key(facts_of_run(job, card, record))
    with PredictionCache(job.cache) as cache:
        predictions = None if job.is_forced else recall_run(cache, key, record)
        if predictions is None:
            predictions = answer_samples(job, card, record, cache)
            keep_run(cache, key, record, predictions)
    finish(job, record, predictions)


def facts_of_run(job: PredictJob, card: ModelCard, record: StepRecord) -> dict[str, Any]:
    """All that the run's predictions depend on."""
    return {
        "spec": record.spec,
        "inputs": record.inputs | {"train": digest_of_file(job.train)},
        "layers": card.layers,
        "shard": job.shard,
        "quantization": weights_of(job.spec, job.device),
        "dtype": record.dtype,
        "versions": record.versions,
        "code": job.spec.code or code_digest(PROGRAM),
    }


def answer_samples(job: PredictJob, card: ModelCard, record: StepRecord, cache: PredictionCache) -> list[Prediction]:
    """Each sample's answer: from the cache of its prompt's answers, else computed."""
    spec = job.spec
    shard, shards = job.shard
    columns = columns_of_samples(spec.prompt.several is not None)
    samples = read_samples(job.split, columns)[shard - 1 :: shards]
    labels = read_labels(job.labels)
    with timed(record.seconds, "tokenizer"):  # and with it transformers
        prepare_imports(alone=True)
        tokenizer = load_tokenizer(card)
    record.warnings += warn_of_missing_template(card, tokenizer)
    lists = LabelLists(spec.prompt, labels, lambda: read_samples(job.train, columns))
    with timed(record.seconds, "prompts"):
        prompter, lead, trie = prompter_of(tokenizer, spec, card, lists, record.notes)
        prompts = make_prompts(prompter, samples, spec, job.train, lists)
    describe(prompts)
    record.notes += lists.describe_recall(samples)
    if falls_back(spec, job.device):
        record.notes.append(fallback_note(spec, record.dtype))
    if spec.head == "classify":
        return classify_samples(job, card, record, samples, prompts)
    answers = find_or_compute(ArmModel(job, card, record, prompts, tuple(prompter.end_ids), lead, trie), cache)
    reader = AnswerReader({label.label: label.description for label in labels}, spec.labels, spec.level)
    return read_answers(samples, prompts, answers, tokenizer, reader, spec)


def prompter_of(
    tokenizer: PreTrainedTokenizerBase, spec: PredictSpec, card: ModelCard, lists: LabelLists, notes: list[str]
) -> tuple[Prompter, tuple[int, ...], AnswerTrie | None]:
    """What makes an arm's prompts, in the model's own context; the tokens that close its thought; the answers allowed.

    Args:
        notes: filled in, where the context is shorter than the window that the study allows.
    """
    prompter = Prompter(tokenizer, spec.prompt, lists, spec.generation.thinking, generation_end_ids(card))
    trie = None
    if spec.generation.constrained or spec.generation.candidates:
        from slingshot.generation.allowed_answers import allowed_answers  # imports torch

        trie = allowed_answers(prompter, lists.labels, spec)
    lead = tuple(prompter.thought_end_ids) if spec.generation.thinking else ()
    return within_context(prompter, card, tokens_of_answer(spec, trie, lead), notes), lead, trie


def begin_record(job: PredictJob, card: ModelCard) -> StepRecord:
    spec = job.spec
    return StepRecord(
        step="predict",
        arm=job.arm,
        spec=spec.model_dump(mode="json"),
        inputs=digests_of_inputs(job, card),
        versions=versions(),
        device=processor_name(),  # until a model is loaded elsewhere
        dtype=number_type(spec.dtype, job.device),
        seed=spec.few_shot.seed if spec.few_shot.k else None,
    )


def tokens_of_answer(spec: PredictSpec, trie: AnswerTrie | None, lead: Sequence[int]) -> int:
    """The most tokens that an answer takes, with the thought before it and what closes that."""
    tokens = max(spec.generation.max_new_tokens, trie.steps(spec.generation.max_new_tokens) if trie else 0)
    return tokens + (spec.generation.thinking_tokens + len(lead) if lead else 0)


@dataclass
class ArmModel:
    """The arm's model and what it answers; it is loaded when the first answer has to be computed."""

    job: PredictJob
    card: ModelCard
    record: StepRecord
    prompts: Sequence[Tokens]
    end_ids: tuple[int, ...]
    lead: tuple[int, ...]  # tokens that close a thought; empty where the arm does not think
    trie: AnswerTrie | None
    model: PreTrainedModel | None = None

    def compute(self, parts: tuple[str, ...], indices: list[int]) -> Iterator[dict[int, Answer]]:
        """Answers of some prompts, by their indices, as groups finish."""
        self.model = self.model or load(self.job, self.job.spec, self.card, self.record)
        from slingshot.generation.types import GenerationStats, Memory

        record = self.record
        stats = GenerationStats(seconds=record.seconds, notes=record.notes)
        memory = Memory(self.job.token_budget, self.job.attempt)
        for answers in self.generate(self.model, parts, [self.prompts[index].ids for index in indices], memory, stats):
            yield {indices[position]: answer for position, answer in answers.items()}
        record.token_budget, record.peak_allocated = stats.token_budget, stats.peak_allocated
        if stats.inexact_candidates:
            record.notes.append(
                f"candidates of {stats.inexact_candidates} samples: the beam dropped a partial answer that a likelier "
                "label could have come from"
            )
        log.info(stats.summary())

    def generate(
        self,
        model: PreTrainedModel,
        parts: tuple[str, ...],
        prompts: Sequence[Sequence[int]],
        memory: Memory,
        stats: GenerationStats,
    ) -> Iterator[dict[int, Answer]]:
        from slingshot.generation.generate import generate
        from slingshot.generation.types import Decoding

        generation = self.job.spec.generation
        decoding = Decoding(
            max_new_tokens=generation.max_new_tokens,
            end_ids=self.end_ids,
            free="free" in parts,
            constrained="constrained" in parts,
            candidates=generation.candidates if "candidates" in parts else 0,
            trie=self.trie,
        )
        if not self.lead:
            return generate(model, prompts, decoding, memory, stats)
        from slingshot.generation.thinking import Thinking, generate_after_thinking

        thinking = Thinking(generation.thinking_tokens, self.lead[0], self.lead)
        return generate_after_thinking(model, prompts, decoding, thinking, memory, stats)


def find_or_compute(arm: ArmModel, cache: PredictionCache) -> list[dict[str, Any]]:
    """Each prompt's answer by part (free, constrained, candidates)."""
    job, record = arm.job, arm.record
    adapter = record.inputs.get("adapter")
    settings = settings_of_parts(job.spec, job.device, arm.card, adapter, list(arm.end_ids), arm.lead, arm.trie)
    keys = {part: [prompt_key(some, prompt.ids) for prompt in arm.prompts] for part, some in settings.items()}
    record.answers_key = digest_of_text("\n".join(sorted(set(keys["free"]))))
    known = answer_all(cache, keys, job.is_forced, arm.compute, record)
    return [{part: known[keys[part][index]] for part in keys} for index in range(len(arm.prompts))]


def finish(job: PredictJob, record: StepRecord, predictions: list[Prediction]) -> None:
    """Write predictions.jsonl and the step's record, with the predictions' sums in it."""
    write_predictions(job.predictions, predictions)
    record.samples = len(predictions)
    record.prompt_tokens = sum(prediction.prompt_tokens for prediction in predictions)
    record.new_tokens = sum(prediction.new_tokens for prediction in predictions)
    record.truncated_samples = sum(prediction.truncated for prediction in predictions)
    record.earlier = find_earlier(record, measured_beside(job.cache.parent))
    record.write(job.record)


def classify_samples(
    job: PredictJob, card: ModelCard, record: StepRecord, samples: list[dict[str, Any]], prompts: Sequence[Tokens]
) -> list[Prediction]:
    """The answers of an arm with a head over labels, which decodes nothing.

    Raises:
        StudyError: the arm's adapter has no such head.
    """
    if job.adapter is None:
        raise StudyError(f"{job.arm}: a head over labels is part of an adapter, and none was given (--adapter)")
    model = load(job, job.spec, card, record)
    from slingshot.artifacts.predictions import ranked
    from slingshot.generation.classify import classify

    with timed(record.seconds, "classify"):
        probabilities, labels, record.peak_allocated = classify(
            model, job.adapter, [prompt.ids for prompt in prompts], job.token_budget
        )
    candidates = ranked(probabilities, labels, max(CLASSIFIED, job.spec.generation.candidates))
    return [
        Prediction(
            sample_id=sample["sample_id"],
            label=sample["label"],
            raw=best[0].code,
            code=best[0].code,
            constrained_code=best[0].code if job.spec.generation.constrained else None,
            candidates=best,
            prompt_tokens=len(prompt.ids),
            new_tokens=0,
            truncated=prompt.truncated,
        )
        for sample, prompt, best in zip(samples, prompts, candidates, strict=True)
    ]


def digests_of_inputs(job: PredictJob, card: ModelCard) -> dict[str, str]:
    inputs = {"model": card.revision, "split": digest_of_file(job.split)}
    inputs["labels"] = digest_of_file(job.labels)
    if job.adapter:
        inputs["adapter"] = digest_of_adapter(job.adapter)
    return inputs


def within_context(prompter: Prompter, card: ModelCard, answer_tokens: int, notes: list[str]) -> Prompter:
    """Prompts that leave room for the answer in the model's own context, however large a window the study allows.

    Raises:
        StudyError: the answer alone fills the context.
    """
    context = context_length(card)
    if context is None:
        return prompter
    if context <= answer_tokens:
        raise StudyError(
            f"{card.name} was made for {context} tokens, and an answer may take {answer_tokens} of them: lower "
            "generation.max_new_tokens"
        )
    if context - answer_tokens < prompter.window:
        notes.append(f"prompts hold at most {context - answer_tokens} tokens: the model was made for {context}")
    return prompter.within(context - answer_tokens)


def make_prompts(
    prompter: Prompter, samples: list[dict[str, Any]], spec: PredictSpec, train: Path, lists: LabelLists
) -> list[Tokens]:
    texts = [sample["text"] for sample in samples]
    if not spec.few_shot.k:
        return prompter.prompts(texts)
    return prompter.prompts(texts, examples_of(texts, spec, train, lists))


def examples_of(texts: Sequence[str], spec: PredictSpec, train: Path, lists: LabelLists) -> list[list[Example]]:
    """The worked examples of each text."""
    writer = AnswerWriter(spec.prompt.answer, spec.prompt.several, lists.labels)
    samples = read_samples(train, columns_of_samples(spec.prompt.several is not None))
    return choose_examples(spec.few_shot, samples, texts, writer, lists)


def describe(prompts: Sequence[Tokens]) -> None:
    lengths = sorted(len(prompt.ids) for prompt in prompts)
    if not lengths:
        return
    quantiles = ", ".join(
        f"{share:.0%} {lengths[min(int(share * len(lengths)), len(lengths) - 1)]}"
        for share in (0, 0.25, 0.5, 0.75, 0.95)
    )
    truncated = sum(prompt.truncated for prompt in prompts)
    log.info("%d prompts; tokens: %s, longest %d; %d truncated", len(lengths), quantiles, lengths[-1], truncated)


def load(job: PredictJob, spec: PredictSpec, card: ModelCard, record: StepRecord) -> PreTrainedModel:
    """The arm's model on its device, its adapter merged or on top."""
    with timed(record.seconds, "imports"):
        import torch

        from slingshot.models.device_memory import limit_memory
    limit_memory(torch.device(job.device), job.memory_gb)

    def make() -> PreTrainedModel:
        with timed(record.seconds, "imports"):
            from slingshot.generation.generate import load_for_generation
        with timed(record.seconds, "load"):
            return load_for_generation(
                card, spec.quantization, spec.dtype, job.device, job.adapter, spec.unquantized_without_gpu
            )

    quantized = spec.quantization in ("int8", "nf4") and job.device == "cuda"
    try:
        model = without_compiler(make, quantized)
    except torch.OutOfMemoryError:
        raise StudyError(
            f"{card.name} does not fit the memory of this GPU: set quantization: nf4 or fp8, or serve it on several "
            "GPUs and name it as an endpoint (docs/endpoints.md)"
        ) from None
    from slingshot.nn.adapter_files import note_of_other_weights

    note = note_of_other_weights(job.adapter, weights_of(spec, job.device)) if job.adapter else None
    if note:
        log.warning("%s: %s", card.name, note)
        record.notes.append(note)
    record.device = device_name(job.device)
    return model

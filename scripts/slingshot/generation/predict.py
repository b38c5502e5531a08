"""Answer every sample of a split with one arm, from the cache where an answer is kept there."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.layout import ADAPTER_WEIGHTS
from slingshot.artifacts.model_card import ModelCard, read_model_card
from slingshot.artifacts.predictions import Candidate, Prediction, write_predictions
from slingshot.artifacts.records import StepRecord, timed
from slingshot.artifacts.splits import read_samples
from slingshot.config.specs import PredictSpec
from slingshot.core.code_digest import code_digest
from slingshot.core.environment import processor_name, versions
from slingshot.core.errors import StudyError
from slingshot.core.hashing import digest_of_file
from slingshot.core.progress import progress
from slingshot.generation.cache import PredictionCache, prompt_key
from slingshot.models.lean_imports import prepare_imports, without_compiler
from slingshot.models.loading import context_length, generation_end_ids, load_tokenizer
from slingshot.models.number_types import number_type
from slingshot.prompting.answers import AnswerReader
from slingshot.prompting.choices import with_choice
from slingshot.prompting.examples import choose_examples
from slingshot.prompting.label_lists import LabelLists
from slingshot.prompting.prompter import Prompter, Tokens
from slingshot.prompting.thinking import split_thinking

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from slingshot.generation.answer_trie import AnswerTrie
    from slingshot.generation.types import Answer

log = logging.getLogger(__name__)

IMPORTED = time.perf_counter()

COLUMNS = ("sample_id", "text", "label", "description")

CLASSIFIED = 5  # candidates that a head over labels gives at least: they cost nothing

GENERATION = Path(__file__).parent / "generate.py"


@dataclass(frozen=True)
class PredictJob:
    """What to answer with which model, where the outputs go, and what it may take of the machine."""

    spec: PredictSpec
    arm: str
    model: Path
    labels: Path
    train: Path
    split: Path
    predictions: Path
    record: Path
    cache: Path
    adapter: Path | None = None
    choice: Path | None = None
    shard: tuple[int, int] = (1, 1)
    force: bool = False
    device: str = "cuda"
    token_budget: int | None = None
    memory_gb: float | None = None
    attempt: int = 1


def predict(job: PredictJob) -> None:
    """Answer every sample and write predictions.jsonl and the step's record."""
    spec, notes = with_choice(job.spec, job.choice)
    card = read_model_card(job.model)
    record = StepRecord(
        step="predict",
        arm=job.arm,
        spec=spec.model_dump(mode="json"),
        inputs=digests_of_inputs(job, card),
        versions=versions(),
        device=processor_name(),  # until a model is loaded elsewhere
        dtype=number_type(spec.dtype, job.device),
        seed=spec.few_shot.seed if spec.few_shot.k else None,
    )
    record.notes += notes
    shard, shards = job.shard
    samples = read_samples(job.split, COLUMNS)[shard - 1 :: shards]
    labels = read_labels(job.labels)
    with timed(record.seconds, "tokenizer"):  # and with it transformers
        prepare_imports(alone=True)
        tokenizer = load_tokenizer(card)
    lists = LabelLists(spec.prompt, labels, lambda: read_samples(job.train, COLUMNS))
    prompter = Prompter(tokenizer, spec.prompt, lists, spec.generation.thinking, generation_end_ids(card))
    with timed(record.seconds, "prompts"):
        trie = None
        if spec.generation.constrained or spec.generation.candidates:
            from slingshot.generation.allowed_answers import allowed_answers  # imports torch

            trie = allowed_answers(prompter, labels, spec)
        room = max(spec.generation.max_new_tokens, trie.depth if trie else 0)
        lead = tuple(prompter.thought_end_ids) if spec.generation.thinking else ()
        room += spec.generation.thinking_tokens + len(lead) if lead else 0
        prompter = within_context(prompter, card, room, record)
        prompts = make_prompts(prompter, samples, spec, job.train, lists)
    describe(prompts)
    note_recall(lists, samples, spec, record)
    if falls_back(spec, job.device):
        record.notes.append(f"no GPU: ran in {record.dtype} instead of {spec.quantization}")
    if spec.head == "classify":
        finish(job, record, classified(job, card, record, samples, prompts))
        return

    settings = settings_of_parts(spec, job.device, card, record.inputs.get("adapter"), prompter.end_ids, trie)
    if lead:
        settings = {
            part: {**some, "thinking": spec.generation.thinking_tokens, "lead": lead} for part, some in settings.items()
        }
    keys = {part: [prompt_key(depends_on, prompt.ids) for prompt in prompts] for part, depends_on in settings.items()}

    model: PreTrainedModel | None = None

    def compute(parts: tuple[str, ...], indices: list[int]) -> Iterator[dict[int, Answer]]:
        nonlocal model
        model = model or load(job, spec, card, record)
        from slingshot.generation.generate import generate
        from slingshot.generation.types import Decoding, GenerationStats, Memory

        decoding = Decoding(
            max_new_tokens=spec.generation.max_new_tokens,
            end_ids=tuple(prompter.end_ids),
            free="free" in parts,
            constrained="constrained" in parts,
            candidates=spec.generation.candidates if "candidates" in parts else 0,
            trie=trie,
        )
        stats = GenerationStats(seconds=record.seconds, notes=record.notes)
        memory = Memory(job.token_budget, job.attempt)
        asked = [prompts[index].ids for index in indices]
        if lead:
            from slingshot.generation.thinking import Thinking, generate_after_thinking

            thinking = Thinking(spec.generation.thinking_tokens, lead[0], lead)
            found = generate_after_thinking(model, asked, decoding, thinking, memory, stats)
        else:
            found = generate(model, asked, decoding, memory, stats)
        for answers in found:
            yield {indices[position]: answer for position, answer in answers.items()}
        record.token_budget, record.peak_allocated = stats.token_budget, stats.peak_allocated
        if stats.inexact_candidates:
            record.notes.append(
                f"candidates of {stats.inexact_candidates} samples: the beam dropped a partial answer that a likelier "
                "label could have come from"
            )
        log.info(stats.summary())

    force = job.force or os.environ.get("SLINGSHOT_FORCE") == "1"
    with PredictionCache(job.cache) as cache:
        known = answer_all(cache, keys, force, compute, record)
    answers = [{part: known[keys[part][index]] for part in keys} for index in range(len(samples))]

    texts = tokenizer.batch_decode([parts["free"]["ids"] for parts in answers], skip_special_tokens=True)
    thoughts = [parts["free"].get("thought") for parts in answers]
    thought_texts = tokenizer.batch_decode([ids or [] for ids in thoughts], skip_special_tokens=True)
    reader = AnswerReader({label.label: label.description for label in labels}, spec.labels, spec.level)
    predictions = [
        prediction_of(sample, prompt, parts, text, reader, thought if lead else None)
        for sample, prompt, parts, text, thought in zip(samples, prompts, answers, texts, thought_texts, strict=True)
    ]
    finish(job, record, predictions)


def finish(job: PredictJob, record: StepRecord, predictions: list[Prediction]) -> None:
    """Write predictions.jsonl and the step's record, with the predictions' sums in it."""
    write_predictions(job.predictions, predictions)
    record.samples = len(predictions)
    record.prompt_tokens = sum(prediction.prompt_tokens for prediction in predictions)
    record.new_tokens = sum(prediction.new_tokens for prediction in predictions)
    record.truncated_samples = sum(prediction.truncated for prediction in predictions)
    record.write(job.record)


def classified(
    job: PredictJob, card: ModelCard, record: StepRecord, samples: list[dict[str, Any]], prompts: Sequence[Tokens]
) -> list[Prediction]:
    """The answers of an arm with a head over labels, which decodes nothing; the cache is not used.

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
        inputs["adapter"] = digest_of_file(job.adapter / ADAPTER_WEIGHTS)
    return inputs


def within_context(prompter: Prompter, card: ModelCard, answer_tokens: int, record: StepRecord) -> Prompter:
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
        record.notes.append(f"prompts hold at most {context - answer_tokens} tokens: the model was made for {context}")
    return prompter.within(context - answer_tokens)


def note_recall(lists: LabelLists, samples: list[dict[str, Any]], spec: PredictSpec, record: StepRecord) -> None:
    """Say how often the labels that a prompt shows hold the sample's own."""
    recall = lists.recall([sample["text"] for sample in samples], [sample["label"] for sample in samples])
    if recall is not None:
        record.notes.append(f"recall at {spec.prompt.candidates} of the labels that prompts show: {recall:.1%}")


def make_prompts(
    prompter: Prompter, samples: list[dict[str, Any]], spec: PredictSpec, train: Path, lists: LabelLists
) -> list[Tokens]:
    texts = [sample["text"] for sample in samples]
    if not spec.few_shot.k:
        return prompter.prompts(texts)
    examples = choose_examples(spec.few_shot, read_samples(train, COLUMNS), texts, spec.prompt.answer, lists)
    return prompter.prompts(texts, examples)


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


def settings_of_parts(
    spec: PredictSpec, device: str, card: ModelCard, adapter: str | None, end_ids: list[int], trie: AnswerTrie | None
) -> dict[str, dict[str, Any]]:
    """What each part of an answer depends on besides the prompt. Parts are cached apart: asking for one more
    computes only that one."""
    common = {
        "model": card.revision,
        "layers": card.layers,
        "adapter": adapter,
        "quantization": weights_of(spec, device),
        "dtype": number_type(spec.dtype, device),
        "end_ids": end_ids,
        "code": code_digest(GENERATION),
    }
    parts: dict[str, dict[str, Any]] = {"free": {**common, "max_new_tokens": spec.generation.max_new_tokens}}
    if trie and spec.generation.constrained:
        parts["constrained"] = {**common, "constrained": trie.digest}
    if trie and spec.generation.candidates:
        parts["candidates"] = {**common, "candidates": trie.digest, "count": spec.generation.candidates}
    return parts


def weights_of(spec: PredictSpec, device: str) -> str:
    """How the weights are quantized that answer here."""
    return "none" if falls_back(spec, device) else spec.quantization


def falls_back(spec: PredictSpec, device: str) -> bool:
    """Whether the arm runs unquantized because there is no GPU, as the study allows."""
    return spec.quantization != "none" and device != "cuda" and spec.unquantized_without_gpu


def answer_all(
    cache: PredictionCache,
    keys: dict[str, list[str]],
    force: bool,
    compute: Callable[[tuple[str, ...], list[int]], Iterator[dict[int, Answer]]],
    record: StepRecord,
) -> dict[str, dict[str, Any]]:
    """Key to part of an answer, for all `keys`: from the cache, else computed and put there as groups finish.

    Args:
        keys: part of an answer (free, constrained, candidates) to each sample's key.
        compute: given parts and samples' indices, yields answers.
    """
    known = {} if force else cache.get(key for named in keys.values() for key in named)
    samples = len(keys["free"])
    missing: dict[tuple[str, ...], dict[str, int]] = {}  # parts that are lacking to the samples that lack them
    for index in range(samples):
        lacking = tuple(part for part in keys if keys[part][index] not in known)
        alike = missing.get(lacking, {})
        if not lacking or keys[lacking[0]][index] in alike:  # equal prompts run once
            record.cached_samples += 1
            continue
        missing.setdefault(lacking, {})[keys[lacking[0]][index]] = index
        record.partly_cached_samples += len(lacking) < len(keys)
    record.fresh_tokens = 0
    if record.cached_samples:
        log.info("%d of %d answers are in the cache", record.cached_samples, samples)
    with progress("answers", sum(map(len, missing.values())), "samples") as meter:
        for lacking, indices in missing.items():
            for answers in compute(lacking, list(indices.values())):
                fresh = {
                    keys[part][index]: part_of_answer(part, answer)
                    for index, answer in answers.items()
                    for part in lacking
                }
                record.seconds.setdefault("until_first_answers", seconds_since_process_start())
                cache.put(fresh)
                known.update(fresh)
                record.fresh_tokens += sum(answer.prompt_tokens + answer.new_tokens for answer in answers.values())
                meter.advance(len(answers), sum(answer.prompt_tokens for answer in answers.values()))
    return known


def seconds_since_process_start() -> float:
    """Imports and all. Elsewhere than on Linux since this module's import."""
    try:
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except OSError:
        return time.perf_counter() - IMPORTED


def part_of_answer(part: str, answer: Answer) -> dict[str, Any]:
    if part == "free":
        thought = {"thought": answer.thought} if answer.thought else {}
        return {"ids": answer.ids, "new_tokens": answer.new_tokens, **thought}
    if part == "constrained":
        return {"label": answer.constrained}
    return {"candidates": [list(candidate) for candidate in answer.candidates]}


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
    from slingshot.nn.adapter_files import trained_elsewhere

    note = trained_elsewhere(job.adapter, weights_of(spec, job.device)) if job.adapter else None
    if note:
        log.warning("%s: %s", card.name, note)
        record.notes.append(note)
    if job.device == "cuda":
        record.device = torch.cuda.get_device_name()
    return model


def prediction_of(
    sample: dict[str, Any],
    prompt: Tokens,
    parts: dict[str, dict[str, Any]],
    raw: str,
    reader: AnswerReader,
    thought: str | None = None,
) -> Prediction:
    return Prediction(
        sample_id=sample["sample_id"],
        label=sample["label"],
        raw=raw,
        code=reader.read(raw),
        constrained_code=parts["constrained"]["label"] if "constrained" in parts else None,
        candidates=[
            Candidate(code=code, log_probability=log_probability)
            for code, log_probability in parts.get("candidates", {}).get("candidates", [])
        ],
        prompt_tokens=len(prompt.ids),
        new_tokens=parts["free"]["new_tokens"],
        truncated=prompt.truncated,
        thinking=split_thinking(f"{thought}</think>").thinking if thought else thought,
        thinking_tokens=None if thought is None else len(parts["free"].get("thought", [])),
    )

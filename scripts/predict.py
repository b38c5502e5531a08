"""Let one arm answer every sample of a split.

Answers that the cache holds are not computed again; what a killed run had finished is kept.
"""

from __future__ import annotations

import logging
import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slingshot import cli
from slingshot.answers import read_answer
from slingshot.config import PredictSpec, parse_spec
from slingshot.errors import StudyError
from slingshot.few_shot import choose_examples
from slingshot.files import digest_of_file
from slingshot.labels import read_labels
from slingshot.lean_imports import prepare_imports
from slingshot.models import ModelCard, context_length, load_tokenizer, read_model_card
from slingshot.prediction_cache import PredictionCache, prompt_key
from slingshot.predictions import Candidate, Prediction, write_predictions
from slingshot.progress import progress
from slingshot.prompts import Prompter, Tokens
from slingshot.provenance import code_digest, processor_name, versions
from slingshot.records import StepRecord, timed

if TYPE_CHECKING:  # a program that is asked for its --help needs no torch
    from transformers import PreTrainedModel

    from slingshot.constrained import AnswerTrie
    from slingshot.generation import Answer

log = logging.getLogger(__name__)
IMPORTED = time.perf_counter()
GENERATION = Path(__file__).parent / "slingshot" / "generation.py"


def main() -> None:
    arguments = parse_arguments()
    spec = parse_spec(PredictSpec, arguments.spec)
    card = read_model_card(arguments.model)
    record = StepRecord(
        step="predict",
        arm=arguments.arm,
        spec=spec.model_dump(mode="json"),
        inputs=digests_of_inputs(arguments, card),
        versions=versions(),
        device=processor_name(),  # until a model is loaded elsewhere
        seed=spec.few_shot.seed if spec.few_shot.k else None,
    )
    shard, shards = arguments.shard
    samples = read_samples(arguments.split)[shard - 1 :: shards]
    labels = read_labels(arguments.labels)
    with timed(record.seconds, "tokenizer"):  # and with it transformers
        quantized = spec.quantization != "none" and arguments.device == "cuda"
        prepare_imports(arguments.device, alone=True, compiles=False, quantized=quantized)
        tokenizer = load_tokenizer(card)
    prompter = Prompter(tokenizer, spec.prompt)
    with timed(record.seconds, "prompts"):
        trie = None
        if spec.generation.constrained or spec.generation.candidates:
            from slingshot.allowed_answers import allowed_answers  # imports torch

            trie = allowed_answers(prompter, labels, spec)
        room = max(spec.generation.max_new_tokens, trie.depth if trie else 0)
        prompter = within_context(prompter, card, room, record)
        prompts = make_prompts(prompter, samples, spec, arguments.train)
    describe(prompts)
    if falls_back(spec, arguments.device):
        record.notes.append(f"no GPU: ran in {spec.dtype} instead of {spec.quantization}")

    settings = settings_of_parts(spec, arguments.device, card, record.inputs.get("adapter"), prompter.end_ids, trie)
    keys = {part: [prompt_key(depends_on, prompt.ids) for prompt in prompts] for part, depends_on in settings.items()}

    model: PreTrainedModel | None = None

    def compute(parts: tuple[str, ...], indices: list[int]) -> Iterator[dict[int, Answer]]:
        nonlocal model
        model = model or load(arguments, spec, card, record)
        from slingshot.generation import Decoding, Memory, Report, generate

        decoding = Decoding(
            max_new_tokens=spec.generation.max_new_tokens,
            end_ids=tuple(prompter.end_ids),
            free="free" in parts,
            constrained="constrained" in parts,
            candidates=spec.generation.candidates if "candidates" in parts else 0,
            trie=trie,
        )
        report = Report(seconds=record.seconds, notes=record.notes)
        memory = Memory(arguments.token_budget, arguments.attempt)
        for answers in generate(model, [prompts[index].ids for index in indices], decoding, memory, report):
            yield {indices[position]: answer for position, answer in answers.items()}
        record.token_budget, record.peak_allocated = report.token_budget, report.peak_allocated
        if report.inexact_candidates:
            record.notes.append(
                f"candidates of {report.inexact_candidates} samples: the beam dropped a partial answer that a likelier "
                "label could have come from"
            )
        log.info(report.summary())

    force = arguments.force or os.environ.get("SLINGSHOT_FORCE") == "1"
    with PredictionCache(arguments.cache) as cache:
        known = answer_all(cache, keys, force, compute, record)
    answers = [{part: known[keys[part][index]] for part in keys} for index in range(len(samples))]

    texts = tokenizer.batch_decode([parts["free"]["ids"] for parts in answers], skip_special_tokens=True)
    in_study = {label.label for label in labels}
    predictions = [
        prediction_of(sample, prompt, parts, text, in_study, spec)
        for sample, prompt, parts, text in zip(samples, prompts, answers, texts, strict=True)
    ]
    write_predictions(arguments.predictions, predictions)
    record.samples = len(predictions)
    record.prompt_tokens = sum(prediction.prompt_tokens for prediction in predictions)
    record.new_tokens = sum(prediction.new_tokens for prediction in predictions)
    record.truncated_samples = sum(prediction.truncated for prediction in predictions)
    record.write(arguments.record)


def parse_arguments() -> Namespace:
    parser = cli.parser(__doc__)
    cli.add_spec(parser, "PredictSpec")
    parser.add_argument("--arm", required=True, help="e.g. slm/qwen3b")
    parser.add_argument("--model", required=True, type=Path, help="the model's card, results/models/MODEL.json")
    parser.add_argument("--adapter", type=Path, help="folder of a LoRA adapter; without it the model is untrained")
    parser.add_argument("--labels", required=True, type=Path, help="the study's label set")
    parser.add_argument("--train", required=True, type=Path, help="where few-shot examples come from")
    parser.add_argument("--split", required=True, type=Path, help="the samples to answer")
    parser.add_argument("--predictions", required=True, type=Path)
    parser.add_argument("--record", required=True, type=Path)
    parser.add_argument("--cache", required=True, type=Path, help="SQLite file of the model's answers")
    parser.add_argument(
        "--shard", type=cli.share, default=(1, 1), help="K/N: only every N-th sample, from the K-th on (gather.py)"
    )
    parser.add_argument("--force", action="store_true", help="compute every answer again (also SLINGSHOT_FORCE=1)")
    cli.add_hardware(parser)
    return parser.parse_args()


def digests_of_inputs(arguments: Namespace, card: ModelCard) -> dict[str, str]:
    inputs = {"model": card.revision, "split": digest_of_file(arguments.split)}
    inputs["labels"] = digest_of_file(arguments.labels)
    if arguments.adapter:
        inputs["adapter"] = digest_of_file(arguments.adapter / "adapter_model.safetensors")
    return inputs


def read_samples(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(path) as split:  # read_table would import pandas
        return split.read(["sample_id", "text", "label", "description"]).to_pylist()


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


def make_prompts(prompter: Prompter, samples: list[dict[str, Any]], spec: PredictSpec, train: Path) -> list[Tokens]:
    texts = [sample["text"] for sample in samples]
    if not spec.few_shot.k:
        return prompter.prompts(texts)
    examples = choose_examples(spec.few_shot, read_samples(train), texts, spec.prompt.answer)
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
        "quantization": "none" if falls_back(spec, device) else spec.quantization,
        "dtype": spec.dtype,
        "end_ids": end_ids,
        "code": code_digest(GENERATION),
    }
    parts: dict[str, dict[str, Any]] = {"free": {**common, "max_new_tokens": spec.generation.max_new_tokens}}
    if trie and spec.generation.constrained:
        parts["constrained"] = {**common, "constrained": trie.digest}
    if trie and spec.generation.candidates:
        parts["candidates"] = {**common, "candidates": trie.digest, "count": spec.generation.candidates}
    return parts


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
        return {"ids": answer.ids, "new_tokens": answer.new_tokens}
    if part == "constrained":
        return {"label": answer.constrained}
    return {"candidates": [list(candidate) for candidate in answer.candidates]}


def load(arguments: Namespace, spec: PredictSpec, card: ModelCard, record: StepRecord) -> PreTrainedModel:
    """The arm's model on its device, its adapter merged or on top."""
    with timed(record.seconds, "imports"):
        import torch

        from slingshot.device_memory import limit_memory
        from slingshot.generation import load_for_generation
    limit_memory(torch.device(arguments.device), arguments.memory_gb)
    with timed(record.seconds, "load"):
        model = load_for_generation(
            card, spec.quantization, spec.dtype, arguments.device, arguments.adapter, spec.unquantized_without_gpu
        )
    if arguments.device == "cuda":
        record.device = torch.cuda.get_device_name()
    return model


def prediction_of(
    sample: dict[str, Any],
    prompt: Tokens,
    parts: dict[str, dict[str, Any]],
    raw: str,
    known: set[str],
    spec: PredictSpec,
) -> Prediction:
    return Prediction(
        sample_id=sample["sample_id"],
        label=sample["label"],
        raw=raw,
        code=read_answer(raw, known, spec.labels, spec.level),
        constrained_code=parts["constrained"]["label"] if "constrained" in parts else None,
        candidates=[
            Candidate(code=code, log_probability=log_probability)
            for code, log_probability in parts.get("candidates", {}).get("candidates", [])
        ],
        prompt_tokens=len(prompt.ids),
        new_tokens=parts["free"]["new_tokens"],
        truncated=prompt.truncated,
    )


if __name__ == "__main__":
    cli.run(main)

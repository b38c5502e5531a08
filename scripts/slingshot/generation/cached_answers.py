"""Answers by the key of what they depend on: from the cache, else computed and kept there."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slingshot.artifacts.model_card import ModelCard
from slingshot.artifacts.records import StepRecord
from slingshot.config.specs import PredictSpec
from slingshot.core.code_digest import code_digest
from slingshot.core.progress import progress
from slingshot.generation.cache import PredictionCache
from slingshot.models.number_types import number_type

if TYPE_CHECKING:
    from slingshot.generation.answer_trie import AnswerTrie
    from slingshot.generation.types import Answer

log = logging.getLogger(__name__)

IMPORTED = time.perf_counter()

GENERATION = Path(__file__).parent / "generate.py"


def settings_of_parts(
    spec: PredictSpec,
    device: str,
    card: ModelCard,
    adapter: str | None,
    end_ids: list[int],
    lead: tuple[int, ...],
    trie: AnswerTrie | None,
) -> dict[str, dict[str, Any]]:
    """What each part of an answer depends on besides the prompt. Parts are cached apart: asking for one more
    computes only that one."""
    common: dict[str, Any] = {
        "model": card.network,
        "adapter": adapter,
        "quantization": weights_of(spec, device),
        "dtype": number_type(spec.dtype, device),
        "end_ids": end_ids,
        "code": code_digest(GENERATION),
    }
    if lead:
        common |= {"thinking": spec.generation.thinking_tokens, "lead": lead}
    parts: dict[str, dict[str, Any]] = {"free": {**common, "max_new_tokens": spec.generation.max_new_tokens}}
    cut = {"max_new_tokens": spec.generation.max_new_tokens} if spec.prompt.several else {}  # a list is cut there
    if trie and spec.generation.constrained:
        parts["constrained"] = {**common, "constrained": trie.digest, **cut}
    if trie and spec.generation.candidates:
        parts["candidates"] = {**common, "candidates": trie.digest, "count": spec.generation.candidates, **cut}
    return parts


_FELL_BACK = "no GPU: ran in"


def weights_of(spec: PredictSpec, device: str) -> str:
    """How the weights are quantized that answer here."""
    return "none" if falls_back(spec, device) else spec.quantization


def falls_back(spec: PredictSpec, device: str) -> bool:
    """Whether the arm runs unquantized because there is no GPU, as the study allows."""
    return spec.quantization != "none" and device != "cuda" and spec.unquantized_without_gpu


def fallback_note(spec: PredictSpec, dtype: str | None) -> str:
    """What the record of an arm says that ran unquantized."""
    return f"{_FELL_BACK} {dtype} instead of {spec.quantization}"


def ran_unquantized(notes: Sequence[str]) -> bool:
    """Whether a record's notes say that the arm ran unquantized for want of a GPU."""
    return any(note.startswith(_FELL_BACK) for note in notes)


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
    missing: dict[tuple[str, ...], dict[str, int]] = {}  # missing parts to the samples that miss them
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


def part_of_answer(part: str, answer: Answer) -> dict[str, Any]:
    if part == "free":
        thought = {"thought": answer.thought} if answer.thought else {}
        return {"ids": answer.ids, "new_tokens": answer.new_tokens, **thought}
    if part == "constrained":
        if answer.constrained_set is not None:
            return {"labels": answer.constrained_set}
        return {"label": answer.constrained}
    return {"candidates": [list(candidate) for candidate in answer.candidates]}


def seconds_since_process_start() -> float:
    """Imports and all. Elsewhere than on Linux since this module's import."""
    try:
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except OSError:
        return time.perf_counter() - IMPORTED
